//! Replays the log of `orders` from its beginning, without a router. The machine is a pure function
//! over the log (protocol rule P2), so this gives the only states and effects that the routers may
//! store and emit, however often they crash and wherever they restart.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use twqr_journal::{Partition, Topic};
use twqr_journal_sim::Sim;
use twqr_order::{
    Command, Effect, EffectId, Order, PolicyVersions, Position, Record, Target, apply, refuse_unknown_payment,
};
use twqr_types::{OrderKey, ShardId, TradeNo};
use twqr_wire::convert::{decode_record, encode_record, encode_reply, encode_task};

use crate::log_reader::Orders;

/// The states and effects that result from the logs of all shards.
#[derive(Default)]
pub struct Replay {
    pub orders: Orders,
    /// The tasks, encoded as the routers write them.
    pub tasks: BTreeMap<EffectId, Vec<u8>>,
    /// The replies, encoded as the routers write them.
    pub replies: BTreeMap<EffectId, Vec<u8>>,
    /// Encoded records between orders, each with the shard that it is sent to.
    pub forwards: BTreeSet<(u32, Bytes)>,
}

/// The state of one shard while its log is replayed.
struct ShardState {
    id: ShardId,
    orders: HashMap<OrderKey, Option<Order>>,
    key_of_trade_no: HashMap<TradeNo, OrderKey>,
    versions: PolicyVersions,
}

pub fn replay(sim: &Sim, shards: u32) -> Replay {
    let mut replay = Replay::default();
    for index in 0..shards {
        let id = ShardId(u16::try_from(index).unwrap());
        let (orders, key_of_trade_no) = (HashMap::new(), HashMap::new());
        let mut shard = ShardState { id, orders, key_of_trade_no, versions: PolicyVersions::default() };
        for record in sim.records(Partition { topic: Topic::Orders, index }) {
            if let Ok(decoded) = decode_record(record.entry.value.unwrap_or_default()) {
                replay.apply_record(&mut shard, &decoded, record.offset);
            }
        }
        let orders = shard.orders.into_values().flatten();
        replay.orders.extend(orders.map(|order| (order.key().to_bytes(), order)));
    }
    replay
}

impl Replay {
    fn apply_record(&mut self, shard: &mut ShardState, record: &Record, offset: u64) {
        let cause = Position { shard: shard.id, offset };
        let mut effects = Vec::new();
        if let Command::Policy(change) = &record.command {
            shard.versions.take(shard.id, offset, change.clone().into());
        }
        if let Command::CloseBooks(until) = &record.command {
            shard.versions.close_books(offset, record.at, *until);
        }
        // An order is named by its key, or by the TradeNo of a payment.
        let target_key = match record.command.target() {
            Some(Target::Key(key)) => Some(key.clone()),
            Some(Target::Number(number)) => shard.key_of_trade_no.get(&number).cloned(),
            None => None,
        };
        let Some(key) = target_key else {
            if let Command::Reserve(reserve) = &record.command {
                refuse_unknown_payment(reserve, record.at, cause, &mut effects);
            }
            return self.collect(shard, None, effects, offset);
        };
        let order = shard.orders.entry(key.clone()).or_default();
        apply(order, record, cause, shard.versions.rules_at(offset), &mut effects);
        let order = order.clone();
        if let Some(payment) = order.as_ref().and_then(Order::as_payment) {
            shard.key_of_trade_no.insert(payment.trade_no, key);
        }
        self.collect(shard, order.as_ref(), effects, offset);
    }

    fn collect(&mut self, shard: &ShardState, order: Option<&Order>, effects: Vec<Effect>, offset: u64) {
        for effect in effects {
            match effect {
                Effect::Task(task) => drop(self.tasks.insert(task.id, encode_task(&task).to_vec())),
                Effect::Reply(reply) => {
                    let policy = shard.versions.at(offset);
                    self.replies.insert(reply.id, encode_reply(&reply, order, policy).to_vec());
                }
                Effect::Forward(forward) => {
                    self.forwards.insert((u32::from(forward.to.0), encode_record(&forward.record)));
                }
            }
        }
    }
}
