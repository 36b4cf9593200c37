//! Decides reversals. The wallet reverses every charge; other issuers may refuse, once or always. A
//! reversal of an unknown charge changes nothing: if the charge arrives later, it is charged.

use twqr_types::{Issuer, StatusCode};
use twqr_wire::backend::{
    Declined, LedgerEntry, Reversal, Reversed, TradeUnknown, exchange_response::Answer, inquiry::Subject,
    ledger_entry::Kind,
};

use super::{
    Bank, Decision,
    applied_charge::AppliedCharge,
    draws::{Draws, Purpose},
    refusal::{maintenance, refusal, refusal_by, too_late},
};

impl Bank {
    /// Decides a reversal.
    pub(super) fn reversal(&self, issuer: Issuer, reversal: &Reversal, now_ms: i64) -> Decision {
        let entry = self.reversal_entry(issuer, reversal, now_ms);
        if self.books.is_reversed(issuer, &reversal.trade_no) {
            let answer = reversed(&reversal.trade_no);
            let repeated = Decision::repeated(entry, answer);
            // Only an issuer that remembers charges records repeated calls.
            let records = self.script.kind(issuer).remembers_charges();
            return if records { repeated } else { Decision { entry: None, ..repeated } };
        }
        match self.check_reversal(issuer, reversal, now_ms) {
            Ok(Some(charge)) => {
                let parts = charge.refund_parts(&reversal.trade_no, charge.remaining());
                let entry = LedgerEntry {
                    kind: Kind::Reversed.into(),
                    debit_amount: parts.debit,
                    balance: entry.balance + parts.debit,
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

    /// The charge to reverse, `None` if it is unknown, or the refusal.
    fn check_reversal(
        &self,
        issuer: Issuer,
        reversal: &Reversal,
        now_ms: i64,
    ) -> Result<Option<&AppliedCharge>, Declined> {
        let is_wallet = issuer == Issuer::Wallet;
        let faults = self.script.faults(issuer);
        if faults.maintenance {
            return Err(maintenance());
        }
        if self.script.kind(issuer).refuses_late() && now_ms > reversal.send_by_ms {
            return Err(too_late(issuer));
        }
        let charge = match self.books.charge(issuer, &reversal.trade_no) {
            None => return Ok(None),
            Some(Ok(charge)) if reversal.trade_amount == charge.remaining() => charge,
            Some(Ok(_) | Err(_)) => return Err(refusal_by(issuer, StatusCode::STATE_FORBIDS_REFUND, "V934")),
        };
        let draws = Draws::of_number(self.script.seed, Subject::Reversal, &reversal.trade_no);
        let is_first = self.books.reversal(issuer, &reversal.trade_no).is_none();
        let refuses_once = is_first && draws.is_hit(Purpose::RefuseOnce, faults.refuse_reversals_once);
        if !is_wallet && (refuses_once || draws.is_hit(Purpose::Refuse, faults.refuse_reversals)) {
            return Err(refusal(issuer, "V051"));
        }
        Ok(Some(charge))
    }

    /// The entry without its verdict; it names the account that paid, if the charge is known.
    fn reversal_entry(&self, issuer: Issuer, reversal: &Reversal, now_ms: i64) -> LedgerEntry {
        let (account, balance) = self.payer(issuer, &reversal.trade_no);
        LedgerEntry {
            sequence: self.books.next_sequence(),
            institution: issuer.as_wire().to_owned(),
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

/// The answer to a reversal that took effect.
pub(super) fn reversed(trade_no: &str) -> Answer {
    Answer::Reversed(Reversed { issuer_trade_no: format!("V{trade_no}") })
}
