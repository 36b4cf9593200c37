//! Reversals. The wallet reverses every charge; other issuers may refuse, once or always. A
//! reversal of a charge that is not here changes nothing: the charge may still arrive, and is
//! charged then.

use twqr_wire::backend::{
    Declined, LedgerEntry, Reversal, Reversed, TradeUnknown, exchange_response::Answer, inquiry::Subject,
    ledger_entry::Kind,
};

use super::{
    Bank, Decision,
    books::Charged,
    draws::{Draws, Purpose},
    refusal::{maintenance, refusal, refusal_by, too_late},
};

impl Bank {
    /// Decides a reversal.
    pub(super) fn reversal(&self, institution: &str, reversal: &Reversal, now_ms: i64) -> Decision {
        let entry = self.reversal_entry(institution, reversal, now_ms);
        if self.books.is_reversed(institution, &reversal.trade_no) {
            let answer = reversed(&reversal.trade_no);
            // Only a backend that is idempotent keeps that it came again.
            let repeated = Decision::repeated(entry, answer);
            return if institution.is_empty() { repeated } else { Decision { entry: None, ..repeated } };
        }
        match self.judge_reversal(institution, reversal, now_ms) {
            Ok(Some(charged)) => {
                let given = charged.give_back(&reversal.trade_no, charged.left());
                let entry = LedgerEntry {
                    kind: Kind::Reversed.into(),
                    debit_amount: given.debit,
                    balance: entry.balance + given.debit,
                    ..entry
                };
                Decision { entry: Some(entry), answer: reversed(&reversal.trade_no) }
            }
            Ok(None) => Decision { entry: None, answer: Answer::TradeUnknown(TradeUnknown {}) },
            Err(declined) => Decision {
                entry: Some(LedgerEntry {
                    kind: Kind::ReversalDeclined.into(),
                    declined: Some(declined.clone()),
                    ..entry
                }),
                answer: Answer::Declined(declined),
            },
        }
    }

    /// The charge that is taken back, none where it is not here; or why it is not taken back.
    fn judge_reversal(
        &self,
        institution: &str,
        reversal: &Reversal,
        now_ms: i64,
    ) -> Result<Option<&Charged>, Declined> {
        let wallet = institution.is_empty();
        let faults = self.script.faults(institution);
        if faults.maintenance {
            return Err(maintenance());
        }
        if wallet && now_ms > reversal.send_by_ms {
            return Err(too_late());
        }
        let charged = match self.books.charge(institution, &reversal.trade_no) {
            None => return Ok(None),
            Some(Ok(charged)) if reversal.trade_amount == charged.left() => charged,
            Some(Ok(_) | Err(_)) => return Err(refusal_by(institution, "934", "V934")),
        };
        let draws = Draws::of_number(self.script.seed, Subject::Reversal, &reversal.trade_no);
        let first = self.books.reversal(institution, &reversal.trade_no).is_none();
        let once = first && draws.hits(Purpose::RefuseOnce, faults.refuse_reversals_once);
        if !wallet && (once || draws.hits(Purpose::Refuse, faults.refuse_reversals)) {
            return Err(refusal(institution, "V051"));
        }
        Ok(Some(charged))
    }

    /// With the account that paid, where the charge is known.
    fn reversal_entry(&self, institution: &str, reversal: &Reversal, now_ms: i64) -> LedgerEntry {
        let (account, balance) = self.payer(institution, &reversal.trade_no);
        LedgerEntry {
            sequence: self.books.next_sequence(),
            institution: institution.to_owned(),
            trade_no: reversal.trade_no.clone(),
            merchant_id: reversal.merchant_id.clone(),
            merchant_trade_no: reversal.merchant_trade_no.clone(),
            store_id: reversal.store_id.clone(),
            trade_amount: reversal.trade_amount,
            at_ms: now_ms,
            account,
            balance,
            ..LedgerEntry::default()
        }
    }
}

/// What is said of a charge that was taken back.
pub(super) fn reversed(trade_no: &str) -> Answer {
    Answer::Reversed(Reversed { issuer_trade_no: format!("V{trade_no}") })
}
