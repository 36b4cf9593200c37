//! Refunds. The wallet is idempotent by the refund's TradeNo; other issuers refund again, as far as
//! the charge goes. Declines are provoked by the Remark: `R` and three digits decline with that
//! code (or, where it is one with which the wallet does not know itself, answer so).

use twqr_wire::backend::{
    Declined, LedgerEntry, Refund, Refunded, exchange_response::Answer, inquiry::Subject, ledger_entry::Kind,
};

use super::{
    Bank, Decision,
    approval::refunded,
    books::Charged,
    draws::{Draws, Purpose},
    refusal::{maintenance, provoked, provoked_ambiguous, refusal, refusal_by, too_late},
};

impl Bank {
    /// Decides a refund. Of those which the wallet answers with a code with which it does not know,
    /// every other one has happened, and an inquiry tells.
    pub(super) fn refund(&self, institution: &str, refund: &Refund, now_ms: i64) -> Decision {
        let Some(code) = provoked_ambiguous(institution, &refund.remark, 'R') else {
            return self.plain_refund(institution, refund, now_ms);
        };
        let draws = Draws::of_number(self.script.seed, Subject::Refund, &refund.refund_trade_no);
        let plain = Refund { remark: String::new(), ..refund.clone() };
        let happens = draws.hits(Purpose::Happens, 0.5);
        let entry = happens.then(|| self.plain_refund(institution, &plain, now_ms).entry).flatten();
        Decision { entry, answer: Answer::Declined(refusal(institution, code)) }
    }

    fn plain_refund(&self, institution: &str, refund: &Refund, now_ms: i64) -> Decision {
        let entry = self.refund_entry(institution, refund, now_ms);
        if let (true, Some(known)) = (institution.is_empty(), self.books.refund(institution, &refund.refund_trade_no)) {
            return Decision::repeated(entry, answer(known.clone()));
        }
        match self.judge_refund(institution, refund, now_ms) {
            Ok(charged) => {
                let given = charged.give_back(&refund.trade_no, refund.trade_amount);
                let entry = LedgerEntry {
                    kind: Kind::Refunded.into(),
                    debit_amount: given.debit,
                    balance: entry.balance + given.debit,
                    ..entry
                };
                Decision { entry: Some(entry), answer: Answer::Refunded(refunded(&refund.refund_trade_no, &given)) }
            }
            Err(declined) => Decision {
                entry: Some(LedgerEntry {
                    kind: Kind::RefundDeclined.into(),
                    declined: Some(declined.clone()),
                    ..entry
                }),
                answer: Answer::Declined(declined),
            },
        }
    }

    /// The charge that is refunded, or why it is not.
    fn judge_refund(&self, institution: &str, refund: &Refund, now_ms: i64) -> Result<&Charged, Declined> {
        let wallet = institution.is_empty();
        let faults = self.script.faults(institution);
        if faults.maintenance {
            return Err(maintenance());
        }
        if wallet && now_ms > refund.send_by_ms {
            return Err(too_late());
        }
        if refund.trade_amount <= 0 {
            return Err(refusal_by(institution, "940", "R940"));
        }
        let Some(Ok(charged)) = self.books.charge(institution, &refund.trade_no) else {
            return Err(refusal_by(institution, "934", "R934"));
        };
        if self.books.is_reversed(institution, &refund.trade_no) {
            return Err(refusal_by(institution, "812", "R812"));
        }
        if refund.trade_amount > charged.left() {
            return Err(refusal_by(institution, "922", "R922"));
        }
        if let Some(code) = provoked(&refund.remark, 'R') {
            return Err(refusal(institution, code));
        }
        let draws = Draws::of_number(self.script.seed, Subject::Refund, &refund.refund_trade_no);
        if !wallet && draws.hits(Purpose::Refuse, faults.refuse_refunds) {
            return Err(refusal(institution, "R051"));
        }
        Ok(charged)
    }

    /// With the account that paid, where the charge is known.
    fn refund_entry(&self, institution: &str, refund: &Refund, now_ms: i64) -> LedgerEntry {
        let (account, balance) = self.payer(institution, &refund.trade_no);
        LedgerEntry {
            sequence: self.books.next_sequence(),
            institution: institution.to_owned(),
            trade_no: refund.trade_no.clone(),
            refund_trade_no: refund.refund_trade_no.clone(),
            merchant_id: refund.merchant_id.clone(),
            merchant_trade_no: refund.merchant_trade_no.clone(),
            store_id: refund.store_id.clone(),
            trade_amount: refund.trade_amount,
            at_ms: now_ms,
            account,
            balance,
            ..LedgerEntry::default()
        }
    }
}

/// What is said of a refund.
pub(super) fn answer(verdict: Result<Refunded, Declined>) -> Answer {
    match verdict {
        Ok(refunded) => Answer::Refunded(refunded),
        Err(declined) => Answer::Declined(declined),
    }
}
