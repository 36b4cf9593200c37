//! Copies the logs of a shard as a crash in a checkpoint leaves them, and reads what `order-states`
//! says: the states in it may be newer than the marker from which the log is replayed.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking; not every test needs all of it"
)]

use std::collections::BTreeMap;

use twqr_journal::{Journal, Partition, Record, Topic};
use twqr_journal_sim::{Faults, Layout, Sim};
use twqr_order::{Order, Phase};
use twqr_wire::convert::{StateBody, decode_state};

pub const SHARDS: u32 = 2;
/// The offset of the kind of state in a key of `order-states`.
pub const KIND: usize = 8;

pub fn orders(index: u32) -> Partition {
    Partition { topic: Topic::Orders, index }
}

pub fn states(index: u32) -> Partition {
    Partition { topic: Topic::OrderStates, index }
}

/// How each payment was decided, by its number: `sent`, or the StatusCode of the refusal.
pub fn decisions(sim: &Sim) -> BTreeMap<String, String> {
    let mut decisions = BTreeMap::new();
    for record in (0..SHARDS).flat_map(|shard| sim.records(states(shard))) {
        let is_order = record.entry.key.get(KIND) == Some(&b'p');
        let Some(Ok(entry)) = record.entry.value.filter(|_| is_order).map(decode_state) else { continue };
        let StateBody::Order(order) = entry.body else { continue };
        let Order::Payment(payment) = *order else { continue };
        let decision = match &payment.charge.phase {
            Phase::Failed(failure) => failure.status_code.to_string(),
            _ => "sent".to_owned(),
        };
        decisions.insert(payment.key.merchant_trade_no.to_string(), decision);
    }
    decisions
}

fn body_of(record: &Record) -> Option<StateBody> {
    Some(decode_state(record.entry.value.clone()?).ok()?.body)
}

/// The highest position of a marker of the shard, and the offset after it in `order-states`.
pub fn marker(sim: &Sim, shard: u32) -> (u64, usize) {
    let position = |record: &Record| {
        let entry = decode_state(record.entry.value.clone()?).ok()?;
        matches!(entry.body, StateBody::Marker).then_some(entry.position)
    };
    let records = sim.records(states(shard));
    let last = records.iter().rposition(|record| position(record).is_some()).unwrap();
    (position(&records[last]).unwrap(), last + 1)
}

/// Copies the logs of shard 1. Of the states after the first `kept` records, only those were
/// written that `is_written` selects, and no marker.
pub async fn torn(before: &Sim, kept: usize, is_written: impl Fn(&StateBody) -> bool) -> Sim {
    let sim = Sim::new(Layout { shards: SHARDS, task_partitions: 1 }, Faults::default(), 7);
    let session = sim.session("copy");
    for record in before.records(orders(1)) {
        session.append(orders(1), vec![record.entry]).await.unwrap();
    }
    for (n, record) in before.records(states(1)).into_iter().enumerate() {
        if n < kept || body_of(&record).is_some_and(|body| is_written(&body)) {
            session.append(states(1), vec![record.entry]).await.unwrap();
        }
    }
    sim
}
