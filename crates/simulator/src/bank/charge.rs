//! Charges. Declines are provoked by the code: after its prefix, `D` and three digits decline with
//! that code (or, where it is one with which the wallet does not know itself, answer so), and
//! `NOCARD` says that the store takes no credit card.

use twqr_wire::backend::{
    Charge, Declined, LedgerEntry, exchange_response::Answer, inquiry::Subject, ledger_entry::Kind,
};

use super::{
    Bank, Decision,
    accounts::account_of,
    books::Charged,
    draws::{Draws, Purpose},
    redemption::redeemed,
    refusal::{maintenance, no_card, provoked, provoked_ambiguous, refusal},
};

impl Bank {
    /// Decides a charge. The wallet answers codes of its own with which it does not know: every
    /// other of these charges has happened, and an inquiry tells.
    pub(super) fn charge(&self, institution: &str, charge: &Charge, now_ms: i64) -> Decision {
        let Some(code) = provoked_ambiguous(institution, body(&charge.card_token), 'D') else {
            return self.plain_charge(institution, charge, now_ms);
        };
        let draws = Draws::of_number(self.script.seed, Subject::Charge, &charge.trade_no);
        let plain = Charge { card_token: charge.card_token.replace(&format!("D{code}"), "x"), ..charge.clone() };
        let happens = draws.hits(Purpose::Happens, 0.5);
        let entry = happens.then(|| self.plain_charge(institution, &plain, now_ms).entry).flatten();
        Decision { entry, answer: Answer::Declined(refusal(institution, code)) }
    }

    /// The wallet answers a TradeNo that it knows as it did before; other issuers charge again.
    fn plain_charge(&self, institution: &str, charge: &Charge, now_ms: i64) -> Decision {
        if let (true, Some(known)) = (institution.is_empty(), self.books.charge(institution, &charge.trade_no)) {
            return self.repeated_charge(charge, known, now_ms);
        }
        let faults = self.script.faults(institution);
        let account = account_of(&charge.card_token, faults.accounts);
        let balance = self.books.balance(institution, account, faults.balance);
        let entry = LedgerEntry { account, balance, ..self.charge_entry(institution, charge, now_ms) };
        match self.judge_charge(institution, charge, balance, now_ms) {
            Ok(charged) => {
                let charged = Charged::new(account, charge.trade_amount, charged);
                let entry = LedgerEntry {
                    kind: Kind::Charged.into(),
                    debit_amount: charged.debit_amount,
                    balance: balance - charged.debit_amount,
                    ..entry
                };
                let answer = self.approved(institution, &charge.trade_no, &charged);
                Decision { entry: Some(entry), answer }
            }
            Err(declined) => Decision {
                entry: Some(LedgerEntry { kind: Kind::Declined.into(), declined: Some(declined.clone()), ..entry }),
                answer: Answer::Declined(declined),
            },
        }
    }

    /// At the wallet: no money moves, and a charge that was taken back does not come back.
    fn repeated_charge(&self, charge: &Charge, known: &Result<Charged, Declined>, now_ms: i64) -> Decision {
        let (account, answer) = match known {
            Ok(charged) if self.books.is_reversed("", &charge.trade_no) => {
                (charged.account, Answer::Declined(refusal("", "812")))
            }
            Ok(charged) => (charged.account, self.approved("", &charge.trade_no, charged)),
            Err(declined) => {
                (account_of(&charge.card_token, self.script.wallet.accounts), Answer::Declined(declined.clone()))
            }
        };
        let balance = self.books.balance("", account, self.script.wallet.balance);
        let entry = LedgerEntry { account, balance, ..self.charge_entry("", charge, now_ms) };
        Decision::repeated(entry, answer)
    }

    /// What the customer is debited, or why not.
    fn judge_charge(&self, institution: &str, charge: &Charge, balance: i64, now_ms: i64) -> Result<i64, Declined> {
        let wallet = institution.is_empty();
        if self.script.faults(institution).maintenance {
            return Err(maintenance());
        }
        if wallet && now_ms > charge.send_by_ms {
            return Err(refusal(institution, "906"));
        }
        if charge.trade_amount <= 0 {
            return Err(refusal(institution, "940"));
        }
        if charge.card_token.contains("NOCARD") {
            return Err(no_card());
        }
        if let Some(code) = provoked(body(&charge.card_token), 'D') {
            return Err(refusal(institution, code));
        }
        if charge.trade_amount > balance {
            return Err(refusal(institution, "928"));
        }
        let redeemed = if wallet { redeemed(&charge.trade_no, charge.trade_amount, charge.un_redeem) } else { 0 };
        Ok(charge.trade_amount - redeemed)
    }

    fn charge_entry(&self, institution: &str, charge: &Charge, now_ms: i64) -> LedgerEntry {
        LedgerEntry {
            sequence: self.books.next_sequence(),
            institution: institution.to_owned(),
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

/// A code behind its prefix.
fn body(card_token: &str) -> &str {
    card_token.get(2..).unwrap_or_default()
}
