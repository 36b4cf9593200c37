//! Decisions are pure: what routers kept and emitted, how often ever, is what the log says, all of
//! it and nothing else. So what is emitted again is the same, and what a crash cut off is emitted
//! by whoever comes next.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message;
use twqr_journal::{Partition, Topic};
use twqr_journal_sim::Sim;
use twqr_order::{Command, EffectId, Order};
use twqr_types::ShardId;
use twqr_wire::{
    bus::{self, TasksRecord, task::Kind, tasks_record::Body},
    convert::{decode_record, decode_reply},
};

use crate::{
    fold::{Fold, fold},
    heard::REPLIES,
    verdict::Orders,
};

/// What was emitted: every form of each.
type Emitted = BTreeMap<EffectId, BTreeSet<Vec<u8>>>;

pub fn decisions_are_pure(sim: &Sim, shards: u32, orders: &Orders, found: &mut Vec<String>) {
    let fold = fold(sim, shards);
    same_orders(&fold.orders, orders, found);
    same_effects("task", &fold.tasks, &tasks(sim, found), found);
    same_effects("reply", &fold.replies, &replies(sim), found);
    same_forwards(sim, shards, &fold, found);
}

fn id(id: Option<&bus::EffectId>) -> EffectId {
    let id = id.unwrap();
    EffectId { shard: ShardId(u16::try_from(id.shard).unwrap()), offset: id.offset, n: id.n }
}

/// What was kept is what the log says. Who waits is left out: one who waits no more may be kept or
/// not.
fn same_orders(folded: &Orders, kept: &Orders, found: &mut Vec<String>) {
    let without_waiting = |order: &Order| {
        let mut order = order.clone();
        match &mut order {
            Order::Payment(payment) => payment.subscribers.clear(),
            Order::Refund(refund) => refund.subscribers.clear(),
            Order::EarlyCancel(_) => {}
        }
        order
    };
    for (key, order) in folded {
        let (folded, kept) = (without_waiting(order), kept.get(key).map(without_waiting));
        if kept.as_ref() != Some(&folded) {
            found.push(format!("{}: the log says {folded:?}, kept is {kept:?}", folded.key()));
        }
    }
    if kept.len() > folded.len() {
        found.push(format!("{} orders are kept, the log has {}", kept.len(), folded.len()));
    }
}

fn same_effects(what: &str, folded: &BTreeMap<EffectId, Vec<u8>>, emitted: &Emitted, found: &mut Vec<String>) {
    for (id, forms) in emitted {
        let expected = folded.get(id);
        if !forms.iter().all(|form| Some(form) == expected) {
            found.push(format!("{what} {id} was emitted in {} forms, not all what the log says", forms.len()));
        }
    }
    let missing = folded.keys().filter(|id| !emitted.contains_key(id));
    found.extend(missing.map(|id| format!("{what} {id} was never emitted")));
}

/// Every form of each task; one charge of an order, and one refund of a number.
fn tasks(sim: &Sim, found: &mut Vec<String>) -> Emitted {
    let mut emitted = Emitted::new();
    let mut once: BTreeMap<(String, String, &str), BTreeSet<EffectId>> = BTreeMap::new();
    let partitions = [Topic::WalletTasks, Topic::FiscTasks].into_iter();
    for partition in partitions.flat_map(|topic| (0..2).map(move |index| Partition { topic, index })) {
        for record in sim.records(partition) {
            let bytes = record.entry.value.unwrap();
            let Ok(TasksRecord { body: Some(Body::Task(task)), .. }) = TasksRecord::decode(bytes.clone()) else {
                continue;
            };
            let id = id(task.id.as_ref());
            let key = task.key.unwrap();
            let moved = match task.kind {
                Some(Kind::Charge(_)) => Some((key.merchant_trade_no, "charge")),
                Some(Kind::Refund(refund)) => Some((refund.merchant_trade_no, "refund")),
                Some(Kind::Reversal(_) | Kind::Inquire(_)) | None => None,
            };
            if let Some((number, what)) = moved {
                once.entry((key.merchant_id, number, what)).or_default().insert(id);
            }
            emitted.entry(id).or_default().insert(bytes.to_vec());
        }
    }
    let twice = once.iter().filter(|(_, ids)| ids.len() > 1);
    found.extend(twice.map(|(what, ids)| format!("I1: {what:?} has the tasks {ids:?}")));
    emitted
}

fn replies(sim: &Sim) -> Emitted {
    let mut emitted = Emitted::new();
    for record in sim.records(REPLIES) {
        let bytes = record.entry.value.unwrap();
        if let Some(id) = decode_reply(bytes.clone()).unwrap().id {
            emitted.entry(id).or_default().insert(bytes.to_vec());
        }
    }
    emitted
}

/// Every record between orders is there, and no other.
fn same_forwards(sim: &Sim, shards: u32, fold: &Fold, found: &mut Vec<String>) {
    let between = |bytes: &Bytes| {
        let command = decode_record(bytes.clone()).map(|record| record.command);
        matches!(command, Ok(Command::Reserve(_) | Command::RefundResult(_)))
    };
    let of_shard = |index| {
        let records = sim.records(Partition { topic: Topic::Orders, index });
        records.into_iter().filter_map(move |record| Some((index, record.entry.value?)))
    };
    let emitted: BTreeSet<(u32, Bytes)> = (0..shards).flat_map(of_shard).filter(|(_, bytes)| between(bytes)).collect();
    for (shard, bytes) in fold.forwards.symmetric_difference(&emitted) {
        let whose = if emitted.contains(&(*shard, bytes.clone())) { "came from nowhere" } else { "was never emitted" };
        found.push(format!("to shard {shard} {whose}: {:?}", decode_record(bytes.clone())));
    }
}
