//! The bank's state: charges, refunds, reversals and balances. It is built from the ledger's
//! entries alone, by the same code while the bank runs and after a restart.

use std::collections::HashMap;

use twqr_types::Issuer;
use twqr_wire::backend::{Declined, LedgerEntry, Refunded, ledger_entry::Kind};

use super::{accounts::Accounts, applied_charge::AppliedCharge, approval::refund_answer};

/// An issuer, and the TradeNo of one of its charges or refunds.
type Key = (Issuer, String);

/// Charges, refunds, reversals and balances.
#[derive(Default)]
pub(super) struct Books {
    /// By TradeNo: the first charge that took effect; before there is one, the first refusal.
    charges: HashMap<Key, Result<AppliedCharge, Declined>>,
    /// By the refund's TradeNo: the first refund that took effect; before there is one, the first
    /// refusal.
    refunds: HashMap<Key, Result<Refunded, Declined>>,
    /// By the charge's TradeNo: `Ok` once it is reversed; before that, the latest refusal.
    reversals: HashMap<Key, Result<(), Declined>>,
    accounts: Accounts,
    sequence: u64,
}

impl Books {
    /// The sequence number of the next entry.
    pub(super) fn next_sequence(&self) -> u64 {
        self.sequence + 1
    }

    pub(super) fn balance(&self, issuer: Issuer, account: u32, opening: i64) -> i64 {
        self.accounts.balance(issuer, account, opening)
    }

    pub(super) fn charge(&self, issuer: Issuer, trade_no: &str) -> Option<&Result<AppliedCharge, Declined>> {
        self.charges.get(&(issuer, trade_no.to_owned()))
    }

    pub(super) fn refund(&self, issuer: Issuer, refund_trade_no: &str) -> Option<&Result<Refunded, Declined>> {
        self.refunds.get(&(issuer, refund_trade_no.to_owned()))
    }

    pub(super) fn reversal(&self, issuer: Issuer, trade_no: &str) -> Option<&Result<(), Declined>> {
        self.reversals.get(&(issuer, trade_no.to_owned()))
    }

    /// Whether the charge was reversed.
    pub(super) fn is_reversed(&self, issuer: Issuer, trade_no: &str) -> bool {
        self.reversal(issuer, trade_no).is_some_and(Result::is_ok)
    }

    /// Applies one entry. Entries come in the order of their sequence numbers.
    pub(super) fn apply(&mut self, issuer: Issuer, entry: &LedgerEntry) {
        self.sequence = self.sequence.max(entry.sequence);
        let charge = (issuer, entry.trade_no.clone());
        let refund = (issuer, entry.refund_trade_no.clone());
        let declined = || entry.declined.clone().unwrap_or_default();
        match entry.kind() {
            Kind::Charged => {
                self.set_balance(issuer, entry);
                let applied = AppliedCharge::new(entry.account, entry.trade_amount, entry.debit_amount);
                keep_first(&mut self.charges, charge, Ok(applied));
            }
            Kind::Declined => keep_first(&mut self.charges, charge, Err(declined())),
            Kind::Refunded => {
                self.set_balance(issuer, entry);
                if let Some(Ok(applied)) = self.charges.get_mut(&charge) {
                    let parts = applied.refund_parts(&entry.trade_no, entry.trade_amount);
                    applied.add_refund(entry.trade_amount);
                    keep_first(&mut self.refunds, refund, Ok(refund_answer(&entry.refund_trade_no, &parts)));
                }
            }
            Kind::RefundDeclined => keep_first(&mut self.refunds, refund, Err(declined())),
            Kind::Reversed => {
                self.set_balance(issuer, entry);
                self.reversals.insert(charge, Ok(()));
            }
            // Once a charge is reversed, its reversal is not decided again, so a refusal never
            // overwrites it.
            Kind::ReversalDeclined => drop(self.reversals.insert(charge, Err(declined()))),
            Kind::Repeated | Kind::Unspecified => {}
        }
    }

    fn set_balance(&mut self, issuer: Issuer, entry: &LedgerEntry) {
        self.accounts.set(issuer, entry.account, entry.balance);
    }
}

/// Keeps the first success; before there is one, the first refusal.
fn keep_first<T>(verdicts: &mut HashMap<Key, Result<T, Declined>>, key: Key, verdict: Result<T, Declined>) {
    let known = verdicts.get(&key);
    if known.is_none_or(|known| known.is_err() && verdict.is_ok()) {
        verdicts.insert(key, verdict);
    }
}
