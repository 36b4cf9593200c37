//! The log of one shard, folded from its beginning by whoever cares to: what its routers kept and
//! emitted must be this, whoever they were, however often they crashed, and wherever they began
//! again.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use twqr_journal::{Partition, Topic};
use twqr_journal_sim::Sim;
use twqr_order::{
    Command, Effect, EffectId, Order, PolicyVersions, Position, Record, Target, apply, refuse_unknown_payment,
};
use twqr_types::{OrderKey, ShardId, TradeNo};
use twqr_wire::convert::{decode_record, encode_record, encode_reply, encode_task};

use crate::verdict::Orders;

/// What all shards come to.
#[derive(Default)]
pub struct Fold {
    pub orders: Orders,
    pub tasks: BTreeMap<EffectId, Vec<u8>>,
    pub replies: BTreeMap<EffectId, Vec<u8>>,
    /// Records between orders, each with the shard that it goes to.
    pub forwards: BTreeSet<(u32, Bytes)>,
}

/// One shard on the way.
struct Shard {
    id: ShardId,
    orders: HashMap<OrderKey, Option<Order>>,
    numbers: HashMap<TradeNo, OrderKey>,
    versions: PolicyVersions,
}

pub fn fold(sim: &Sim, shards: u32) -> Fold {
    let mut fold = Fold::default();
    for index in 0..shards {
        let id = ShardId(u16::try_from(index).unwrap());
        let (orders, numbers) = (HashMap::new(), HashMap::new());
        let mut shard = Shard { id, orders, numbers, versions: PolicyVersions::default() };
        for record in sim.records(Partition { topic: Topic::Orders, index }) {
            if let Ok(decoded) = decode_record(record.entry.value.unwrap_or_default()) {
                fold.take(&mut shard, &decoded, record.offset);
            }
        }
        let orders = shard.orders.into_values().flatten();
        fold.orders.extend(orders.map(|order| (order.key().to_bytes(), order)));
    }
    fold
}

impl Fold {
    fn take(&mut self, shard: &mut Shard, record: &Record, offset: u64) {
        let cause = Position { shard: shard.id, offset };
        let mut effects = Vec::new();
        if let Command::Policy(change) = &record.command {
            shard.versions.take(shard.id, offset, change.clone().into());
        }
        let named = match record.command.target() {
            Some(Target::Key(key)) => Some(key.clone()),
            Some(Target::Number(number)) => shard.numbers.get(&number).cloned(),
            None => None,
        };
        let Some(key) = named else {
            if let Command::Reserve(reserve) = &record.command {
                refuse_unknown_payment(reserve, record.at, cause, &mut effects);
            }
            return self.keep(shard, None, effects, offset);
        };
        let order = shard.orders.entry(key.clone()).or_default();
        apply(order, record, cause, shard.versions.at(offset), &mut effects);
        let order = order.clone();
        if let Some(payment) = order.as_ref().and_then(Order::as_payment) {
            shard.numbers.insert(payment.trade_no, key);
        }
        self.keep(shard, order.as_ref(), effects, offset);
    }

    fn keep(&mut self, shard: &Shard, order: Option<&Order>, effects: Vec<Effect>, offset: u64) {
        for effect in effects {
            match effect {
                Effect::Task(task) => drop(self.tasks.insert(task.id, encode_task(&task).to_vec())),
                Effect::Reply(reply) => {
                    let code = shard.versions.at(offset).map(|policy| policy.status_codes.fisc_abnormal);
                    self.replies.insert(reply.id, encode_reply(&reply, order, code).to_vec());
                }
                Effect::Forward(forward) => {
                    self.forwards.insert((u32::from(forward.to.0), encode_record(&forward.record)));
                }
            }
        }
    }
}
