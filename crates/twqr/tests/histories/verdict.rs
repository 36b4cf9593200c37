//! The invariants of the architecture, checked against the log and the ledger after a history.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message;
use twqr_journal::{Partition, Topic, sim::Sim};
use twqr_order::{Command, Evidence, Order, Payment, Phase};
use twqr_types::OrderKey;
use twqr_wire::{
    backend::{LedgerEntry, ledger_entry::Kind},
    bus::{TasksRecord, movement::Phase as Told, order, reply_record::Body, task, tasks_record},
    convert::{StateBody, decode_record, decode_state, payment_out},
};

use crate::callers::Heard;

/// Of each order, the state with the highest position.
fn orders(sim: &Sim, shards: u32) -> BTreeMap<Vec<u8>, Payment> {
    let mut newest: BTreeMap<Vec<u8>, (u64, Payment)> = BTreeMap::new();
    for index in 0..shards {
        for record in sim.records(Partition { topic: Topic::OrderStates, index }) {
            let Some(Ok(entry)) = record.entry.value.map(decode_state) else { continue };
            let StateBody::Order(order) = entry.body else { continue };
            let Order::Payment(payment) = *order else { continue };
            let key = payment.key.to_bytes();
            if newest.get(&key).is_none_or(|(position, _)| *position < entry.position) {
                newest.insert(key, (entry.position, payment));
            }
        }
    }
    newest.into_iter().map(|(key, (_, payment))| (key, payment)).collect()
}

/// Every order for which a Pay is in the log.
fn accepted(sim: &Sim, shards: u32) -> BTreeMap<Vec<u8>, OrderKey> {
    let records = (0..shards).flat_map(|index| sim.records(Partition { topic: Topic::Orders, index }));
    let key = |bytes: Bytes| match decode_record(bytes).ok()?.command {
        Command::Pay(pay) => Some((pay.form.key.to_bytes(), pay.form.key.clone())),
        _ => None,
    };
    records.filter_map(|record| key(record.entry.value?)).collect()
}

/// Whether every accepted order has ended.
pub fn all_final(sim: &Sim, shards: u32) -> bool {
    let orders = orders(sim, shards);
    accepted(sim, shards).keys().all(|key| orders.get(key).is_some_and(|order| order.charge.phase.is_final()))
}

/// Everything that is wrong.
pub fn check(sim: &Sim, shards: u32, ledger: &[LedgerEntry], heard: &Heard) -> Vec<String> {
    let orders = orders(sim, shards);
    let mut found = Vec::new();
    charged_once(ledger, &mut found);
    none_lost(&accepted(sim, shards), &orders, &mut found);
    money_agrees(&orders, ledger, &mut found);
    nobody_was_contradicted(heard, &orders, &mut found);
    decisions_are_pure(sim, &mut found);
    dead_letters(sim, heard, &mut found);
    found
}

fn name(key: &OrderKey) -> String {
    key.to_string()
}

/// I1: at most one charge for each order.
fn charged_once(ledger: &[LedgerEntry], found: &mut Vec<String>) {
    let mut charges: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for entry in ledger.iter().filter(|entry| entry.kind() == Kind::Charged) {
        *charges.entry((&entry.merchant_id, &entry.merchant_trade_no)).or_default() += 1;
    }
    found.extend(charges.iter().filter(|(_, n)| **n > 1).map(|(key, n)| format!("I1: {key:?} charged {n} times")));
}

/// I2: every accepted order ends.
fn none_lost(accepted: &BTreeMap<Vec<u8>, OrderKey>, orders: &BTreeMap<Vec<u8>, Payment>, found: &mut Vec<String>) {
    for (bytes, key) in accepted {
        match orders.get(bytes) {
            None => found.push(format!("I2: {} was accepted and has no state", name(key))),
            Some(order) if !order.charge.phase.is_final() => {
                found.push(format!("I2: {} never ended: {:?}", name(key), order.charge.phase));
            }
            Some(_) => {}
        }
    }
}

/// I4 and I6: paid is charged with that amount, failed is not charged, and its evidence is true.
fn money_agrees(orders: &BTreeMap<Vec<u8>, Payment>, ledger: &[LedgerEntry], found: &mut Vec<String>) {
    let mut by_trade: BTreeMap<&str, Vec<&LedgerEntry>> = BTreeMap::new();
    for entry in ledger {
        by_trade.entry(&entry.trade_no).or_default().push(entry);
    }
    for order in orders.values() {
        let entries = by_trade.get(order.trade_no.to_string().as_str()).cloned().unwrap_or_default();
        let charged = entries.iter().find(|entry| entry.kind() == Kind::Charged);
        let declined = entries.iter().any(|entry| entry.kind() == Kind::Declined);
        match (&order.charge.phase, charged) {
            (Phase::Done(approval), Some(entry)) if approval.debit_amount == entry.debit_amount => {}
            (Phase::Done(approval), entry) => {
                found.push(format!(
                    "I4: {} paid {}, the ledger says {entry:?}",
                    name(&order.key),
                    approval.debit_amount
                ));
            }
            (Phase::Failed(failure), Some(_)) => {
                found.push(format!("I6: {} failed ({:?}) and is charged", name(&order.key), failure.evidence));
            }
            (Phase::Failed(failure), None) if failure.evidence == Evidence::Declined && !declined => {
                found.push(format!("I6: {} is said to be declined; nobody declined it", name(&order.key)));
            }
            _ => {}
        }
        if order.contradiction.is_some() {
            found.push(format!("I6: an issuer contradicted {}", name(&order.key)));
        }
    }
}

/// I3 and I5: a final answer is the order's final state; after Pay was acknowledged the order is found.
fn nobody_was_contradicted(heard: &Heard, orders: &BTreeMap<Vec<u8>, Payment>, found: &mut Vec<String>) {
    for (correlation, replies) in &heard.replies {
        let key = &heard.about[correlation];
        let end = orders.get(&key.to_bytes()).and_then(|order| payment_out(order).charge?.phase);
        for reply in replies {
            match &reply.body {
                Some(Body::Order(told)) => {
                    let Some(order::Order::Payment(told)) = &told.order else { continue };
                    let told = told.charge.as_ref().and_then(|charge| charge.phase.as_ref());
                    if matches!(told, Some(Told::Approved(_) | Told::Failed(_))) && end.as_ref() != told {
                        found.push(format!("I3: {} was told {told:?}, ended {end:?}", name(key)));
                    }
                }
                Some(Body::NotFound(_)) if heard.must_be_found.contains(correlation) => {
                    found.push(format!("I5: {} was accepted and not found", name(key)));
                }
                _ => {}
            }
        }
    }
}

/// Two routers decide the same: a task that was emitted again is the same task, and an order has one task to charge.
fn decisions_are_pure(sim: &Sim, found: &mut Vec<String>) {
    let mut tasks: BTreeMap<(u32, u64, u32), BTreeSet<Vec<u8>>> = BTreeMap::new();
    let mut charges: BTreeMap<Vec<u8>, BTreeSet<(u32, u64, u32)>> = BTreeMap::new();
    for partition in [Topic::WalletTasks, Topic::FiscTasks]
        .into_iter()
        .flat_map(|topic| (0..2).map(move |index| Partition { topic, index }))
    {
        for record in sim.records(partition) {
            let Ok(record) = TasksRecord::decode(record.entry.value.unwrap()) else { continue };
            let Some(tasks_record::Body::Task(task)) = record.body else { continue };
            let id = task.id.unwrap();
            let id = (id.shard, id.offset, id.n);
            if matches!(task.kind, Some(task::Kind::Charge(_))) {
                charges.entry(task.key.clone().unwrap().encode_to_vec()).or_default().insert(id);
            }
            tasks.entry(id).or_default().insert(task.encode_to_vec());
        }
    }
    found.extend(
        tasks.iter().filter(|(_, same)| same.len() > 1).map(|(id, _)| format!("task {id:?} was emitted in two forms")),
    );
    found.extend(charges.values().filter(|ids| ids.len() > 1).map(|ids| format!("one order has the charges {ids:?}")));
}

/// I7: what nobody can read is kept, with its place.
fn dead_letters(sim: &Sim, heard: &Heard, found: &mut Vec<String>) {
    let letters = sim.records(Partition { topic: Topic::DeadLetters, index: 0 });
    let places: BTreeSet<(u32, u64)> = letters
        .into_iter()
        .map(|record| twqr_wire::bus::DeadLetter::decode(record.entry.value.unwrap()).unwrap())
        .filter(|letter| letter.topic == Topic::Orders.name())
        .map(|letter| (letter.partition, letter.offset))
        .collect();
    if places.len() < heard.unreadable {
        found.push(format!("I7: {} unreadable records, {} dead letters", heard.unreadable, places.len()));
    }
}
