//! Counts and sums by issuer and kind.

use std::collections::BTreeMap;

use crate::entry::Kind;

/// How many, and how much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Movements.
    pub count: u64,
    /// The sum of their trade amounts in whole TWD, never negative.
    pub amount: i64,
}

/// Payments, refunds and cancels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Payments.
    pub payments: Tally,
    /// Refunds.
    pub refunds: Tally,
    /// Cancels.
    pub cancels: Tally,
}

impl Sums {
    /// Counts one; amounts are at most 2,147,483,647 TWD, so that no file can overflow a sum.
    fn add(&mut self, kind: Kind, trade_amount: i64) {
        let tally = match kind {
            Kind::Payment => &mut self.payments,
            Kind::Refund => &mut self.refunds,
            Kind::Cancel => &mut self.cancels,
        };
        tally.count += 1;
        tally.amount = tally.amount.saturating_add(trade_amount);
    }

    /// Movements of all kinds.
    pub fn count(&self) -> u64 {
        self.payments.count + self.refunds.count + self.cancels.count
    }

    /// Payments without refunds and cancels, in whole TWD; negative where more went back than came
    /// in.
    pub fn net(&self) -> i64 {
        self.payments.amount - self.refunds.amount - self.cancels.amount
    }

    /// Count and sum of payments, refunds, cancels, and the net, as the file writes them.
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

/// The sums by issuer (as [`twqr_types::Issuer::label`] writes it) and over all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// By issuer; only those that have movements.
    pub by_issuer: BTreeMap<String, Sums>,
    /// Over all issuers.
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
