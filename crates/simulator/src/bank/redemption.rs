//! What customers redeem on payments at the wallet, and how it goes back with refunds: exactly,
//! down to the last TWD.

/// Redeemed in whole TWD, never negative: by the customer's points, and by the store's offer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Redemption {
    pub(super) customer: i64,
    pub(super) store: i64,
}

/// How much this payment redeems; `un_redeem` of it is paid in money at the least.
pub(super) fn redeemed(trade_no: &str, trade_amount: i64, un_redeem: i64) -> i64 {
    let Redemption { customer, store } = wanted(trade_no);
    let redeemable = if trade_amount > NOT_REDEEMABLE { trade_amount.saturating_sub(un_redeem.max(0)) } else { 0 };
    (customer + store).min(redeemable).max(0)
}

/// Payments up to here redeem nothing, in TWD.
const NOT_REDEEMABLE: i64 = 10;

/// By the TradeNo: one in ten redeems points, one the store's offer, one both.
fn wanted(trade_no: &str) -> Redemption {
    match trade_no.bytes().map(u64::from).sum::<u64>() % 10 {
        0 => Redemption { customer: 5, store: 0 },
        3 => Redemption { customer: 0, store: 3 },
        5 => Redemption { customer: 5, store: 3 },
        _ => Redemption::default(),
    }
}

impl Redemption {
    /// Whose it was; `redeemed` is what [`redeemed`] has said.
    pub(super) fn of(trade_no: &str, redeemed: i64) -> Self {
        let customer = wanted(trade_no).customer.min(redeemed);
        Self { customer, store: redeemed - customer }
    }

    fn total(self) -> i64 {
        self.customer + self.store
    }

    /// What of it has gone back once `refunded` of `trade_amount` is refunded: the share, rounded
    /// down, and all of it at the end. Only the total is rounded, then split: so no refund ever
    /// gives back more redemption than it is large.
    pub(super) fn gone_back(self, refunded: i64, trade_amount: i64) -> Self {
        let total = share(self.total(), refunded, trade_amount);
        let customer = share(self.customer, total, self.total());
        Self { customer, store: total - customer }
    }
}

/// `amount * part / whole`, rounded down; 0 where there is no whole.
fn share(amount: i64, part: i64, whole: i64) -> i64 {
    (i128::from(amount) * i128::from(part)).checked_div(i128::from(whole)).unwrap_or(0) as i64
}
