//! Decides calls for the wallet and the issuers, without I/O and without a clock. A call returns
//! reactions: entries to record in the ledger, and answers to send after a delay. The books are
//! rebuilt from the entries alone, so a restart changes no recorded decision. Held calls are lost.

mod accounts;
mod applied_charge;
mod approval;
mod books;
mod charge;
mod draws;
mod inquiry;
mod movement;
mod redemption;
mod refund;
mod refusal;
mod reversal;

use std::collections::HashMap;

use twqr_types::{Issuer, StatusCode};
use twqr_wire::backend::{
    ExchangeRequest, ExchangeResponse, LedgerEntry, Undecided, exchange_request::Call, exchange_response::Answer,
    ledger_entry::Kind,
};

use crate::{Faults, Script};
use applied_charge::AppliedCharge;
use books::Books;
use draws::{Draws, Fate, Purpose};
use movement::{Movement, MovementKey};

/// An action of the server because of a call, at once or later.
#[derive(Clone, Debug)]
pub enum Reaction {
    /// Record this entry on disk before any answer is sent.
    Record(LedgerEntry),
    /// Send this answer after a delay.
    Answer {
        /// The delay from now, in ms.
        after_ms: u64,
        /// The answer to send.
        response: ExchangeResponse,
    },
    /// Pass this held call to [`Bank::release`] after a delay.
    Release {
        /// The delay from now, in ms.
        after_ms: u64,
        /// The held request.
        request: Box<ExchangeRequest>,
    },
}

/// The largest number of calls that are held back at once; further calls are decided directly.
const HELD_MAX: usize = 10_000;
/// The time from an approval to the refusal that contradicts it, in ms.
const CONTRADICTS_AFTER_MS: u64 = 50;
/// The StatusCode of that refusal, which says that nothing was charged.
const CONTRADICTION: StatusCode = StatusCode::BAD_CODE;

/// The wallet and the issuers.
pub struct Bank {
    script: Script,
    books: Books,
    held: HashMap<MovementKey, ExchangeRequest>,
    /// How many calls of a movement were lost, held or answered late, so that a repeat has a fate
    /// of its own.
    disturbed: HashMap<MovementKey, u32>,
}

/// The result of a call: the entry to record, and the answer.
struct Decision {
    entry: Option<LedgerEntry>,
    answer: Answer,
}

impl Decision {
    /// Records that the call is a repeat, which moves no money, and answers as before.
    fn repeated(entry: LedgerEntry, answer: Answer) -> Self {
        let declined = match &answer {
            Answer::Declined(declined) => Some(declined.clone()),
            Answer::Approved(_)
            | Answer::Refunded(_)
            | Answer::Reversed(_)
            | Answer::TradeUnknown(_)
            | Answer::Undecided(_) => None,
        };
        Self { entry: Some(LedgerEntry { kind: Kind::Repeated.into(), declined, ..entry }), answer }
    }
}

impl Bank {
    /// A bank that recorded `entries` before its start.
    pub fn new(script: Script, entries: impl IntoIterator<Item = LedgerEntry>) -> Self {
        let mut books = Books::default();
        for entry in entries {
            // The bank wrote these entries itself, so every institution is valid.
            if let Ok(issuer) = Issuer::from_wire(&entry.institution) {
                books.apply(issuer, &entry);
            }
        }
        Self { script, books, held: HashMap::new(), disturbed: HashMap::new() }
    }

    /// Handles a call that arrives at `now_ms`.
    pub fn handle(&mut self, request: ExchangeRequest, now_ms: i64) -> Vec<Reaction> {
        let issuer = match Issuer::from_wire(&request.institution) {
            Ok(issuer) => issuer,
            Err(error) => return vec![undecided(request.call_id, &error.to_string())],
        };
        match &request.call {
            Some(Call::Charge(_) | Call::Refund(_) | Call::Reversal(_)) => self.move_money(issuer, request, now_ms),
            Some(Call::Inquiry(inquiry)) => self.inquire(request.call_id, issuer, inquiry),
            None => vec![undecided(request.call_id, "the call is empty")],
        }
    }

    /// Lets a held call take effect now, unless it has already done so. An issuer that cannot
    /// refuse late calls acts on it however late it is.
    pub fn release(&mut self, request: &ExchangeRequest, now_ms: i64) -> Vec<Reaction> {
        let Some(movement) = request.call.as_ref().and_then(Movement::of) else { return Vec::new() };
        let Ok(issuer) = Issuer::from_wire(&request.institution) else { return Vec::new() };
        if self.held.remove(&movement.key(issuer)).is_none() {
            return Vec::new();
        }
        let (recorded, _) = self.decide(issuer, &movement, now_ms);
        recorded.into_iter().collect()
    }

    fn move_money(&mut self, issuer: Issuer, request: ExchangeRequest, now_ms: i64) -> Vec<Reaction> {
        let Some(movement) = request.call.as_ref().and_then(Movement::of) else { return Vec::new() };
        let faults = self.script.faults(issuer);
        let key = movement.key(issuer);
        let attempt = self.disturbed.get(&key).copied().unwrap_or(0);
        let draws = Draws::of_call(self.script.seed, &movement, attempt);
        let fate = draws.fate(&faults);
        if !matches!(fate, Fate::Normal) {
            self.disturbed.insert(key.clone(), attempt + 1);
        }
        let after_ms = match fate {
            Fate::RequestLost => return Vec::new(),
            Fate::Held if self.held.len() < HELD_MAX => {
                let held_ms = movement.send_by_ms().saturating_add(faults.window_ms).saturating_sub(now_ms);
                self.held.insert(key, request.clone());
                return vec![Reaction::Release { after_ms: held_ms.max(0).unsigned_abs(), request: Box::new(request) }];
            }
            Fate::AnswerLost => None,
            Fate::Late => Some(u64::from(faults.late_ms)),
            Fate::Held | Fate::Normal => Some(draws.latency(&faults)),
        };
        let (recorded, body) = self.decide(issuer, &movement, now_ms);
        let sent = after_ms.map(|after_ms| delayed_answers(&draws, &faults, issuer, after_ms, body));
        let sent = sent.into_iter().flatten().map(|(after_ms, body)| answer(request.call_id, after_ms, body));
        recorded.into_iter().chain(sent).collect()
    }

    /// Decides a movement and applies its entry to the books.
    fn decide(&mut self, issuer: Issuer, movement: &Movement<'_>, now_ms: i64) -> (Option<Reaction>, Answer) {
        let Decision { entry, answer } = match movement {
            Movement::Charge(charge) => self.charge(issuer, charge, now_ms),
            Movement::Refund(refund) => self.refund(issuer, refund, now_ms),
            Movement::Reversal(reversal) => self.reversal(issuer, reversal, now_ms),
        };
        if let Some(entry) = &entry {
            self.books.apply(issuer, entry);
        }
        (entry.map(Reaction::Record), answer)
    }

    fn approved(&self, issuer: Issuer, trade_no: &str, charge: &AppliedCharge) -> Answer {
        Answer::Approved(approval::charge_answer(&self.script, issuer, trade_no, charge))
    }

    /// The account that paid a charge, and its balance; zeros if no charge took effect.
    fn payer(&self, issuer: Issuer, trade_no: &str) -> (u32, i64) {
        let Some(Ok(charge)) = self.books.charge(issuer, trade_no) else { return (0, 0) };
        let opening = self.script.faults(issuer).balance;
        (charge.account, self.books.balance(issuer, charge.account, opening))
    }
}

/// The answers to send, each with its delay in ms: usually one. The fault script may send it twice,
/// or add a refusal that contradicts it.
fn delayed_answers(
    draws: &Draws<'_>,
    faults: &Faults,
    issuer: Issuer,
    after_ms: u64,
    body: Answer,
) -> Vec<(u64, Answer)> {
    let contradicts = matches!(body, Answer::Approved(_)) && draws.is_hit(Purpose::Contradict, faults.contradict);
    let is_late = matches!(draws.fate(faults), Fate::Late);
    let mut sent = Vec::new();
    if draws.is_hit(Purpose::Twice, faults.answer_twice) {
        sent.push((after_ms, body.clone()));
    }
    sent.push((after_ms, body));
    if contradicts {
        // If the approval is late, only the refusal is sent: it contradicts what an inquiry has
        // already answered.
        if is_late {
            sent.clear();
        }
        let declined = refusal::refusal(issuer, CONTRADICTION.as_str());
        sent.push((after_ms + CONTRADICTS_AFTER_MS, Answer::Declined(declined)));
    }
    sent
}

fn answer(call_id: u64, after_ms: u64, body: Answer) -> Reaction {
    Reaction::Answer { after_ms, response: ExchangeResponse { call_id, answer: Some(body) } }
}

fn undecided(call_id: u64, reason: &str) -> Reaction {
    answer(call_id, 0, Answer::Undecided(Undecided { reason: reason.to_owned() }))
}

#[cfg(test)]
mod tests;
