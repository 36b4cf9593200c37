//! Which refunds an issuer takes (POS API, section 4: the rules differ by issuer).

use twqr_types::{Amount, UnixMs};

use super::business_day;

/// The refunds that an issuer takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefundRule {
    /// How much of a payment.
    pub scope: RefundScope,
    /// Only on the business day on which the payment was paid.
    pub same_business_day: bool,
    /// Only up to so many days after the business day on which the payment was paid: 1 to 3,650.
    pub window_days: Option<u32>,
    /// The smallest refund, in whole TWD: 1 and more. What is left of a payment may be less.
    pub min_amount: i64,
}

/// How much of a payment may be given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RefundScope {
    /// Nothing.
    None,
    /// All of it at once.
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

/// A refund as the rule sees it.
pub(crate) struct Asked {
    /// What is to be given back.
    pub(crate) amount: Amount,
    /// What the payment was.
    pub(crate) trade_amount: Amount,
    /// What is left of it, in whole TWD.
    pub(crate) left: i64,
    /// When it was paid.
    pub(crate) paid_at: UnixMs,
    /// When the refund was asked for.
    pub(crate) at: UnixMs,
}

impl RefundRule {
    /// Why the rule refuses, if it does.
    pub(crate) fn refusal(&self, asked: &Asked, day_begins_min: u32) -> Option<String> {
        let day = |at| business_day(at, day_begins_min);
        let days = day(asked.at) - day(asked.paid_at);
        match self.scope {
            RefundScope::None => return Some("the issuer takes no refunds".to_owned()),
            RefundScope::Full if asked.amount != asked.trade_amount => {
                return Some(format!("the issuer takes only refunds of the whole {} TWD", asked.trade_amount.twd()));
            }
            RefundScope::Full | RefundScope::Partial => {}
        }
        if self.same_business_day && days != 0 {
            return Some("the issuer takes refunds only on the business day of the payment".to_owned());
        }
        if let Some(window) = self.window_days.filter(|window| days > i64::from(*window)) {
            return Some(format!("the issuer takes refunds only up to {window} days after the payment"));
        }
        let takes_the_rest = asked.amount.twd() == asked.left;
        if asked.amount.twd() < self.min_amount && !takes_the_rest {
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

    #[test]
    fn each_rule_at_its_edge() {
        let any = RefundRule::default();
        let of = |rule: RefundRule, amount: i64, left: i64, after_ms: i64| {
            let amounts = (Amount::parse(amount).unwrap(), Amount::parse(100).unwrap());
            let asked =
                Asked { amount: amounts.0, trade_amount: amounts.1, left, paid_at: UnixMs(0), at: UnixMs(after_ms) };
            rule.refusal(&asked, 0).is_none()
        };
        let same_day = RefundRule { same_business_day: true, ..any };
        let window = RefundRule { window_days: Some(2), ..any };
        let minimum = RefundRule { min_amount: 10, ..any };
        let cases = [
            ("any part", any, 1, 100, 900 * DAY_MS, true),
            ("none", RefundRule { scope: RefundScope::None, ..any }, 100, 100, 0, false),
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
        for (name, rule, amount, left, after_ms, taken) in cases {
            assert_eq!(of(rule, amount, left, after_ms), taken, "{name}");
        }
    }
}
