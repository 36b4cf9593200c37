//! Reads the journal of a history as the checks need it: the records of `orders`, and the states
//! that the routers stored on `order-states`. Unreadable records are left out.

use std::collections::BTreeMap;

use twqr_journal::{Partition, Topic};
use twqr_journal_sim::Sim;
use twqr_order::{Order, Record};
use twqr_wire::convert::{StateBody, StatesEntry, decode_record, decode_state};

/// Orders by the bytes of their key.
pub type Orders = BTreeMap<Vec<u8>, Order>;

/// Every entry of a shard's checkpoints.
pub fn state_entries(sim: &Sim, shard: u32) -> impl Iterator<Item = StatesEntry> {
    let records = sim.records(Partition { topic: Topic::OrderStates, index: shard });
    records.into_iter().filter_map(|record| decode_state(record.entry.value?).ok())
}

/// The stored state of each order: the one with the highest position (protocol rule P5).
pub fn stored_orders(sim: &Sim, shards: u32) -> Orders {
    let mut newest: BTreeMap<Vec<u8>, (u64, Order)> = BTreeMap::new();
    for entry in (0..shards).flat_map(|shard| state_entries(sim, shard)) {
        let StateBody::Order(order) = entry.body else { continue };
        let key = order.key().to_bytes();
        if newest.get(&key).is_none_or(|(position, _)| *position < entry.position) {
            newest.insert(key, (entry.position, *order));
        }
    }
    newest.into_iter().map(|(key, (_, order))| (key, order)).collect()
}

/// Every record of `orders`, shard by shard.
pub fn order_records(sim: &Sim, shards: u32) -> Vec<Record> {
    let records = (0..shards).flat_map(|index| sim.records(Partition { topic: Topic::Orders, index }));
    records.filter_map(|record| decode_record(record.entry.value?).ok()).collect()
}
