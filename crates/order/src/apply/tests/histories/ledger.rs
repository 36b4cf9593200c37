//! The issuers' ledger of each payment: the independent record against which the orders are
//! checked. It does not refuse what the machine must never request; it fails the test.

use std::collections::BTreeMap;

use twqr_types::TradeNo;

use super::super::fixtures::{approved, declined, refunded_result, reversed};
use crate::{Approval, RefundApproval, ReversalApproval, TaskResult};

/// An issuer's decision about a movement: it took effect with an amount in whole TWD, or was
/// refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    TookEffect(i64),
    Refused,
}

/// What an issuer has on record for one payment.
#[derive(Clone, Debug, Default)]
pub(super) struct Account {
    pub(super) charge: Option<Decision>,
    pub(super) refunds: BTreeMap<TradeNo, Decision>,
    /// The newest decision about any reversal; one that took effect stays.
    pub(super) reversal: Option<Decision>,
}

fn moved(decided: Option<Decision>) -> i64 {
    match decided {
        Some(Decision::TookEffect(amount)) => amount,
        Some(Decision::Refused) | None => 0,
    }
}

impl Account {
    pub(super) fn charged(&self) -> i64 {
        moved(self.charge)
    }

    pub(super) fn refunded(&self) -> i64 {
        self.refunds.values().map(|decided| moved(Some(*decided))).sum()
    }

    pub(super) fn reversed(&self) -> i64 {
        moved(self.reversal)
    }

    pub(super) fn charge(&mut self, amount: i64, takes: bool) {
        assert_eq!(self.charge, None, "I1: a second charge");
        self.charge = Some(if takes { Decision::TookEffect(amount) } else { Decision::Refused });
    }

    pub(super) fn refund(&mut self, number: TradeNo, amount: i64, takes: bool) {
        assert!(!self.refunds.contains_key(&number), "I1: refund {number} a second time");
        let gave = self.refunded() + self.reversed();
        assert!(gave + amount <= self.charged(), "I4: {gave} of {} went back, then {amount}", self.charged());
        self.refunds.insert(number, if takes { Decision::TookEffect(amount) } else { Decision::Refused });
    }

    pub(super) fn reverse(&mut self, amount: i64, takes: bool) {
        if self.reversed() > 0 {
            return;
        }
        let left = self.charged() - self.refunded();
        assert_eq!(amount, left, "I4: a reversal of {amount} where {left} are left");
        self.reversal = Some(if takes { Decision::TookEffect(amount) } else { Decision::Refused });
    }

    /// The issuer's answer about the charge; `None` if it does not know the charge.
    pub(super) fn of_charge(&self) -> Option<TaskResult<Approval>> {
        self.charge.map(|decided| match decided {
            Decision::TookEffect(amount) => approved(amount),
            Decision::Refused => declined("928"),
        })
    }

    pub(super) fn of_refund(&self, number: TradeNo) -> Option<TaskResult<RefundApproval>> {
        self.refunds.get(&number).map(|decided| match decided {
            Decision::TookEffect(amount) => refunded_result(*amount),
            Decision::Refused => declined("961"),
        })
    }

    /// The issuer's answer about the reversal, by the payment's number: the refusal of an earlier
    /// reversal is the answer until a later one arrives.
    pub(super) fn of_reversal(&self) -> Option<TaskResult<ReversalApproval>> {
        self.reversal.map(|decided| match decided {
            Decision::TookEffect(_) => reversed(),
            Decision::Refused => declined("975"),
        })
    }
}
