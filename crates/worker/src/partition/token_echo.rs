//! Removes the card token of a charge from the backend's answer, before the answer is written or
//! logged: what a backend repeats would otherwise be in records, and in answers to callers.

use tracing::warn;
use twqr_card_keys::CardKeys;
use twqr_service::LogThrottle;
use twqr_types::{CardToken, SpendableToken, UnixMs};
use twqr_wire::convert::BackendAnswer;

use super::in_flight::TaskSummary;

/// The shortest time between two log lines, in ms.
const LOG_MS: u64 = 10_000;

/// Finds card tokens in answers, and limits how often it logs that.
#[derive(Debug)]
pub(super) struct TokenEcho(LogThrottle);

impl Default for TokenEcho {
    fn default() -> Self {
        Self(LogThrottle::every_ms(LOG_MS))
    }
}

impl TokenEcho {
    /// Overwrites the card token in the answer to a call about this task.
    pub(super) fn blank(&mut self, answer: &mut BackendAnswer, task: &TaskSummary, keys: &CardKeys, now: UnixMs) {
        let Some(token) = token_of(task, keys, now) else { return };
        if answer.blank(&token)
            && let Some(suppressed) = self.0.permit()
        {
            warn!(trade_no = %task.trade_no, issuer = task.issuer.label(), suppressed, "the backend repeated a card token in its answer; it was overwritten");
        }
    }
}

/// The card token of a charge, if this worker can open it: an inquiry may be made without the key.
fn token_of(task: &TaskSummary, keys: &CardKeys, now: UnixMs) -> Option<CardToken> {
    match task.card_token.as_ref()? {
        SpendableToken::Clear(token) => Some(token.clone()),
        // A key that is missing here must not count as one that a charge waits for.
        SpendableToken::Sealed(sealed) if !keys.has_sealing(&sealed.key) => None,
        SpendableToken::Sealed(sealed) => keys.open(sealed, &task.key, now).ok(),
    }
}
