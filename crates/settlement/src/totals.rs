//! The totals of an accounting file: counts and sums by issuer and kind.

use std::collections::BTreeMap;

use crate::entry::Kind;

/// The count and the sum of movements of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// The number of movements.
    pub count: u64,
    /// The sum of their trade amounts in whole TWD, never negative.
    pub amount: i64,
}

/// The totals of payments, refunds and cancels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// The total of payments.
    pub payments: Tally,
    /// The total of refunds.
    pub refunds: Tally,
    /// The total of cancels.
    pub cancels: Tally,
}

impl Sums {
    /// Adds a movement. Amounts are at most 2,147,483,647 TWD, so no file can overflow a sum.
    fn add(&mut self, kind: Kind, trade_amount: i64) {
        let tally = match kind {
            Kind::Payment => &mut self.payments,
            Kind::Refund => &mut self.refunds,
            Kind::Cancel => &mut self.cancels,
        };
        tally.count += 1;
        tally.amount = tally.amount.saturating_add(trade_amount);
    }

    /// The number of movements of all kinds.
    pub fn count(&self) -> u64 {
        self.payments.count + self.refunds.count + self.cancels.count
    }

    /// Payments minus refunds and cancels, in whole TWD; may be negative.
    pub fn net(&self) -> i64 {
        self.payments.amount - self.refunds.amount - self.cancels.amount
    }

    /// The cells of a totals row: count and sum of payments, refunds and cancels, then the net.
    pub(crate) fn cells(&self) -> [String; 7] {
        let Self { payments, refunds, cancels } = self;
        [
            payments.count.to_string(),
            payments.amount.to_string(),
            refunds.count.to_string(),
            refunds.amount.to_string(),
            cancels.count.to_string(),
            cancels.amount.to_string(),
            self.net().to_string(),
        ]
    }
}

/// The totals of a file, by issuer and over all issuers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// The totals by issuer (its [`twqr_types::Issuer::label`]); only issuers that have movements.
    pub by_issuer: BTreeMap<String, Sums>,
    /// The totals over all issuers.
    pub all: Sums,
}

impl Totals {
    pub(crate) fn add(&mut self, issuer: &str, kind: Kind, trade_amount: i64) {
        match self.by_issuer.get_mut(issuer) {
            Some(sums) => sums.add(kind, trade_amount),
            None => self.by_issuer.entry(issuer.to_owned()).or_default().add(kind, trade_amount),
        }
        self.all.add(kind, trade_amount);
    }
}
