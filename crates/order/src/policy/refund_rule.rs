//! The refund rule of an issuer. Rules differ by issuer.

use twqr_types::{Amount, BusinessDay, CutOff, UnixMs};

/// The refunds that an issuer accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefundRule {
    /// How much of a payment may be refunded.
    pub scope: RefundScope,
    /// Only on the business day of the payment.
    pub same_business_day: bool,
    /// Only up to this many days after the business day of the payment: 1 to 3,650.
    pub window_days: Option<u32>,
    /// The smallest refund in whole TWD, 1 or more. A refund of all that remains may be smaller.
    pub min_amount: i64,
}

/// How much of a payment may be refunded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RefundScope {
    /// No refunds at all.
    None,
    /// Only the whole amount at once.
    Full,
    /// Any part, also several times.
    #[default]
    Partial,
}

impl RefundScope {
    /// Every scope with its name in the policy document.
    pub const ALL: [(Self, &'static str); 3] = [(Self::None, "none"), (Self::Full, "full"), (Self::Partial, "partial")];
}

impl Default for RefundRule {
    fn default() -> Self {
        Self { scope: RefundScope::Partial, same_business_day: false, window_days: None, min_amount: 1 }
    }
}

/// The facts about a refund that a rule checks.
pub(crate) struct RefundCheck {
    /// The amount to refund.
    pub(crate) amount: Amount,
    /// The amount of the payment.
    pub(crate) trade_amount: Amount,
    /// The part of it that no earlier refund has reserved, in whole TWD.
    pub(crate) remaining: i64,
    /// When the charge took effect.
    pub(crate) paid_at: UnixMs,
    /// When the refund was requested.
    pub(crate) at: UnixMs,
}

impl RefundRule {
    /// The reason why the rule refuses the refund, for StatusDesc; `None` if it allows it.
    pub(crate) fn refusal(&self, check: &RefundCheck, cut_off: CutOff) -> Option<String> {
        let day = |at| BusinessDay::of(at, cut_off);
        let days = day(check.at).days_since(day(check.paid_at));
        match self.scope {
            RefundScope::None => return Some("the issuer takes no refunds".to_owned()),
            RefundScope::Full if check.amount != check.trade_amount => {
                return Some(format!("the issuer takes only refunds of the whole {} TWD", check.trade_amount.twd()));
            }
            RefundScope::Full | RefundScope::Partial => {}
        }
        if self.same_business_day && days != 0 {
            return Some("the issuer takes refunds only on the business day of the payment".to_owned());
        }
        if let Some(window) = self.window_days.filter(|window| days > i64::from(*window)) {
            return Some(format!("the issuer takes refunds only up to {window} days after the payment"));
        }
        let takes_the_rest = check.amount.twd() == check.remaining;
        if check.amount.twd() < self.min_amount && !takes_the_rest {
            return Some(format!("the issuer takes no refunds below {} TWD", self.min_amount));
        }
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const DAY_MS: i64 = 24 * 3_600_000;

    /// The time `ms` milliseconds after a minute (`HH:MM` in Asia/Taipei) of a day of March 2025.
    fn at((day, minute, ms): (i64, &str, i64)) -> UnixMs {
        const MARCH_1_MS: i64 = 1_740_758_400_000;
        let minutes = i64::from(CutOff::parse(minute).unwrap().minutes());
        UnixMs(MARCH_1_MS + (day - 1) * DAY_MS + minutes * 60_000 + ms)
    }

    /// Whether the accounting file of the day of `paid_at` accepts a refund that was settled at
    /// `at`.
    fn is_in_the_same_accounting_file(paid_at: UnixMs, at: UnixMs, cut_off: CutOff) -> bool {
        let entry = twqr_settlement::Entry {
            kind: twqr_settlement::Kind::Refund,
            merchant_id: "M1".into(),
            store_id: "".into(),
            gateway_trade_no: "".into(),
            merchant_trade_no: "R1".into(),
            pos_id: "".into(),
            trade_no: "T1".into(),
            refund_trade_no: "T2".into(),
            issuer: twqr_types::Issuer::Wallet,
            payment_type: 1,
            trade_amount: 1,
            debit_amount: 1,
            redeem_amount: 0,
            store_redeem_amount: 0,
            accepted_at: at,
            settled_at: at,
            booked_at: at,
        };
        let layout = twqr_settlement::Layout::default();
        twqr_settlement::write_file("M1", BusinessDay::of(paid_at, cut_off), &[entry], &layout).is_ok()
    }

    #[test]
    fn the_day_of_a_refund_rule_is_the_day_of_the_accounting_file() {
        let rule = RefundRule { same_business_day: true, ..RefundRule::default() };
        for (cut_off, paid_at, refund_at, same_day) in [
            ("00:00", (10, "00:00", 0), (10, "23:59", 59_999), true),
            ("00:00", (10, "00:00", 0), (11, "00:00", 0), false),
            ("00:00", (9, "23:59", 59_999), (10, "00:00", 0), false),
            ("02:00", (10, "01:59", 59_999), (10, "02:00", 0), false),
            ("02:00", (10, "02:00", 0), (11, "01:59", 59_999), true),
            ("12:00", (10, "11:59", 59_999), (10, "12:00", 0), false),
            ("12:00", (10, "12:00", 0), (11, "11:59", 59_999), true),
            ("12:01", (10, "12:00", 59_999), (10, "12:01", 0), false),
            ("12:01", (10, "12:01", 0), (11, "12:00", 59_999), true),
            ("23:00", (10, "22:59", 59_999), (10, "23:00", 0), false),
            ("23:00", (10, "23:00", 0), (11, "22:59", 59_999), true),
            ("23:59", (10, "23:59", 0), (11, "00:00", 0), true),
        ] {
            let name = format!("{cut_off}, paid {paid_at:?}, refunded {refund_at:?}");
            let (cut_off, paid_at, at) = (CutOff::parse(cut_off).unwrap(), at(paid_at), at(refund_at));
            let amount = Amount::parse(1).unwrap();
            let check = RefundCheck { amount, trade_amount: amount, remaining: 1, paid_at, at };
            assert_eq!(rule.refusal(&check, cut_off).is_none(), same_day, "{name}");
            assert_eq!(is_in_the_same_accounting_file(paid_at, at, cut_off), same_day, "{name}");
        }
    }

    #[test]
    fn each_rule_allows_refunds_up_to_its_limit_and_not_beyond() {
        let any = RefundRule::default();
        let of = |rule: RefundRule, amount: i64, remaining: i64, after_ms: i64| {
            let amounts = (Amount::parse(amount).unwrap(), Amount::parse(100).unwrap());
            let check = RefundCheck {
                amount: amounts.0,
                trade_amount: amounts.1,
                remaining,
                paid_at: UnixMs(0),
                at: UnixMs(after_ms),
            };
            rule.refusal(&check, CutOff::default()).is_none()
        };
        let same_day = RefundRule { same_business_day: true, ..any };
        let window = RefundRule { window_days: Some(2), ..any };
        let minimum = RefundRule { min_amount: 10, ..any };
        let cases = [
            ("any part", any, 1, 100, 900 * DAY_MS, true),
            ("no refunds", RefundRule { scope: RefundScope::None, ..any }, 100, 100, 0, false),
            ("full, whole", RefundRule { scope: RefundScope::Full, ..any }, 100, 100, 0, true),
            ("full, a part", RefundRule { scope: RefundScope::Full, ..any }, 99, 100, 0, false),
            ("same day, its last ms", same_day, 1, 100, 16 * 3_600_000 - 1, true),
            ("same day, the next", same_day, 1, 100, 16 * 3_600_000, false),
            ("window, its last day", window, 1, 100, 2 * DAY_MS, true),
            ("window, over", window, 1, 100, 2 * DAY_MS + 16 * 3_600_000, false),
            ("minimum, at", minimum, 10, 100, 0, true),
            ("minimum, below", minimum, 9, 100, 0, false),
            ("minimum, the rest", minimum, 9, 9, 0, true),
        ];
        for (name, rule, amount, remaining, after_ms, taken) in cases {
            assert_eq!(of(rule, amount, remaining, after_ms), taken, "{name}");
        }
    }
}
