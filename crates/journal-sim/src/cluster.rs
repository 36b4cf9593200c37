//! The cluster: logs, positions, group members, and the random choice of what goes wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use bytes::Bytes;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::watch;
use twqr_journal::{Entry, Group, LogTime, Member, Offset, Partition, Position, Record, Topic};

use crate::faults::{Fate, Faults};

/// Partitions of `replies`: the largest number of ingress instances.
pub(crate) const REPLIES_PARTITIONS: u32 = 16;

/// How many partitions the topics have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Partitions of `orders` and `order-states`.
    pub shards: u32,
    /// Partitions of each task topic.
    pub task_partitions: u32,
}

impl Layout {
    pub(crate) fn partitions(self, topic: Topic) -> u32 {
        match topic {
            Topic::Orders | Topic::OrderStates => self.shards,
            Topic::WalletTasks | Topic::FiscTasks => self.task_partitions,
            Topic::Replies => REPLIES_PARTITIONS,
            Topic::DeadLetters | Topic::Callers => 1,
        }
    }
}

pub(crate) struct Cluster {
    pub(crate) layout: Layout,
    /// The end of each partition, which readers watch.
    ends: BTreeMap<Partition, watch::Sender<Offset>>,
    state: Mutex<State>,
    /// Counts the changes of membership, so that sessions can wait for one.
    membership: watch::Sender<u64>,
    /// The brokers' clock, if they stamp records.
    broker_clock: OnceLock<BrokerClock>,
}

/// Returns the present time by the brokers' clock.
pub(crate) type BrokerClock = Box<dyn Fn() -> LogTime + Send + Sync>;

struct State {
    records: BTreeMap<Partition, Vec<Record>>,
    positions: BTreeMap<(Group, Partition), Position>,
    /// The sessions that the group of a topic counts as alive.
    members: BTreeMap<Topic, BTreeSet<u64>>,
    /// By which name each session has joined the group of a topic.
    names: BTreeMap<(Topic, u64), String>,
    /// Held partitions of `replies`, and the session that holds each.
    held_replies: BTreeMap<u32, u64>,
    faults: Faults,
    random: ChaCha8Rng,
    sessions: u64,
}

impl State {
    fn chance(&mut self, per_mille: u32) -> bool {
        per_mille > 0 && self.random.random_range(0..1_000) < per_mille
    }

    /// Keeps only the newest record of each key.
    fn compact(&mut self, partition: Partition) {
        let Some(records) = self.records.get_mut(&partition) else { return };
        let newest: BTreeMap<_, _> = records.iter().map(|record| (record.entry.key.clone(), record.offset)).collect();
        records.retain(|record| newest.get(&record.entry.key) == Some(&record.offset));
    }
}

impl Cluster {
    pub(crate) fn new(layout: Layout, faults: Faults, seed: u64) -> Self {
        let partitions = |topic| (0..layout.partitions(topic)).map(move |index| Partition { topic, index });
        let state = State {
            records: BTreeMap::new(),
            positions: BTreeMap::new(),
            members: BTreeMap::new(),
            names: BTreeMap::new(),
            held_replies: BTreeMap::new(),
            faults,
            random: ChaCha8Rng::seed_from_u64(seed),
            sessions: 0,
        };
        let partitions = Topic::ALL.into_iter().flat_map(partitions);
        Self {
            layout,
            ends: partitions.map(|partition| (partition, watch::Sender::new(0))).collect(),
            state: Mutex::new(state),
            membership: watch::Sender::new(0),
            broker_clock: OnceLock::new(),
        }
    }

    /// Returns a number that no other session of the cluster has.
    pub(crate) fn next_session(&self) -> u64 {
        let mut state = self.lock();
        state.sessions += 1;
        state.sessions
    }

    pub(crate) fn set_broker_clock(&self, clock: BrokerClock) {
        self.broker_clock.get_or_init(|| clock);
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
        // The faults decide which partitions a session is assigned.
        self.signal_membership();
    }

    pub(crate) fn records(&self, partition: Partition) -> Vec<Record> {
        self.lock().records.get(&partition).cloned().unwrap_or_default()
    }

    /// The value of the newest record with this key, if it has one.
    pub(crate) fn newest(&self, partition: Partition, key: &[u8]) -> Option<Bytes> {
        let state = self.lock();
        let newest = state.records.get(&partition)?.iter().rfind(|record| record.entry.key == key);
        newest.and_then(|record| record.entry.value.clone())
    }

    pub(crate) fn compact(&self, partition: Partition) {
        self.lock().compact(partition);
    }

    pub(crate) fn trim(&self, partition: Partition, start: Offset) {
        if let Some(records) = self.lock().records.get_mut(&partition) {
            records.retain(|record| record.offset >= start);
        }
    }

    pub(crate) fn truncate(&self, partition: Partition, end: Offset) {
        if let Some(records) = self.lock().records.get_mut(&partition) {
            records.retain(|record| record.offset < end);
        }
        if let Some(log_end) = self.ends.get(&partition) {
            log_end.send_replace(end);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn has(&self, partition: Partition) -> bool {
        self.ends.contains_key(&partition)
    }

    pub(crate) fn end(&self, partition: Partition) -> Option<watch::Receiver<Offset>> {
        self.ends.get(&partition).map(watch::Sender::subscribe)
    }

    /// Appends entries to the log, where every session can read them. Returns the time, if the
    /// brokers stamp records.
    pub(crate) fn land(&self, partition: Partition, entries: Vec<Entry>) -> Option<LogTime> {
        let log_end = self.ends.get(&partition)?;
        let first = *log_end.borrow();
        let end = first + entries.len() as u64;
        {
            let mut state = self.lock();
            let records = state.records.entry(partition).or_default();
            records.extend((first..).zip(entries).map(|(offset, entry)| Record { offset, entry }));
            let share = state.faults.compacted;
            if partition.topic.is_compacted() && state.chance(share) {
                state.compact(partition);
            }
        }
        log_end.send_replace(end);
        self.broker_clock.get().map(|now| now())
    }

    /// Reads at most `max` records from an offset on.
    pub(crate) fn read(&self, partition: Partition, from: Offset, max: usize) -> Vec<Record> {
        let mut state = self.lock();
        let max = if state.faults.batches_vary { state.random.random_range(1..=max.max(1)) } else { max };
        let Some(records) = state.records.get(&partition) else { return Vec::new() };
        let start = records.partition_point(|record| record.offset < from);
        records.iter().skip(start).take(max).cloned().collect()
    }

    /// Draws the delay of the next append, in ms, and its fate.
    pub(crate) fn draw_append(&self) -> (u64, Fate) {
        let mut state = self.lock();
        let delay_ms_max = state.faults.append_delay_ms_max;
        let delay_ms = state.random.random_range(0..=delay_ms_max);
        let (drawn, late) = (state.random.random_range(0..1_000), state.random.random());
        (delay_ms, state.faults.fate(drawn, late))
    }

    /// Draws the time until the end of a partition is looked up, in ms.
    pub(crate) fn draw_end_delay(&self) -> u64 {
        let mut state = self.lock();
        let delay_ms_max = state.faults.end_delay_ms_max;
        if delay_ms_max == 0 { 0 } else { state.random.random_range(0..=delay_ms_max) }
    }

    /// Draws whether an append that a crashed session had in progress lands.
    pub(crate) fn draw_survival(&self) -> bool {
        self.lock().random.random()
    }

    /// Whether every append to the topic is lost.
    pub(crate) fn is_failing(&self, topic: Topic) -> bool {
        self.lock().faults.failing_topic == Some(topic)
    }

    pub(crate) fn draw_read_failure(&self) -> bool {
        let mut state = self.lock();
        let share = state.faults.read_failed;
        state.chance(share)
    }

    pub(crate) fn store_position(&self, group: Group, partition: Partition, position: Position) {
        self.lock().positions.insert((group, partition), position);
    }

    pub(crate) fn position(&self, group: Group, partition: Partition) -> Option<Position> {
        self.lock().positions.get(&(group, partition)).cloned()
    }

    pub(crate) fn session_timeout_ms(&self) -> u64 {
        self.lock().faults.session_timeout_ms
    }

    pub(crate) fn watch_membership(&self) -> watch::Receiver<u64> {
        self.membership.subscribe()
    }

    fn signal_membership(&self) {
        self.membership.send_modify(|changes| *changes += 1);
    }

    pub(crate) fn join(&self, topic: Topic, session: u64) {
        if self.lock().members.entry(topic).or_default().insert(session) {
            self.signal_membership();
        }
    }

    /// Notes by which name a session joins the group of a topic.
    pub(crate) fn name_member(&self, topic: Topic, session: u64, name: &str) {
        self.lock().names.insert((topic, session), name.to_owned());
    }

    /// The members of all groups, and the holders of partitions of `replies`.
    pub(crate) fn members(&self) -> BTreeSet<Member> {
        let state = self.lock();
        let of_groups = state.members.iter().flat_map(|(topic, ids)| ids.iter().map(move |id| (*topic, *id)));
        let named = of_groups.filter_map(|member| state.names.get(&member).cloned()).map(Member::Group);
        named.chain(state.held_replies.keys().copied().map(Member::Replies)).collect()
    }

    /// Removes the session from its groups, and returns their topics.
    pub(crate) fn leave(&self, session: u64) -> Vec<Topic> {
        let mut left = Vec::new();
        for (topic, members) in &mut self.lock().members {
            if members.remove(&session) {
                left.push(*topic);
            }
        }
        self.signal_membership();
        left
    }

    /// The partitions that the group of a topic assigns to a session.
    pub(crate) fn share(&self, topic: Topic, session: u64) -> BTreeSet<u32> {
        let state = self.lock();
        let all = 0..self.layout.partitions(topic);
        let members: Vec<u64> = state.members.get(&topic).into_iter().flatten().copied().collect();
        let Some(place) = members.iter().position(|member| *member == session) else { return BTreeSet::new() };
        let each_owns_all = state.faults.everybody_owns_all;
        all.filter(|index| each_owns_all || *index as usize % members.len() == place).collect()
    }

    pub(crate) fn hold_replies(&self, session: u64) -> Option<u32> {
        let mut state = self.lock();
        let free = (0..REPLIES_PARTITIONS).find(|index| !state.held_replies.contains_key(index))?;
        state.held_replies.insert(free, session);
        Some(free)
    }

    pub(crate) fn release_replies(&self, index: u32) {
        self.lock().held_replies.remove(&index);
    }

    /// Releases every partition of `replies` that a session holds.
    pub(crate) fn release_replies_of(&self, session: u64) {
        self.lock().held_replies.retain(|_, holder| *holder != session);
    }
}
