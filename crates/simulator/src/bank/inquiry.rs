//! Inquiries: what became of a charge, a refund or a reversal, answered as the call itself would
//! have been. A call that was held back takes effect once somebody has asked about it.

use twqr_wire::backend::{Inquiry, TradeUnknown, Undecided, exchange_response::Answer, inquiry::Subject};

use super::{Bank, Reaction, answer, movement::About, refund, reversal::reversed};

/// How long after an inquiry a held call takes effect, in ms.
const LANDS_AFTER_MS: u64 = 200;

impl Bank {
    /// Answers at once.
    pub(super) fn inquire(&mut self, call_id: u64, institution: &str, inquiry: &Inquiry) -> Vec<Reaction> {
        let number = &inquiry.trade_no;
        let (subject, known) = match Subject::try_from(inquiry.subject) {
            Ok(Subject::Unspecified | Subject::Charge) => (Subject::Charge, self.what_of_charge(institution, number)),
            Ok(Subject::Refund) => {
                (Subject::Refund, self.books.refund(institution, number).cloned().map(refund::answer))
            }
            Ok(Subject::Reversal) => (Subject::Reversal, self.what_of_reversal(institution, number)),
            Err(unknown) => {
                let reason = format!("the inquiry is about nothing that is known here: {unknown}");
                return vec![answer(call_id, 0, Answer::Undecided(Undecided { reason }))];
            }
        };
        let mut reactions = vec![answer(call_id, 0, known.unwrap_or(Answer::TradeUnknown(TradeUnknown {})))];
        let about = About { institution: institution.to_owned(), subject, number: number.clone() };
        if let Some(request) = self.held.remove(&about) {
            reactions.push(Reaction::Land { after_ms: LANDS_AFTER_MS, request: Box::new(request) });
        }
        reactions
    }

    /// Also where it was taken back since: that is another question.
    fn what_of_charge(&self, institution: &str, trade_no: &str) -> Option<Answer> {
        self.books.charge(institution, trade_no).map(|verdict| match verdict {
            Ok(charged) => self.approved(institution, trade_no, charged),
            Err(declined) => Answer::Declined(declined.clone()),
        })
    }

    fn what_of_reversal(&self, institution: &str, trade_no: &str) -> Option<Answer> {
        self.books.reversal(institution, trade_no).map(|verdict| match verdict {
            Ok(()) => reversed(trade_no),
            Err(declined) => Answer::Declined(declined.clone()),
        })
    }
}
