//! A world of several shards and orders, with everything that runs between them: forwarded records,
//! tasks and replies.

use std::{collections::BTreeMap, num::NonZeroU16, sync::Arc};

use twqr_types::{KeyName, MerchantId, MerchantTradeNo, OrderKey, ShardCount, ShardId, TradeNo, UnixMs};

use super::fixtures;
use crate::{
    AppliedStep, Command, Effect, EffectId, Forward, ListingChange, ListingKey, ListingVersions, Listings, Nonce,
    Order, Policy, PolicyChange, PolicyVersions, Position, Record, Reply, Rules, Step, Target, Task, apply,
    refuse_unknown_payment,
};

pub(super) const SHARDS: ShardCount = ShardCount(NonZeroU16::new(3).unwrap());

/// A shard: its next offset, its policy versions, its directory of merchants, its orders.
#[derive(Default)]
struct Shard {
    offset: u64,
    versions: PolicyVersions,
    directory: BTreeMap<ListingKey, ListingVersions>,
    orders: BTreeMap<OrderKey, Order>,
}

/// An entry of a shard's log.
#[derive(Clone)]
enum Entry {
    Record(Record),
    Policy(Arc<PolicyChange>),
    Listing(Arc<ListingChange>),
}

/// An entry with its shard, and the effects that it caused, as text.
#[derive(Clone)]
struct Logged {
    shard: ShardId,
    entry: Entry,
    effects: String,
}

/// The shards, and what they emitted.
pub(super) struct World {
    shards: Vec<Shard>,
    numbers: BTreeMap<TradeNo, OrderKey>,
    version: u64,
    log: Vec<Logged>,
    /// With `strict`, each record is applied twice, its effects are compared, and the whole log can
    /// be replayed.
    pub(super) strict: bool,
    /// The present time in Unix ms.
    pub(super) at: i64,
    /// Forwarded records that are not delivered yet.
    pub(super) forwards: Vec<Forward>,
    /// Every task, in the order of emission.
    pub(super) tasks: Vec<Task>,
    /// Every reply, in the order of emission.
    pub(super) replies: Vec<Reply>,
    /// The key that signs the requests.
    pub(super) signed_by: Option<KeyName>,
    /// The nonce of the requests' signature.
    pub(super) nonce: Option<Nonce>,
    /// The caller of the last request.
    pub(super) caller: u64,
}

impl World {
    pub(super) fn new(policy: Policy) -> Self {
        let mut world = Self::without_policy();
        world.set_policy(policy);
        world
    }

    pub(super) fn without_policy() -> Self {
        let shards = (0..SHARDS.0.get()).map(|_| Shard::default()).collect();
        Self {
            shards,
            numbers: BTreeMap::new(),
            version: 0,
            log: Vec::new(),
            strict: true,
            at: fixtures::NOON,
            forwards: Vec::new(),
            tasks: Vec::new(),
            replies: Vec::new(),
            signed_by: None,
            nonce: None,
            caller: 0,
        }
    }

    /// Appends the next version of the policy to every shard.
    pub(super) fn set_policy(&mut self, policy: Policy) {
        assert_eq!(policy.faults(), [], "the policy of the test");
        self.version += 1;
        let change =
            PolicyChange { version: self.version, policy, who: "test".into(), why: "".into(), at: UnixMs(self.at) };
        let change = Arc::new(change);
        for shard in 0..SHARDS.0.get() {
            assert!(self.take_policy(shard, &change));
        }
    }

    /// Appends this version to one shard. Returns true if the shard took it.
    pub(super) fn take_policy(&mut self, shard: u16, change: &Arc<PolicyChange>) -> bool {
        let state = &mut self.shards[usize::from(shard)];
        state.offset += 1;
        let taken = state.versions.take(ShardId(shard), state.offset - 1, Arc::clone(change));
        if self.strict {
            let entry = Entry::Policy(Arc::clone(change));
            self.log.push(Logged { shard: ShardId(shard), entry, effects: taken.to_string() });
        }
        taken
    }

    /// Appends a change of the directory to every shard.
    pub(super) fn set_listing(&mut self, change: &Arc<ListingChange>) {
        (0..SHARDS.0.get()).for_each(|shard| self.take_listing(shard, change));
    }

    fn take_listing(&mut self, shard: u16, change: &Arc<ListingChange>) {
        let state = &mut self.shards[usize::from(shard)];
        state.offset += 1;
        let versions = state.directory.entry(change.key.clone()).or_default();
        let taken = versions.take(ShardId(shard), state.offset - 1, Arc::clone(change));
        if self.strict {
            let entry = Entry::Listing(Arc::clone(change));
            self.log.push(Logged { shard: ShardId(shard), entry, effects: taken.to_string() });
        }
    }

    /// Replays the whole log from its beginning, as after a restore that has the newest policies
    /// and listings already. The orders and every effect must be the same again.
    pub(super) fn check_replay(&self) {
        let mut again = Self::without_policy();
        for (shard, before) in again.shards.iter_mut().zip(&self.shards) {
            shard.versions = before.versions.clone();
            shard.directory = before.directory.clone();
        }
        for (n, Logged { shard, entry, effects }) in self.log.iter().enumerate() {
            match entry {
                Entry::Record(record) => {
                    again.apply(*shard, record);
                }
                Entry::Policy(change) => {
                    again.take_policy(shard.0, change);
                }
                Entry::Listing(change) => again.take_listing(shard.0, change),
            }
            assert_eq!(again.log[n].effects, *effects, "a replay does something else");
        }
        assert!(self.orders().eq(again.orders()), "a replay ends in another state");
    }

    /// Appends a record to its order's shard, at the present time.
    pub(super) fn append(&mut self, command: Command) -> AppliedStep {
        let shard = match command.target() {
            Some(Target::Key(key)) => key.shard(SHARDS),
            Some(Target::Number(number)) => number.shard(),
            None => ShardId(0),
        };
        let record = Record { at: UnixMs(self.at), signed_by: self.signed_by.clone(), nonce: self.nonce, command };
        self.apply(shard, &record)
    }

    /// Closes the books of every shard up to a time.
    pub(super) fn close_books(&mut self, until: i64) {
        for shard in 0..SHARDS.0.get() {
            let command = Command::CloseBooks(UnixMs(until));
            self.apply(ShardId(shard), &Record { at: UnixMs(self.at), signed_by: None, nonce: None, command });
        }
    }

    /// Delivers a forwarded record; with `again` it stays, and is delivered once more later.
    pub(super) fn deliver(&mut self, n: usize, again: bool) -> AppliedStep {
        let Forward { to, record, .. } = if again { self.forwards[n].clone() } else { self.forwards.swap_remove(n) };
        self.apply(to, &record)
    }

    /// Delivers all forwarded records, and those that they cause.
    pub(super) fn settle_forwards(&mut self) {
        while !self.forwards.is_empty() {
            let Forward { to, record, .. } = self.forwards.remove(0);
            self.apply(to, &record);
        }
    }

    fn apply(&mut self, shard: ShardId, record: &Record) -> AppliedStep {
        let mut effects = Vec::new();
        let applied = self.apply_to(shard, record, &mut effects);
        if self.strict {
            let effects = format!("{effects:?}");
            self.log.push(Logged { shard, entry: Entry::Record(record.clone()), effects });
        }
        for (n, effect) in effects.into_iter().enumerate() {
            self.collect(shard, n as u32, effect);
        }
        applied
    }

    fn apply_to(&mut self, shard: ShardId, record: &Record, effects: &mut Vec<Effect>) -> AppliedStep {
        let Shard { offset, versions, directory, orders } = &mut self.shards[usize::from(shard.0)];
        let cause = Position { shard, offset: *offset };
        *offset += 1;
        let key = match record.command.target() {
            Some(Target::Key(key)) => Some(key),
            Some(Target::Number(number)) => self.numbers.get(&number),
            None => None,
        };
        let Some(key) = key else {
            match &record.command {
                Command::Reserve(reserve) => refuse_unknown_payment(reserve, record.at, cause, effects),
                Command::CloseBooks(until) => drop(versions.close_books(cause.offset, record.at, *until)),
                _ => {}
            }
            return super::super::IGNORED;
        };
        let before = orders.remove(key);
        let find = |key: &ListingKey| directory.get(key).and_then(|versions| versions.at(cause.offset));
        let listed = record.command.listed();
        let listings = listed.map_or_else(Listings::default, |(merchant, store)| Listings::find(merchant, store, find));
        let rules = Rules { listings, ..versions.rules_at(cause.offset) };
        let mut after = before.clone();
        let applied = apply(&mut after, record, cause, rules, effects);
        if self.strict {
            check_purity(
                before.clone(),
                after.as_ref(),
                record,
                |order, again| apply(order, record, cause, rules, again),
                effects,
            );
        }
        assert!(applied.changed || before == after, "the order changed, but the step does not say so: {record:?}");
        super::invariants::check_step(before.as_ref(), after.as_ref(), applied, effects);
        if let Some(order) = after {
            if let Some(number) = order.trade_no() {
                self.numbers.insert(number, key.clone());
            }
            orders.insert(order.key().clone(), order);
        }
        applied
    }

    fn collect(&mut self, shard: ShardId, n: u32, effect: Effect) {
        let offset = self.shards[usize::from(shard.0)].offset - 1;
        let id = EffectId { shard, offset, n };
        match effect {
            Effect::Task(task) => {
                assert_eq!(task.id, id);
                self.tasks.push(task);
            }
            Effect::Reply(reply) => {
                assert_eq!(reply.id, id);
                self.replies.push(reply);
            }
            Effect::Forward(forward) => {
                assert_eq!(forward.id, id);
                self.forwards.push(forward);
            }
        }
    }

    /// Every order of every shard.
    pub(super) fn orders(&self) -> impl Iterator<Item = &Order> {
        self.shards.iter().flat_map(|shard| shard.orders.values())
    }

    /// The order of merchant M under this number.
    pub(super) fn order(&self, number: &str) -> Option<&Order> {
        self.order_of(&key(number))
    }

    pub(super) fn order_of(&self, key: &OrderKey) -> Option<&Order> {
        self.shards[usize::from(key.shard(SHARDS).0)].orders.get(key)
    }
}

/// The key of merchant M and this number.
pub(super) fn key(number: &str) -> OrderKey {
    OrderKey {
        merchant_id: MerchantId::parse("M".into()).unwrap(),
        merchant_trade_no: MerchantTradeNo::parse(number.into()).unwrap(),
    }
}

/// Checks purity: the same record in the same state has the same effects.
fn check_purity(
    before: Option<Order>,
    after: Option<&Order>,
    record: &Record,
    apply: impl FnOnce(&mut Option<Order>, &mut Vec<Effect>) -> AppliedStep,
    effects: &[Effect],
) {
    let (mut again, mut effects_again) = (before, Vec::new());
    let step: Step = apply(&mut again, &mut effects_again).step;
    assert_eq!(again.as_ref(), after, "{step:?} is not a pure function of {record:?}");
    assert_eq!(format!("{effects_again:?}"), format!("{effects:?}"), "not a pure function: {record:?}");
}
