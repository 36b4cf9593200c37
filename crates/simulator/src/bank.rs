//! What the wallet and the issuers decide: no I/O, no clock. A call goes in, reactions come out:
//! entries for the ledger, and answers that are due at a time. What the bank knows follows from the
//! entries alone, so that a restart changes no answer.

mod accounts;
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

use twqr_wire::backend::{
    ExchangeRequest, ExchangeResponse, LedgerEntry, Undecided, exchange_request::Call, exchange_response::Answer,
    ledger_entry::Kind,
};

use crate::{Faults, Script};
use books::{Books, Charged};
use draws::{Draws, Fate, Purpose};
use movement::{About, Movement};

/// Something that a call brings about, now or later.
#[derive(Clone, Debug)]
pub enum Reaction {
    /// Record it; it must be on disk before any answer goes out.
    Record(LedgerEntry),
    /// Answer, so many ms from now.
    Answer {
        /// The delay in ms.
        after_ms: u64,
        /// The answer.
        response: ExchangeResponse,
    },
    /// Hand this call in again, so many ms from now: it was held back.
    Land {
        /// The delay in ms.
        after_ms: u64,
        /// The request that was held.
        request: Box<ExchangeRequest>,
    },
}

/// How many calls are held back at the most.
const HELD_MAX: usize = 10_000;
/// How long after its answer a charge is contradicted, in ms.
const CONTRADICTS_AFTER_MS: u64 = 50;
/// The code with which it is contradicted: one that says that nothing was charged.
const CONTRADICTION: &str = "927";

/// The wallet and the issuers.
pub struct Bank {
    script: Script,
    books: Books,
    held: HashMap<About, ExchangeRequest>,
}

/// What becomes of a call: what is recorded, and what is said.
struct Decision {
    entry: Option<LedgerEntry>,
    answer: Answer,
}

impl Decision {
    /// No money moves, and that it came again is recorded.
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
    /// A bank that has recorded `entries` before.
    pub fn new(script: Script, entries: impl IntoIterator<Item = LedgerEntry>) -> Self {
        let mut books = Books::default();
        for entry in entries {
            books.apply(&entry);
        }
        Self { script, books, held: HashMap::new() }
    }

    /// Takes a call at `now_ms`.
    pub fn handle(&mut self, request: ExchangeRequest, now_ms: i64) -> Vec<Reaction> {
        match &request.call {
            Some(Call::Charge(_) | Call::Refund(_) | Call::Reversal(_)) => self.move_money(request, now_ms),
            Some(Call::Inquiry(inquiry)) => self.inquire(request.call_id, &request.institution, inquiry),
            None => {
                let reason = "the call is empty".to_owned();
                vec![answer(request.call_id, 0, Answer::Undecided(Undecided { reason }))]
            }
        }
    }

    /// A held call takes effect now, unless its window is over.
    pub fn land(&mut self, request: &ExchangeRequest, now_ms: i64) -> Vec<Reaction> {
        let Some(movement) = request.call.as_ref().and_then(Movement::of) else { return Vec::new() };
        let faults = self.script.faults(&request.institution);
        if now_ms > movement.send_by_ms().saturating_add(faults.window_ms) {
            return Vec::new();
        }
        let (recorded, _) = self.decide(&request.institution, &movement, now_ms);
        recorded.into_iter().collect()
    }

    fn move_money(&mut self, request: ExchangeRequest, now_ms: i64) -> Vec<Reaction> {
        let Some(movement) = request.call.as_ref().and_then(Movement::of) else { return Vec::new() };
        let faults = self.script.faults(&request.institution);
        let draws = Draws::of_call(self.script.seed, &movement);
        let after_ms = match draws.fate(&faults) {
            Fate::RequestLost => return Vec::new(),
            Fate::Held if self.held.len() < HELD_MAX => {
                self.held.insert(movement.about(&request.institution), request);
                return Vec::new();
            }
            Fate::AnswerLost => None,
            Fate::Late => Some(u64::from(faults.late_ms)),
            Fate::Held | Fate::Normal => Some(draws.latency(&faults)),
        };
        let (recorded, said) = self.decide(&request.institution, &movement, now_ms);
        let sent = after_ms.map(|after_ms| answers(&draws, &faults, &request.institution, after_ms, said));
        let sent = sent.into_iter().flatten().map(|(after_ms, said)| answer(request.call_id, after_ms, said));
        recorded.into_iter().chain(sent).collect()
    }

    /// Decides, and knows it from then on.
    fn decide(&mut self, institution: &str, movement: &Movement<'_>, now_ms: i64) -> (Option<Reaction>, Answer) {
        let Decision { entry, answer } = match movement {
            Movement::Charge(charge) => self.charge(institution, charge, now_ms),
            Movement::Refund(refund) => self.refund(institution, refund, now_ms),
            Movement::Reversal(reversal) => self.reversal(institution, reversal, now_ms),
        };
        if let Some(entry) = &entry {
            self.books.apply(entry);
        }
        (entry.map(Reaction::Record), answer)
    }

    fn approved(&self, institution: &str, trade_no: &str, charged: &Charged) -> Answer {
        Answer::Approved(approval::approval(&self.script, institution, trade_no, charged))
    }

    /// The account that paid a charge, and what it has; zeros where nobody has paid.
    fn payer(&self, institution: &str, trade_no: &str) -> (u32, i64) {
        let Some(Ok(charged)) = self.books.charge(institution, trade_no) else { return (0, 0) };
        let opening = self.script.faults(institution).balance;
        (charged.account, self.books.balance(institution, charged.account, opening))
    }
}

/// What is sent, and after how many ms. Where a late answer contradicts, it comes alone: an inquiry
/// has told the truth before it.
fn answers(draws: &Draws<'_>, faults: &Faults, institution: &str, after_ms: u64, said: Answer) -> Vec<(u64, Answer)> {
    let contradicts = matches!(said, Answer::Approved(_)) && draws.hits(Purpose::Contradict, faults.contradict);
    let late = matches!(draws.fate(faults), Fate::Late);
    let mut sent = Vec::new();
    if draws.hits(Purpose::Twice, faults.answer_twice) {
        sent.push((after_ms, said.clone()));
    }
    sent.push((after_ms, said));
    if contradicts {
        if late {
            sent.clear();
        }
        let declined = refusal::refusal(institution, CONTRADICTION);
        sent.push((after_ms + CONTRADICTS_AFTER_MS, Answer::Declined(declined)));
    }
    sent
}

fn answer(call_id: u64, after_ms: u64, body: Answer) -> Reaction {
    Reaction::Answer { after_ms, response: ExchangeResponse { call_id, answer: Some(body) } }
}

#[cfg(test)]
mod tests;
