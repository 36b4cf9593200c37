//! Inquiries about a charge, a refund or a reversal. The answer is what the books record, even if
//! the call's own answer was lost. An inquiry about a held call lets it take effect soon after.

use twqr_types::Issuer;
use twqr_wire::backend::{Inquiry, TradeUnknown, exchange_response::Answer, inquiry::Subject};

use super::{Bank, Reaction, answer, movement::MovementKey, refund, reversal::reversed, undecided};

/// The time from an inquiry until a held call takes effect, in ms.
const RELEASE_AFTER_MS: u64 = 200;

impl Bank {
    /// Answers without delay, and releases the call if it is held.
    pub(super) fn inquire(&mut self, call_id: u64, issuer: Issuer, inquiry: &Inquiry) -> Vec<Reaction> {
        let number = &inquiry.trade_no;
        let (subject, known) = match Subject::try_from(inquiry.subject) {
            Ok(Subject::Unspecified | Subject::Charge) => (Subject::Charge, self.known_charge(issuer, number)),
            Ok(Subject::Refund) => (Subject::Refund, self.known_refund(issuer, number).cloned().map(refund::answer)),
            Ok(Subject::Reversal) => (Subject::Reversal, self.known_reversal(issuer, number)),
            Err(unknown) => {
                return vec![undecided(call_id, &format!("the inquiry's subject has an unknown value: {unknown}"))];
            }
        };
        let mut reactions = vec![answer(call_id, 0, known.unwrap_or(Answer::TradeUnknown(TradeUnknown {})))];
        let key = MovementKey { issuer, subject, number: number.clone() };
        if let Some(request) = self.held.get(&key) {
            reactions.push(Reaction::Release { after_ms: RELEASE_AFTER_MS, request: Box::new(request.clone()) });
        }
        reactions
    }

    /// A charge that was reversed later is still approved: its reversal has an inquiry of its own.
    fn known_charge(&self, issuer: Issuer, trade_no: &str) -> Option<Answer> {
        self.remembered_charge(issuer, trade_no).map(|verdict| match verdict {
            Ok(charge) => self.approved(issuer, trade_no, charge),
            Err(declined) => Answer::Declined(declined.clone()),
        })
    }

    fn known_reversal(&self, issuer: Issuer, trade_no: &str) -> Option<Answer> {
        self.books.reversal(issuer, trade_no).map(|verdict| match verdict {
            Ok(()) => reversed(trade_no),
            Err(declined) => Answer::Declined(declined.clone()),
        })
    }
}
