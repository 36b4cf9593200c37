//! Counts the situations that histories met, so that a test run cannot pass without refunds and
//! cancels in every state.

use std::collections::BTreeMap;

use twqr_journal::{Partition, Topic};
use twqr_journal_sim::Sim;
use twqr_order::{CancelStage, Command, Evidence, HoldRecord, Order, Payment, Phase, Record, claim_counts};
use twqr_types::{RecordedToken, StatusCode, UnixMs};
use twqr_wire::convert::{HeldTopic, decode_record};

use crate::{
    log_reader::{order_records, stored_orders},
    policies::newest_policy,
};

/// How often each situation was met.
pub type Coverage = BTreeMap<String, usize>;

/// The situations that a full test run must meet; `HISTORIES` histories are enough for them.
pub const REQUIRED_SITUATIONS: [&str; 31] = [
    "books: a movement landed behind a closing",
    "books: closed",
    "cancel: nothing to reverse, all refunded",
    "cancel: nothing to reverse, payment failed",
    "cancel: refused",
    "cancel: reversed",
    "cancel: reversed after a refund of a part",
    "cancel: reversed at a later attempt",
    "cancel: without a payment",
    "charge: Absent",
    "charge: Declined",
    "charge: NotSent",
    "charge: paid",
    "fisc-tasks: claimed after a doubt",
    "fisc-tasks: claimed after a release",
    "orders: claimed after a doubt",
    "orders: claimed after a release",
    "payment after its cancel",
    "policy changed",
    "protocol version raised",
    "refund: Absent",
    "refund: Declined",
    "refund: NotSent",
    "refund: Refused 812",
    "refund: Refused 916",
    "refund: Refused 922",
    "refund: Refused 934",
    "refund: done",
    "refund: reserve repeated",
    "wallet-tasks: claimed after a doubt",
    "wallet-tasks: claimed after a release",
];

/// Adds the situations that one history met.
pub fn count_situations(sim: &Sim, shards: u32, coverage: &mut Coverage) {
    let mut met = |situation: String| *coverage.entry(situation).or_default() += 1;
    for order in stored_orders(sim, shards).values() {
        match order {
            Order::Payment(payment) => count_of_payment(payment, &mut met),
            Order::EarlyCancel(_) => met("cancel: without a payment".to_owned()),
            Order::Refund(refund) => count_of_booking(refund.late_booking, &mut met),
        }
    }
    let mut reserves: BTreeMap<&str, usize> = BTreeMap::new();
    let records = order_records(sim, shards);
    for Record { command, .. } in &records {
        match command {
            Command::Reserve(reserve) => *reserves.entry(reserve.trade_no.as_str()).or_default() += 1,
            Command::RefundResult(result) => {
                if let Err(failure) = &result.result
                    && failure.evidence == Evidence::Refused
                {
                    met(format!("refund: Refused {}", failure.status_code));
                }
            }
            Command::CloseBooks(_) => met("books: closed".to_owned()),
            _ => {}
        }
    }
    if reserves.values().any(|n| *n > 1) {
        met("refund: reserve repeated".to_owned());
    }
    for topic in [Topic::Orders, Topic::WalletTasks, Topic::FiscTasks] {
        for index in 0..shards {
            count_of_holds(sim, Partition { topic, index }, &mut met);
        }
    }
    if (0..shards).all(|shard| raises_protocol(sim, shard)) {
        met("protocol version raised".to_owned());
    }
    if newest_policy(sim, 0).is_some_and(|newest| newest.version > 1) {
        met("policy changed".to_owned());
    }
}

/// Whether the shard's log has payments in plain text, and later ones under keys.
fn raises_protocol(sim: &Sim, shard: u32) -> bool {
    let records = sim.records(Partition { topic: Topic::Orders, index: shard }).into_iter();
    let mut tokens = records.filter_map(|record| match decode_record(record.entry.value?).ok()?.command {
        Command::Pay(pay) => Some(pay.form.card_token),
        _ => None,
    });
    tokens.any(|token| matches!(token, RecordedToken::Clear(_)))
        && tokens.any(|token| matches!(token, RecordedToken::Protected(_)))
}

/// Counts how processes came to hold a partition.
fn count_of_holds(sim: &Sim, partition: Partition, met: &mut impl FnMut(String)) {
    let topic = if partition.topic == Topic::Orders { HeldTopic::Orders } else { HeldTopic::Tasks };
    let (mut newest, mut reason) = (None, "without a sign of life");
    for record in sim.records(partition) {
        let hold = record.entry.value.as_ref().and_then(|value| topic.decode_hold(value));
        match hold {
            Some(HoldRecord::Claim { replaces, .. }) if !claim_counts(replaces, newest) => {
                met(format!("{}: void claim", partition.topic.name()));
            }
            Some(HoldRecord::Claim { .. }) => {
                met(format!("{}: claimed {reason}", partition.topic.name()));
                (newest, reason) = (Some(record.offset), "without a sign of life");
            }
            Some(HoldRecord::Release { claim }) if Some(claim) == newest => reason = "after a release",
            Some(HoldRecord::Doubt(_)) => reason = "after a doubt",
            Some(HoldRecord::Alive(alive)) if Some(alive.claim) == newest => reason = "from a living holder",
            _ => {}
        }
    }
}

fn count_of_booking(late_booking: Option<UnixMs>, met: &mut impl FnMut(String)) {
    if late_booking.is_some() {
        met("books: a movement landed behind a closing".to_owned());
    }
}

fn count_of_payment(payment: &Payment, met: &mut impl FnMut(String)) {
    count_of_booking(payment.charge.late_booking, met);
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
                met("cancel: reversed at a later attempt".to_owned());
            }
            if payment.refunded() > 0 {
                met("cancel: reversed after a refund of a part".to_owned());
            }
        }
        CancelStage::Reversing(_) => met("cancel: refused".to_owned()),
        CancelStage::NothingToReverse if payment.is_paid() => {
            met("cancel: nothing to reverse, all refunded".to_owned());
        }
        CancelStage::NothingToReverse
            if payment.charge.failure().is_some_and(|failure| failure.status_code == StatusCode::CANCELLED) =>
        {
            met("payment after its cancel".to_owned());
        }
        CancelStage::NothingToReverse => met("cancel: nothing to reverse, payment failed".to_owned()),
        CancelStage::Blocked | CancelStage::Retry { .. } => {}
    }
}
