//! A charge that took effect, with what was refunded of it so far, and how the next refund splits
//! into money and redemption.

use super::redemption::Redemption;

/// A charge that took effect; amounts in whole TWD.
#[derive(Clone, Copy, Debug)]
pub(super) struct AppliedCharge {
    pub(super) account: u32,
    pub(super) trade_amount: i64,
    /// The amount that the account paid, after redemption.
    pub(super) debit_amount: i64,
    refunded: i64,
}

/// The amounts that a refund or a reversal returns, in whole TWD, never negative.
pub(super) struct RefundParts {
    pub(super) debit: i64,
    pub(super) redemption: Redemption,
}

impl AppliedCharge {
    pub(super) fn new(account: u32, trade_amount: i64, debit_amount: i64) -> Self {
        Self { account, trade_amount, debit_amount, refunded: 0 }
    }

    /// The part of the trade amount that is not refunded yet.
    pub(super) fn remaining(&self) -> i64 {
        self.trade_amount - self.refunded
    }

    /// The amounts that the customer and the store redeemed on this charge.
    pub(super) fn redemption(&self, trade_no: &str) -> Redemption {
        Redemption::of(trade_no, self.trade_amount - self.debit_amount)
    }

    /// Splits the next refund of `amount`, which is at most what remains.
    pub(super) fn refund_parts(&self, trade_no: &str, amount: i64) -> RefundParts {
        let redemption = self.redemption(trade_no);
        let before = redemption.returned_after(self.refunded, self.trade_amount);
        let after = redemption.returned_after(self.refunded + amount, self.trade_amount);
        let redemption = Redemption { customer: after.customer - before.customer, store: after.store - before.store };
        RefundParts { debit: amount - redemption.customer - redemption.store, redemption }
    }

    /// Counts `amount` as refunded.
    pub(super) fn add_refund(&mut self, amount: i64) {
        self.refunded += amount;
    }
}
