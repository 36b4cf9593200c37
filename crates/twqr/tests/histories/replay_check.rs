//! Compares what the routers stored and emitted with a replay of the log: every order and effect of
//! the replay must be there with the same content, and no others. This shows that an effect that is
//! emitted again is unchanged, and that the next owner emits the effects that a crash prevented
//! (protocol rules P2 and P3).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use twqr_journal::{Partition, Topic};
use twqr_journal_sim::Sim;
use twqr_order::{Command, EffectId, Order, TaskKind};
use twqr_types::{MerchantId, MerchantTradeNo};
use twqr_wire::convert::{TaskRecord, decode_record, decode_reply, decode_task_record};

use crate::{
    log_reader::Orders,
    replay::{Replay, replay},
    reply_recorder::INGRESSES,
};

/// The emitted effects, each with every encoding in which it was found.
type Emitted = BTreeMap<EffectId, BTreeSet<Vec<u8>>>;

/// Adds a violation for each order and effect that differs from the replay.
pub fn check_against_replay(sim: &Sim, shards: u32, orders: &Orders, violations: &mut Vec<String>) {
    let replay = replay(sim, shards);
    check_orders(&replay.orders, orders, violations);
    check_effects("task", &replay.tasks, &emitted_tasks(sim, violations), violations);
    check_replies(&replay.replies, &emitted_replies(sim), violations);
    check_forwards(sim, shards, &replay, violations);
}

/// Compares the stored orders with the replayed ones. Subscribers are left out: one whose deadline
/// has passed may be stored or not.
fn check_orders(replayed: &Orders, stored: &Orders, violations: &mut Vec<String>) {
    let without_subscribers = |order: &Order| {
        let mut order = order.clone();
        match &mut order {
            Order::Payment(payment) => payment.subscribers.clear(),
            Order::Refund(refund) => refund.subscribers.clear(),
            Order::EarlyCancel(_) => {}
        }
        order
    };
    for (key, order) in replayed {
        let (replayed, stored) = (without_subscribers(order), stored.get(key).map(without_subscribers));
        if stored.as_ref() != Some(&replayed) {
            violations.push(format!("{}: the replay gives {replayed:?}, stored is {stored:?}", replayed.key()));
        }
    }
    if stored.len() > replayed.len() {
        violations.push(format!("{} orders are stored, the replay has {}", stored.len(), replayed.len()));
    }
}

fn check_effects(kind: &str, replayed: &BTreeMap<EffectId, Vec<u8>>, emitted: &Emitted, violations: &mut Vec<String>) {
    check_forms(kind, replayed, emitted, violations);
    let missing = replayed.keys().filter(|id| !emitted.contains_key(id));
    violations.extend(missing.map(|id| format!("{kind} {id} was never emitted")));
}

/// A failed append of a reply is not repeated, but few of them fail.
fn check_replies(replayed: &BTreeMap<EffectId, Vec<u8>>, emitted: &Emitted, violations: &mut Vec<String>) {
    check_forms("reply", replayed, emitted, violations);
    let missing = replayed.keys().filter(|id| !emitted.contains_key(id)).count();
    if missing * 10 > replayed.len() {
        violations.push(format!("{missing} of {} replies were never emitted", replayed.len()));
    }
}

fn check_forms(kind: &str, replayed: &BTreeMap<EffectId, Vec<u8>>, emitted: &Emitted, violations: &mut Vec<String>) {
    for (id, forms) in emitted {
        let expected = replayed.get(id);
        if !forms.iter().all(|form| Some(form) == expected) {
            violations.push(format!("{kind} {id} was emitted in {} forms, not all as in the replay", forms.len()));
        }
    }
}

/// Returns every emitted task. I1: an order has one charge task, a refund has one refund task.
fn emitted_tasks(sim: &Sim, violations: &mut Vec<String>) -> Emitted {
    let mut emitted = Emitted::new();
    let mut task_ids: BTreeMap<(MerchantId, MerchantTradeNo, &str), BTreeSet<EffectId>> = BTreeMap::new();
    let partitions = [Topic::WalletTasks, Topic::FiscTasks].into_iter();
    for partition in partitions.flat_map(|topic| (0..2).map(move |index| Partition { topic, index })) {
        for record in sim.records(partition) {
            let bytes = record.entry.value.unwrap();
            let Ok(TaskRecord::Task(task)) = decode_task_record(bytes.clone()) else { continue };
            let movement = match task.kind {
                TaskKind::Charge(_) => Some((task.key.merchant_trade_no, "charge")),
                TaskKind::Refund(refund) => Some((refund.number, "refund")),
                TaskKind::Reverse(_) | TaskKind::Inquire(_) => None,
            };
            if let Some((number, kind)) = movement {
                task_ids.entry((task.key.merchant_id, number, kind)).or_default().insert(task.id);
            }
            emitted.entry(task.id).or_default().insert(bytes.to_vec());
        }
    }
    let repeated = task_ids.iter().filter(|(_, ids)| ids.len() > 1);
    violations.extend(repeated.map(|(movement, ids)| format!("I1: {movement:?} has the tasks {ids:?}")));
    emitted
}

fn emitted_replies(sim: &Sim) -> Emitted {
    let mut emitted = Emitted::new();
    for record in INGRESSES.flat_map(|index| sim.records(Partition { topic: Topic::Replies, index })) {
        let bytes = record.entry.value.unwrap();
        if let Some(id) = decode_reply(bytes.clone()).unwrap().id {
            emitted.entry(id).or_default().insert(bytes.to_vec());
        }
    }
    emitted
}

/// Checks that the log has every record between orders that the replay gives, and no others.
fn check_forwards(sim: &Sim, shards: u32, replay: &Replay, violations: &mut Vec<String>) {
    let is_between_orders = |bytes: &Bytes| {
        let command = decode_record(bytes.clone()).map(|record| record.command);
        matches!(command, Ok(Command::Reserve(_) | Command::RefundResult(_)))
    };
    let of_shard = |index| {
        let records = sim.records(Partition { topic: Topic::Orders, index });
        records.into_iter().filter_map(move |record| Some((index, record.entry.value?)))
    };
    let emitted: BTreeSet<(u32, Bytes)> =
        (0..shards).flat_map(of_shard).filter(|(_, bytes)| is_between_orders(bytes)).collect();
    for (shard, bytes) in replay.forwards.symmetric_difference(&emitted) {
        let fault = if emitted.contains(&(*shard, bytes.clone())) {
            "was emitted without a cause"
        } else {
            "was never emitted"
        };
        violations.push(format!("a record to shard {shard} {fault}: {:?}", decode_record(bytes.clone())));
    }
}
