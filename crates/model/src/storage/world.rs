//! A state of the storage model: the log, `order-states` and two routers with local stores.

use super::rules::StorageRules;
use crate::bounded::Bounded;

/// The orders of the shard.
pub(super) const ORDERS: usize = 2;

/// A record of the log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) enum LogRecord {
    /// A claim that counts only if `replaces` is the newest claim before it that counts; `NONE` if
    /// there is none.
    Claim {
        replaces: u8,
    },
    Release,
    /// Changes an order, with one effect.
    Change {
        order: u8,
    },
}

/// Stands for "no claim".
pub(super) const NONE: u8 = u8::MAX;

impl Default for LogRecord {
    fn default() -> Self {
        Self::Claim { replaces: NONE }
    }
}

/// The subject of a record of `order-states`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) enum StateKey {
    Order(u8),
    Marker,
}

/// A state of an order: the changes that it has seen, as bits of their offsets, and the position up
/// to which it has seen them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub(super) struct SeenState {
    pub(super) changes: u16,
    pub(super) position: u8,
}

/// A write to `order-states`; without a state it deletes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) struct StateRecord {
    pub(super) epoch: u8,
    pub(super) key: StateKey,
    pub(super) state: Option<SeenState>,
}

impl Default for StateRecord {
    fn default() -> Self {
        Self { epoch: 0, key: StateKey::Marker, state: None }
    }
}

/// The data that survives on a router's disk.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) struct DiskStore {
    pub(super) position: u8,
    /// The epoch of the marker at the position.
    pub(super) epoch: u8,
    pub(super) states: [SeenState; ORDERS],
    /// Where the next restore begins to read `order-states`.
    pub(super) states_offset: u8,
}

impl Default for DiskStore {
    fn default() -> Self {
        Self { position: 0, epoch: NONE, states: [SeenState::default(); ORDERS], states_offset: 0 }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) enum OwnerPhase {
    Down,
    Claimed,
    /// Reads `order-states`, whose end was here when it began.
    Reading {
        end: u8,
    },
    Running,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) struct Owner {
    pub(super) phase: OwnerPhase,
    pub(super) epoch: u8,
    /// The newest claim before its position that counts, as far as it knows.
    pub(super) newest: u8,
    pub(super) is_released: bool,
    /// How many records it has applied.
    pub(super) position: u8,
    pub(super) states: [SeenState; ORDERS],
    /// The effects that it has appended and that are not acknowledged, as bits of their offsets.
    pub(super) unacknowledged: u16,
    /// The position of its last checkpoint.
    pub(super) checkpointed: u8,
    /// The writes of the running checkpoint; the marker is the last one.
    pub(super) writes: Bounded<StateRecord, 4>,
    /// The states of the running checkpoint.
    pub(super) taken: DiskStore,
    /// The end of `order-states`, and after it that of the log, when it asked for them.
    pub(super) ends: Option<(u8, u8)>,
    pub(super) store: DiskStore,
    /// A write of a dead owner that may still land.
    pub(super) late_write: Option<StateRecord>,
}

impl Owner {
    /// A process that owns nothing, with what is on its disk.
    pub(super) fn down(store: DiskStore, late_write: Option<StateRecord>) -> Self {
        Self {
            phase: OwnerPhase::Down,
            epoch: 0,
            newest: NONE,
            is_released: false,
            position: 0,
            states: [SeenState::default(); ORDERS],
            unacknowledged: 0,
            checkpointed: 0,
            writes: Bounded::new(),
            taken: DiskStore::default(),
            ends: None,
            store,
            late_write,
        }
    }
}

#[derive(Clone, Hash, Debug)]
pub(crate) struct StorageWorld {
    pub(super) log: Bounded<LogRecord, 12>,
    /// Records below it were deleted by retention.
    pub(super) log_start: u8,
    /// `order-states`, each record with its offset; what a newer one replaces is compacted away.
    pub(super) topic: Bounded<(u8, StateRecord), 16>,
    pub(super) topic_end: u8,
    pub(super) owners: [Owner; 2],
    /// The effects that have reached the task partition, as bits of their offsets.
    pub(super) emitted: u16,
    /// A restore began below the start of the log.
    pub(super) has_gap: bool,
    /// An owner stopped for a claim that does not count.
    pub(super) has_stopped_for_void: bool,
    pub(super) changes: u8,
    pub(super) crashes: u8,
    pub(super) takeovers: u8,
    pub(super) void_claims: u8,
    pub(super) releases: u8,
}

impl StorageWorld {
    /// The state in which a scope begins.
    pub(super) fn initial(rules: &StorageRules) -> Self {
        Self {
            log: Bounded::new(),
            log_start: 0,
            topic: Bounded::new(),
            topic_end: 0,
            owners: [Owner::down(DiskStore::default(), None); 2],
            emitted: 0,
            has_gap: false,
            has_stopped_for_void: false,
            changes: rules.changes,
            crashes: rules.crashes,
            takeovers: rules.takeovers,
            void_claims: rules.void_claims,
            releases: rules.releases,
        }
    }

    /// Appends to `order-states`.
    pub(super) fn put(&mut self, record: StateRecord) {
        let is_replaced = |old: &StateRecord| old.epoch == record.epoch && old.key == record.key;
        self.topic.retain(|(_, old)| !is_replaced(old));
        self.topic.push((self.topic_end, record));
        self.topic_end += 1;
    }

    /// Brings states that differ only in what cannot matter into one form.
    pub(super) fn normalise(&mut self, rules: &StorageRules) {
        // A deletion that readers skip is like compaction.
        if rules.skips_deletions {
            self.topic.retain(|(_, record)| record.state.is_some());
        }
        self.renumber_topic();
        // Between two marks, a restore takes the records in any order with the same result.
        if rules.skips_deletions && !rules.standby {
            let marks = self.marks();
            let segment = |offset: u8| marks.iter().filter(|mark| **mark <= offset).count();
            self.topic.sort_unstable_by_key(|(offset, record)| (segment(*offset), *record));
            for (index, entry) in self.topic.iter_mut().enumerate() {
                entry.0 = index as u8;
            }
        }
        self.owners.sort_unstable();
    }

    /// The offsets of `order-states` that somebody remembers.
    fn marks(&mut self) -> Vec<u8> {
        let mut marks = Vec::new();
        self.change_marks(|mark| {
            marks.push(mark);
            mark
        });
        marks
    }

    /// Numbers the records without gaps, and the remembered offsets with them.
    fn renumber_topic(&mut self) {
        let topic = self.topic;
        let rank = |offset: u8| topic.iter().filter(|(at, _)| *at < offset).count() as u8;
        self.change_marks(rank);
        for (index, entry) in self.topic.iter_mut().enumerate() {
            entry.0 = index as u8;
        }
        self.topic_end = topic.len() as u8;
    }

    fn change_marks(&mut self, mut change: impl FnMut(u8) -> u8) {
        for owner in &mut self.owners {
            if let OwnerPhase::Reading { end } = &mut owner.phase {
                *end = change(*end);
            }
            if let Some((states_end, _)) = &mut owner.ends {
                *states_end = change(*states_end);
            }
            owner.store.states_offset = change(owner.store.states_offset);
            owner.taken.states_offset = change(owner.taken.states_offset);
        }
    }

    /// The newest claim before `position` that counts.
    pub(super) fn newest_claim(&self, position: u8) -> u8 {
        let mut newest = NONE;
        for (offset, record) in self.log.iter().enumerate().take(usize::from(position)) {
            if *record == (LogRecord::Claim { replaces: newest }) {
                newest = offset as u8;
            }
        }
        newest
    }

    /// The states after the log's first records.
    pub(super) fn replay(&self, position: u8) -> [SeenState; ORDERS] {
        let mut states = [SeenState { changes: 0, position }; ORDERS];
        for (offset, record) in self.log.iter().enumerate().take(usize::from(position)) {
            if let LogRecord::Change { order } = record {
                states[usize::from(*order)].changes |= 1 << offset;
            }
        }
        states
    }

    /// The effects of all records, as bits of their offsets.
    pub(super) fn all_effects(&self) -> u16 {
        self.replay(self.log.len() as u8).iter().fold(0, |all, state| all | state.changes)
    }
}
