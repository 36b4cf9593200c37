//! Decides refunds. An issuer that remembers refunds repeats its answer to a known TradeNo; others
//! refund again until nothing of the charge remains. The Remark can provoke a refusal: `R` and
//! three digits refuse with these digits as the code. With an ambiguous code of the wallet half of
//! the refunds, drawn at random, take effect nevertheless, and only an inquiry shows which.

use twqr_types::{Issuer, StatusCode};
use twqr_wire::backend::{
    Declined, LedgerEntry, Refund, Refunded, exchange_response::Answer, inquiry::Subject, ledger_entry::Kind,
};

use super::{
    Bank, Decision,
    applied_charge::AppliedCharge,
    approval::refund_answer,
    draws::{Draws, Purpose},
    refusal::{maintenance, provoked, provoked_ambiguous, refusal, refusal_by, too_late},
};

impl Bank {
    /// Decides a refund. A provoked ambiguous code is answered even if the refund takes effect.
    pub(super) fn refund(&self, issuer: Issuer, refund: &Refund, now_ms: i64) -> Decision {
        let Some(code) = provoked_ambiguous(issuer, &refund.remark, 'R') else {
            return self.plain_refund(issuer, refund, now_ms);
        };
        let draws = Draws::of_number(self.script.seed, Subject::Refund, &refund.refund_trade_no);
        let plain = Refund { remark: String::new(), ..refund.clone() };
        let happens = draws.is_hit(Purpose::Happens, 0.5);
        let entry = happens.then(|| self.plain_refund(issuer, &plain, now_ms).entry).flatten();
        Decision { entry, answer: Answer::Declined(refusal(issuer, code)) }
    }

    fn plain_refund(&self, issuer: Issuer, refund: &Refund, now_ms: i64) -> Decision {
        let entry = self.refund_entry(issuer, refund, now_ms);
        if self.script.kind(issuer).remembers_refunds()
            && let Some(known) = self.known_refund(issuer, &refund.refund_trade_no)
        {
            return Decision::repeated(entry, answer(known.clone()));
        }
        match self.check_refund(issuer, refund, now_ms) {
            Ok(charge) => {
                let parts = charge.refund_parts(&refund.trade_no, refund.trade_amount);
                let entry = LedgerEntry {
                    kind: Kind::Refunded.into(),
                    debit_amount: parts.debit,
                    balance: entry.balance + parts.debit,
                    ..entry
                };
                Decision {
                    entry: Some(entry),
                    answer: Answer::Refunded(refund_answer(&refund.refund_trade_no, &parts)),
                }
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

    /// The issuer's stored result of the TradeNo of a refund.
    pub(super) fn known_refund(&self, issuer: Issuer, refund_trade_no: &str) -> Option<&Result<Refunded, Declined>> {
        let remembers_refusals = self.script.kind(issuer).remembers_refusals();
        self.books.refund(issuer, refund_trade_no).filter(|known| known.is_ok() || remembers_refusals)
    }

    /// The charge to refund, or the refusal.
    fn check_refund(&self, issuer: Issuer, refund: &Refund, now_ms: i64) -> Result<&AppliedCharge, Declined> {
        let is_wallet = issuer == Issuer::Wallet;
        let faults = self.script.faults(issuer);
        if faults.maintenance {
            return Err(maintenance());
        }
        if self.script.kind(issuer).refuses_late() && now_ms > refund.send_by_ms {
            return Err(too_late(issuer));
        }
        if refund.trade_amount <= 0 {
            return Err(refusal_by(issuer, StatusCode::AMOUNT_NOT_POSITIVE, "R940"));
        }
        let Some(Ok(charge)) = self.books.charge(issuer, &refund.trade_no) else {
            return Err(refusal_by(issuer, StatusCode::STATE_FORBIDS_REFUND, "R934"));
        };
        if self.books.is_reversed(issuer, &refund.trade_no) {
            return Err(refusal_by(issuer, StatusCode::CANCELLED, "R812"));
        }
        if refund.trade_amount > charge.remaining() {
            return Err(refusal_by(issuer, StatusCode::REFUNDS_ABOVE_PAYMENT, "R922"));
        }
        if let Some(code) = provoked(&refund.remark, 'R') {
            return Err(refusal(issuer, code));
        }
        let draws = Draws::of_number(self.script.seed, Subject::Refund, &refund.refund_trade_no);
        if !is_wallet && draws.is_hit(Purpose::Refuse, faults.refuse_refunds) {
            return Err(refusal(issuer, "R051"));
        }
        let is_first = self.books.refund(issuer, &refund.refund_trade_no).is_none();
        if is_first && draws.is_hit(Purpose::RefuseFirst, faults.refuse_first) {
            return Err(refusal_by(issuer, StatusCode::STATE_FORBIDS_REFUND, "R934"));
        }
        Ok(charge)
    }

    /// The entry without its verdict; it names the account that paid, if the charge is known.
    fn refund_entry(&self, issuer: Issuer, refund: &Refund, now_ms: i64) -> LedgerEntry {
        let (account, balance) = self.payer(issuer, &refund.trade_no);
        LedgerEntry {
            sequence: self.books.next_sequence(),
            institution: issuer.as_wire().to_owned(),
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

/// The answer to a decided refund.
pub(super) fn answer(verdict: Result<Refunded, Declined>) -> Answer {
    match verdict {
        Ok(refunded) => Answer::Refunded(refunded),
        Err(declined) => Answer::Declined(declined),
    }
}
