//! What the bank knows: everything follows from the ledger's entries, one after the other, live as
//! after a restart.

use std::collections::HashMap;

use twqr_wire::backend::{Declined, LedgerEntry, Refunded, ledger_entry::Kind};

use super::{accounts::Accounts, approval::refunded, redemption::Redemption};

/// Institution and number.
type Key = (String, String);

/// Charges, refunds, reversals and balances.
#[derive(Default)]
pub(super) struct Books {
    /// By TradeNo: the first charge that took effect, or else the first refusal.
    charges: HashMap<Key, Result<Charged, Declined>>,
    /// By the refund's TradeNo: the first refund that took effect, or else the first refusal.
    refunds: HashMap<Key, Result<Refunded, Declined>>,
    /// By the charge's TradeNo: reversed, or else the latest refusal.
    reversals: HashMap<Key, Result<(), Declined>>,
    accounts: Accounts,
    sequence: u64,
}

/// A charge that took effect.
#[derive(Clone, Copy, Debug)]
pub(super) struct Charged {
    pub(super) account: u32,
    /// Whole TWD.
    pub(super) trade_amount: i64,
    /// Whole TWD, after redemption.
    pub(super) debit_amount: i64,
    /// What is refunded of `trade_amount`, in whole TWD.
    refunded: i64,
}

/// What a refund gives back, in whole TWD, never negative.
pub(super) struct GivenBack {
    pub(super) debit: i64,
    pub(super) redemption: Redemption,
}

impl Charged {
    pub(super) fn new(account: u32, trade_amount: i64, debit_amount: i64) -> Self {
        Self { account, trade_amount, debit_amount, refunded: 0 }
    }

    /// What is left of the charge after refunds.
    pub(super) fn left(&self) -> i64 {
        self.trade_amount - self.refunded
    }

    /// What was redeemed on it.
    pub(super) fn redemption(&self, trade_no: &str) -> Redemption {
        Redemption::of(trade_no, self.trade_amount - self.debit_amount)
    }

    /// What goes back if `amount` is given back next; `amount` is not more than what is left.
    pub(super) fn give_back(&self, trade_no: &str, amount: i64) -> GivenBack {
        let redemption = self.redemption(trade_no);
        let before = redemption.gone_back(self.refunded, self.trade_amount);
        let after = redemption.gone_back(self.refunded + amount, self.trade_amount);
        let redemption = Redemption { customer: after.customer - before.customer, store: after.store - before.store };
        GivenBack { debit: amount - redemption.customer - redemption.store, redemption }
    }
}

impl Books {
    /// The number of the next entry.
    pub(super) fn next_sequence(&self) -> u64 {
        self.sequence + 1
    }

    pub(super) fn balance(&self, institution: &str, account: u32, opening: i64) -> i64 {
        self.accounts.balance(institution, account, opening)
    }

    pub(super) fn charge(&self, institution: &str, trade_no: &str) -> Option<&Result<Charged, Declined>> {
        self.charges.get(&key(institution, trade_no))
    }

    pub(super) fn refund(&self, institution: &str, refund_trade_no: &str) -> Option<&Result<Refunded, Declined>> {
        self.refunds.get(&key(institution, refund_trade_no))
    }

    pub(super) fn reversal(&self, institution: &str, trade_no: &str) -> Option<&Result<(), Declined>> {
        self.reversals.get(&key(institution, trade_no))
    }

    /// Whether the charge was taken back.
    pub(super) fn is_reversed(&self, institution: &str, trade_no: &str) -> bool {
        self.reversal(institution, trade_no).is_some_and(Result::is_ok)
    }

    /// Takes an entry in, the next or the next one of before a restart.
    pub(super) fn apply(&mut self, entry: &LedgerEntry) {
        self.sequence = self.sequence.max(entry.sequence);
        let charge = key(&entry.institution, &entry.trade_no);
        let declined = || entry.declined.clone().unwrap_or_default();
        match entry.kind() {
            Kind::Charged => {
                self.move_money(entry);
                let charged = Charged::new(entry.account, entry.trade_amount, entry.debit_amount);
                keep_first(&mut self.charges, charge, Ok(charged));
            }
            Kind::Declined => keep_first(&mut self.charges, charge, Err(declined())),
            Kind::Refunded => {
                self.move_money(entry);
                if let Some(Ok(charged)) = self.charges.get_mut(&charge) {
                    let given = charged.give_back(&entry.trade_no, entry.trade_amount);
                    charged.refunded += entry.trade_amount;
                    let refunded = refunded(&entry.refund_trade_no, &given);
                    keep_first(&mut self.refunds, key(&entry.institution, &entry.refund_trade_no), Ok(refunded));
                }
            }
            Kind::RefundDeclined => {
                keep_first(&mut self.refunds, key(&entry.institution, &entry.refund_trade_no), Err(declined()));
            }
            Kind::Reversed => {
                self.move_money(entry);
                self.reversals.insert(charge, Ok(()));
            }
            // What is reversed is not judged again, so that a refusal never comes after it.
            Kind::ReversalDeclined => drop(self.reversals.insert(charge, Err(declined()))),
            Kind::Repeated | Kind::Unspecified => {}
        }
    }

    fn move_money(&mut self, entry: &LedgerEntry) {
        self.accounts.set(&entry.institution, entry.account, entry.balance);
    }
}

fn key(institution: &str, number: &str) -> Key {
    (institution.to_owned(), number.to_owned())
}

/// Keeps the first that took effect; before there is one, the first refusal.
fn keep_first<T>(verdicts: &mut HashMap<Key, Result<T, Declined>>, key: Key, verdict: Result<T, Declined>) {
    let known = verdicts.get(&key);
    if known.is_none_or(|known| known.is_err() && verdict.is_ok()) {
        verdicts.insert(key, verdict);
    }
}
