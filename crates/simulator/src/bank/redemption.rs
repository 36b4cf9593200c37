//! What customers redeem on payments with the wallet, and how refunds return it. A full refund
//! returns exactly what was redeemed.

/// Redeemed amounts in whole TWD, never negative: by the customer's points, and by the store's
/// offer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Redemption {
    pub(super) customer: i64,
    pub(super) store: i64,
}

/// Payments up to this amount redeem nothing, in TWD.
const REDEEM_ABOVE: i64 = 10;

/// How much of a payment is redeemed. At least `un_redeem` of it is paid in money.
pub(super) fn redeemed_amount(trade_no: &str, trade_amount: i64, un_redeem: i64) -> i64 {
    let Redemption { customer, store } = wanted(trade_no);
    let redeemable = if trade_amount > REDEEM_ABOVE { trade_amount.saturating_sub(un_redeem.max(0)) } else { 0 };
    (customer + store).min(redeemable).max(0)
}

/// Derived from the TradeNo: of ten payments, one redeems points, one the store's offer, one both.
fn wanted(trade_no: &str) -> Redemption {
    match trade_no.bytes().map(u64::from).sum::<u64>() % 10 {
        0 => Redemption { customer: 5, store: 0 },
        3 => Redemption { customer: 0, store: 3 },
        5 => Redemption { customer: 5, store: 3 },
        _ => Redemption::default(),
    }
}

impl Redemption {
    /// Splits `redeemed`, a result of [`redeemed_amount`], between customer and store.
    pub(super) fn of(trade_no: &str, redeemed: i64) -> Self {
        let customer = wanted(trade_no).customer.min(redeemed);
        Self { customer, store: redeemed - customer }
    }

    fn total(self) -> i64 {
        self.customer + self.store
    }

    /// The redemption returned in total once `refunded` of `trade_amount` is refunded: the same
    /// share of it, rounded down, and all of it after a full refund.
    pub(super) fn returned_after(self, refunded: i64, trade_amount: i64) -> Self {
        // The total is rounded first and then split, so no refund returns more redemption than its
        // own amount.
        let total = share(self.total(), refunded, trade_amount);
        let customer = share(self.customer, total, self.total());
        Self { customer, store: total - customer }
    }
}

/// `amount * part / whole`, rounded down; 0 if `whole` is 0.
fn share(amount: i64, part: i64, whole: i64) -> i64 {
    (i128::from(amount) * i128::from(part)).checked_div(i128::from(whole)).unwrap_or(0) as i64
}
