//! The issuers' money, movement by movement: the witness against which the orders are held. It
//! never refuses what the machine must not ask for; it fails.

use std::collections::BTreeMap;

use twqr_types::TradeNo;

use super::super::given::{approved, declined, given_back, reversed};
use crate::{Approval, RefundApproval, ReversalApproval, TaskResult};

/// What an issuer decided about a movement; an amount in whole TWD, or a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decided {
    Transition(i64),
    Refused,
}

/// What an issuer has of one payment.
#[derive(Clone, Debug, Default)]
pub(super) struct Account {
    pub(super) charge: Option<Decided>,
    pub(super) refunds: BTreeMap<TradeNo, Decided>,
    /// The newest decision about any reversal; once it has moved, that stays.
    pub(super) reversal: Option<Decided>,
}

fn moved(decided: Option<Decided>) -> i64 {
    match decided {
        Some(Decided::Transition(amount)) => amount,
        Some(Decided::Refused) | None => 0,
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
        self.charge = Some(if takes { Decided::Transition(amount) } else { Decided::Refused });
    }

    pub(super) fn refund(&mut self, number: TradeNo, amount: i64, takes: bool) {
        assert!(!self.refunds.contains_key(&number), "I1: refund {number} a second time");
        let gave = self.refunded() + self.reversed();
        assert!(gave + amount <= self.charged(), "I4: {gave} of {} went back, then {amount}", self.charged());
        self.refunds.insert(number, if takes { Decided::Transition(amount) } else { Decided::Refused });
    }

    pub(super) fn reverse(&mut self, amount: i64, takes: bool) {
        if self.reversed() > 0 {
            return;
        }
        let left = self.charged() - self.refunded();
        assert_eq!(amount, left, "I4: a reversal of {amount} where {left} are left");
        self.reversal = Some(if takes { Decided::Transition(amount) } else { Decided::Refused });
    }

    /// What an issuer says about the charge; none: it does not know it.
    pub(super) fn of_charge(&self) -> Option<TaskResult<Approval>> {
        self.charge.map(|decided| match decided {
            Decided::Transition(amount) => approved(amount),
            Decided::Refused => declined("928"),
        })
    }

    pub(super) fn of_refund(&self, number: TradeNo) -> Option<TaskResult<RefundApproval>> {
        self.refunds.get(&number).map(|decided| match decided {
            Decided::Transition(amount) => given_back(*amount),
            Decided::Refused => declined("961"),
        })
    }

    /// Known by the payment's number: an earlier reversal's refusal is what there is until a later
    /// one arrives.
    pub(super) fn of_reversal(&self) -> Option<TaskResult<ReversalApproval>> {
        self.reversal.map(|decided| match decided {
            Decided::Transition(_) => reversed(),
            Decided::Refused => declined("975"),
        })
    }
}
