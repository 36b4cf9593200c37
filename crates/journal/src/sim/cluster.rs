//! The cluster: logs, positions, members, and the dice.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::watch;

use super::{
    faults::{Fate, Faults},
    session::SimSession,
};
use crate::{Entry, Group, Offset, Partition, Position, Record, Topic};

/// How many ingress instances one cluster serves.
pub(super) const REPLIES_PARTITIONS: u32 = 16;

/// How many partitions there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Of `orders` and `order-states`.
    pub shards: u32,
    /// Of each task topic.
    pub task_partitions: u32,
}

/// The cluster.
#[derive(Clone)]
pub struct Sim(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) layout: Layout,
    logs: BTreeMap<Partition, Log>,
    state: Mutex<State>,
    /// Counts the changes of membership.
    members_changed: watch::Sender<u64>,
}

struct Log {
    end: watch::Sender<Offset>,
}

struct State {
    records: BTreeMap<Partition, Vec<Record>>,
    positions: BTreeMap<(Group, Partition), Position>,
    /// Sessions that want partitions of a topic and count as alive.
    members: BTreeMap<Topic, BTreeSet<u64>>,
    held_replies: BTreeMap<u32, u64>,
    faults: Faults,
    random: ChaCha8Rng,
    sessions: u64,
}

impl Layout {
    pub(super) fn partitions(self, topic: Topic) -> u32 {
        match topic {
            Topic::Orders | Topic::OrderStates => self.shards,
            Topic::WalletTasks | Topic::FiscTasks => self.task_partitions,
            Topic::Replies => REPLIES_PARTITIONS,
            Topic::DeadLetters => 1,
        }
    }
}

impl Sim {
    /// An empty cluster whose faults are drawn from `seed`.
    pub fn new(layout: Layout, faults: Faults, seed: u64) -> Self {
        let partitions = |topic| (0..layout.partitions(topic)).map(move |index| Partition { topic, index });
        let log = |partition| (partition, Log { end: watch::Sender::new(0) });
        let state = State {
            records: BTreeMap::new(),
            positions: BTreeMap::new(),
            members: BTreeMap::new(),
            held_replies: BTreeMap::new(),
            faults,
            random: ChaCha8Rng::seed_from_u64(seed),
            sessions: 0,
        };
        Self(Arc::new(Shared {
            layout,
            logs: Topic::ALL.into_iter().flat_map(partitions).map(log).collect(),
            state: Mutex::new(state),
            members_changed: watch::Sender::new(0),
        }))
    }

    /// A process joins.
    pub fn session(&self, member: &str) -> Arc<SimSession> {
        let id = {
            let mut state = self.0.lock();
            state.sessions += 1;
            state.sessions
        };
        SimSession::new(self.clone(), id, member)
    }

    /// From now on these faults hold.
    pub fn set_faults(&self, faults: Faults) {
        self.0.lock().faults = faults;
        self.0.members_changed();
    }

    /// Everything that a partition has: what an impartial witness sees.
    pub fn records(&self, partition: Partition) -> Vec<Record> {
        self.0.lock().records.get(&partition).cloned().unwrap_or_default()
    }

    /// Compacts now.
    pub fn compact(&self, partition: Partition) {
        self.0.lock().compact(partition);
    }
}

impl State {
    fn chance(&mut self, per_mille: u32) -> bool {
        per_mille > 0 && self.random.random_range(0..1_000) < per_mille
    }

    /// Keeps the newest record of each key.
    fn compact(&mut self, partition: Partition) {
        let Some(records) = self.records.get_mut(&partition) else { return };
        let newest: BTreeMap<_, _> = records.iter().map(|record| (record.entry.key.clone(), record.offset)).collect();
        records.retain(|record| newest.get(&record.entry.key) == Some(&record.offset));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn knows(&self, partition: Partition) -> bool {
        self.logs.contains_key(&partition)
    }

    pub(super) fn end(&self, partition: Partition) -> Option<watch::Receiver<Offset>> {
        self.logs.get(&partition).map(|log| log.end.subscribe())
    }

    /// Appends, for everybody to read.
    pub(super) fn land(&self, partition: Partition, entries: Vec<Entry>) {
        let Some(log) = self.logs.get(&partition) else { return };
        let first = *log.end.borrow();
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
        log.end.send_replace(end);
    }

    /// Up to `max` records from an offset on.
    pub(super) fn read(&self, partition: Partition, from: Offset, max: usize) -> Vec<Record> {
        let mut state = self.lock();
        let max = if state.faults.batches_vary { state.random.random_range(1..=max.max(1)) } else { max };
        let Some(records) = state.records.get(&partition) else { return Vec::new() };
        let start = records.partition_point(|record| record.offset < from);
        records.iter().skip(start).take(max).cloned().collect()
    }

    /// How long the next append takes, and what becomes of it.
    pub(super) fn draw_append(&self) -> (u64, Fate) {
        let mut state = self.lock();
        let delay_ms_max = state.faults.append_delay_ms_max;
        let delay_ms = state.random.random_range(0..=delay_ms_max);
        let (drawn, late) = (state.random.random_range(0..1_000), state.random.random());
        (delay_ms, state.faults.fate(drawn, late))
    }

    /// Whether what a crashed session had under way lands.
    pub(super) fn draw_survival(&self) -> bool {
        self.lock().random.random()
    }

    pub(super) fn draw_read_failure(&self) -> bool {
        let mut state = self.lock();
        let share = state.faults.read_failed;
        state.chance(share)
    }

    pub(super) fn keep_position(&self, group: Group, partition: Partition, position: Position) {
        self.lock().positions.insert((group, partition), position);
    }

    pub(super) fn position(&self, group: Group, partition: Partition) -> Option<Position> {
        self.lock().positions.get(&(group, partition)).cloned()
    }

    pub(super) fn session_timeout_ms(&self) -> u64 {
        self.lock().faults.session_timeout_ms
    }

    pub(super) fn watch_members(&self) -> watch::Receiver<u64> {
        self.members_changed.subscribe()
    }

    fn members_changed(&self) {
        self.members_changed.send_modify(|changes| *changes += 1);
    }

    pub(super) fn join(&self, topic: Topic, session: u64) {
        if self.lock().members.entry(topic).or_default().insert(session) {
            self.members_changed();
        }
    }

    /// The session counts as gone; returns the topics that it was a member of.
    pub(super) fn leave(&self, session: u64) -> Vec<Topic> {
        let mut left = Vec::new();
        for (topic, members) in &mut self.lock().members {
            if members.remove(&session) {
                left.push(*topic);
            }
        }
        self.members_changed();
        left
    }

    /// What a session is told to claim.
    pub(super) fn share(&self, topic: Topic, session: u64) -> BTreeSet<u32> {
        let state = self.lock();
        let all = 0..self.layout.partitions(topic);
        let members: Vec<u64> = state.members.get(&topic).into_iter().flatten().copied().collect();
        let Some(place) = members.iter().position(|member| *member == session) else { return BTreeSet::new() };
        let everybody = state.faults.everybody_owns_all;
        all.filter(|index| everybody || *index as usize % members.len() == place).collect()
    }

    pub(super) fn hold_replies(&self, session: u64) -> Option<u32> {
        let mut state = self.lock();
        let free = (0..REPLIES_PARTITIONS).find(|index| !state.held_replies.contains_key(index))?;
        state.held_replies.insert(free, session);
        Some(free)
    }

    pub(super) fn free_replies(&self, index: u32) {
        self.lock().held_replies.remove(&index);
    }

    /// A crashed session holds no replies any more.
    pub(super) fn free_replies_of(&self, session: u64) {
        self.lock().held_replies.retain(|_, holder| *holder != session);
    }
}
