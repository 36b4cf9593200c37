//! What histories reached: that a test run meets refunds and cancels in every state is not left to
//! chance.

use std::collections::BTreeMap;

use twqr_journal_sim::Sim;
use twqr_order::{CancelStage, Command, Order, Payment, Phase, Record};
use twqr_types::StatusCode;

use crate::{rules::newest_rules, verdict};

/// How often each situation was met.
pub type Reached = BTreeMap<String, usize>;

/// What every test run of some dozens of histories must meet.
pub const EXPECTED: [&str; 22] = [
    "cancel: Nothing, after its payment failed",
    "cancel: Nothing, all of it refunded",
    "cancel: refused",
    "cancel: reversed",
    "cancel: reversed at another attempt",
    "cancel: reversed, a part refunded",
    "cancelled, and never paid",
    "charge: Absent",
    "charge: Declined",
    "charge: NotSent",
    "charge: paid",
    "payment after its cancel",
    "refund: Absent",
    "refund: Declined",
    "refund: NotSent",
    "refund: Refused 812",
    "refund: Refused 916",
    "refund: Refused 922",
    "refund: Refused 934",
    "refund: done",
    "reserve again",
    "rules changed",
];

/// Counts what one history met.
pub fn count(sim: &Sim, shards: u32, reached: &mut Reached) {
    let mut met = |what: String| *reached.entry(what).or_default() += 1;
    for order in verdict::orders(sim, shards).values() {
        match order {
            Order::Payment(payment) => of_payment(payment, &mut met),
            Order::EarlyCancel(_) => met("cancelled, and never paid".to_owned()),
            Order::Refund(_) => {}
        }
    }
    let mut reserves: BTreeMap<&str, usize> = BTreeMap::new();
    let records = verdict::records(sim, shards);
    for Record { command, .. } in &records {
        match command {
            Command::Reserve(reserve) => *reserves.entry(reserve.trade_no.as_str()).or_default() += 1,
            Command::RefundResult(result) => {
                if let Err(failure) = &result.result
                    && failure.evidence == twqr_order::Evidence::Refused
                {
                    met(format!("refund: Refused {}", failure.status_code));
                }
            }
            _ => {}
        }
    }
    if reserves.values().any(|n| *n > 1) {
        met("reserve again".to_owned());
    }
    if newest_rules(sim, 0).is_some_and(|newest| newest.version > 1) {
        met("rules changed".to_owned());
    }
}

fn of_payment(payment: &Payment, met: &mut impl FnMut(String)) {
    match &payment.charge.phase {
        Phase::Done(_) => met("charge: paid".to_owned()),
        Phase::Failed(failure) => met(format!("charge: {:?}", failure.evidence)),
        Phase::Sent { .. } | Phase::Unresolved { .. } | Phase::Inquiring { .. } => {}
    }
    for entry in &payment.refunds {
        match &entry.refund.phase {
            Phase::Done(_) => met("refund: done".to_owned()),
            Phase::Failed(failure) => met(format!("refund: {:?}", failure.evidence)),
            Phase::Sent { .. } | Phase::Unresolved { .. } | Phase::Inquiring { .. } => {}
        }
    }
    let Some(cancel) = &payment.cancel else { return };
    match &cancel.stage {
        CancelStage::Reversing(reversal) if reversal.done().is_some() => {
            met("cancel: reversed".to_owned());
            if cancel.attempts > 1 {
                met("cancel: reversed at another attempt".to_owned());
            }
            if payment.refunded() > 0 {
                met("cancel: reversed, a part refunded".to_owned());
            }
        }
        CancelStage::Reversing(_) => met("cancel: refused".to_owned()),
        CancelStage::NothingToReverse if payment.is_paid() => met("cancel: Nothing, all of it refunded".to_owned()),
        CancelStage::NothingToReverse
            if payment.charge.failure().is_some_and(|failure| failure.status_code == StatusCode::CANCELLED) =>
        {
            met("payment after its cancel".to_owned());
        }
        CancelStage::NothingToReverse => met("cancel: Nothing, after its payment failed".to_owned()),
        CancelStage::Blocked | CancelStage::Retry { .. } => {}
    }
}
