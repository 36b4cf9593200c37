//! Decides charges. The payment code can provoke a refusal: `D` and three digits behind the prefix
//! refuse with these digits as the code, and `NOCARD` answers that the store takes no credit card.
//! With an ambiguous code of the wallet (such as `D301`) half of the charges, drawn at random, take
//! effect nevertheless, and only an inquiry shows which.

use twqr_types::{Issuer, StatusCode};
use twqr_wire::backend::{
    Charge, Declined, LedgerEntry, exchange_response::Answer, inquiry::Subject, ledger_entry::Kind,
};

use super::{
    Bank, Decision,
    accounts::account_of,
    applied_charge::AppliedCharge,
    draws::{Draws, Purpose},
    redemption::redeemed_amount,
    refusal::{card_not_supported, maintenance, provoked, provoked_ambiguous, refusal, too_late},
};

impl Bank {
    /// Decides a charge. A provoked ambiguous code is answered even if the charge takes effect.
    pub(super) fn charge(&self, issuer: Issuer, charge: &Charge, now_ms: i64) -> Decision {
        let Some(code) = provoked_ambiguous(issuer, body(&charge.card_token), 'D') else {
            return self.plain_charge(issuer, charge, now_ms);
        };
        let draws = Draws::of_number(self.script.seed, Subject::Charge, &charge.trade_no);
        let plain = Charge { card_token: charge.card_token.replace(&format!("D{code}"), "x"), ..charge.clone() };
        let happens = draws.is_hit(Purpose::Happens, 0.5);
        let entry = happens.then(|| self.plain_charge(issuer, &plain, now_ms).entry).flatten();
        Decision { entry, answer: Answer::Declined(refusal(issuer, code)) }
    }

    /// Decides a charge by the rules. An issuer that remembers charges repeats its answer to a
    /// known TradeNo; others charge again.
    fn plain_charge(&self, issuer: Issuer, charge: &Charge, now_ms: i64) -> Decision {
        let kind = self.script.kind(issuer);
        let is_forgotten = self.books.is_reversed(issuer, &charge.trade_no) && !kind.remembers_reversed();
        if kind.remembers_charges()
            && !is_forgotten
            && let Some(known) = self.remembered_charge(issuer, &charge.trade_no)
        {
            return self.repeated_charge(issuer, charge, known, now_ms);
        }
        let faults = self.script.faults(issuer);
        let account = account_of(&charge.card_token, faults.accounts);
        let balance = self.books.balance(issuer, account, faults.balance);
        let entry = LedgerEntry { account, balance, ..self.charge_entry(issuer, charge, now_ms) };
        match self.check_charge(issuer, charge, balance, now_ms) {
            Ok(debit_amount) => {
                let applied = AppliedCharge::new(account, charge.trade_amount, debit_amount);
                let entry =
                    LedgerEntry { kind: Kind::Charged.into(), debit_amount, balance: balance - debit_amount, ..entry };
                let answer = self.approved(issuer, &charge.trade_no, &applied);
                Decision { entry: Some(entry), answer }
            }
            Err(declined) => Decision {
                entry: Some(LedgerEntry { kind: Kind::Declined.into(), declined: Some(declined.clone()), ..entry }),
                answer: Answer::Declined(declined),
            },
        }
    }

    /// The issuer's stored result of a TradeNo.
    pub(super) fn remembered_charge(&self, issuer: Issuer, trade_no: &str) -> Option<&Result<AppliedCharge, Declined>> {
        let remembers_refusals = self.script.kind(issuer).remembers_refusals();
        self.books.charge(issuer, trade_no).filter(|known| known.is_ok() || remembers_refusals)
    }

    /// The answer to a TradeNo that the issuer knows. No money moves, and a reversed charge stays
    /// reversed.
    fn repeated_charge(
        &self,
        issuer: Issuer,
        charge: &Charge,
        known: &Result<AppliedCharge, Declined>,
        now_ms: i64,
    ) -> Decision {
        let faults = self.script.faults(issuer);
        let (account, answer) = match known {
            Ok(applied) if self.books.is_reversed(issuer, &charge.trade_no) => {
                (applied.account, Answer::Declined(refusal(issuer, StatusCode::CANCELLED.as_str())))
            }
            Ok(applied) => (applied.account, self.approved(issuer, &charge.trade_no, applied)),
            Err(declined) => (account_of(&charge.card_token, faults.accounts), Answer::Declined(declined.clone())),
        };
        let balance = self.books.balance(issuer, account, faults.balance);
        let entry = LedgerEntry { account, balance, ..self.charge_entry(issuer, charge, now_ms) };
        Decision::repeated(entry, answer)
    }

    /// The amount to debit, or the refusal.
    fn check_charge(&self, issuer: Issuer, charge: &Charge, balance: i64, now_ms: i64) -> Result<i64, Declined> {
        let faults = self.script.faults(issuer);
        if faults.maintenance {
            return Err(maintenance());
        }
        if self.script.kind(issuer).refuses_late() && now_ms > charge.send_by_ms {
            return Err(too_late(issuer));
        }
        if charge.trade_amount <= 0 {
            return Err(refusal(issuer, StatusCode::AMOUNT_NOT_POSITIVE.as_str()));
        }
        if charge.card_token.contains("NOCARD") {
            return Err(card_not_supported());
        }
        if let Some(code) = provoked(body(&charge.card_token), 'D') {
            return Err(refusal(issuer, code));
        }
        if charge.trade_amount > balance {
            return Err(refusal(issuer, StatusCode::BALANCE_TOO_LOW.as_str()));
        }
        let draws = Draws::of_number(self.script.seed, Subject::Charge, &charge.trade_no);
        let is_first = self.books.charge(issuer, &charge.trade_no).is_none();
        if is_first && draws.is_hit(Purpose::RefuseFirst, faults.refuse_first) {
            return Err(refusal(issuer, StatusCode::BALANCE_TOO_LOW.as_str()));
        }
        let redeemed = if issuer == Issuer::Wallet {
            redeemed_amount(&charge.trade_no, charge.trade_amount, charge.un_redeem)
        } else {
            0
        };
        Ok(charge.trade_amount - redeemed)
    }

    fn charge_entry(&self, issuer: Issuer, charge: &Charge, now_ms: i64) -> LedgerEntry {
        LedgerEntry {
            sequence: self.books.next_sequence(),
            institution: issuer.as_wire().to_owned(),
            trade_no: charge.trade_no.clone(),
            merchant_id: charge.merchant_id.clone(),
            merchant_trade_no: charge.merchant_trade_no.clone(),
            store_id: charge.store_id.clone(),
            trade_amount: charge.trade_amount,
            at_ms: now_ms,
            ..LedgerEntry::default()
        }
    }
}

/// The part of a code behind its two-letter prefix.
fn body(card_token: &str) -> &str {
    card_token.get(2..).unwrap_or_default()
}
