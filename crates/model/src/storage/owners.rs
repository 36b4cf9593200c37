//! The steps of the two routers: claim, restore, apply, emit, checkpoint, delete; their faults, and
//! the standby.

use super::{
    rules::StorageRules,
    world::{DiskStore, LogRecord, Owner, OwnerPhase, SeenState, StateKey, StateRecord, StorageWorld},
};
use crate::checker::Steps;

/// The steps from one state.
pub(super) struct StorageMoves<'a> {
    pub(super) rules: &'a StorageRules,
    pub(super) from: &'a StorageWorld,
    pub(super) steps: &'a mut Steps<StorageWorld>,
}

impl StorageMoves<'_> {
    /// Adds a step; `is_fault` tells whether progress must not depend on it.
    pub(super) fn add(
        &mut self,
        is_fault: bool,
        label: impl FnOnce() -> String,
        change: impl FnOnce(&mut StorageWorld),
    ) {
        let mut to = self.from.clone();
        change(&mut to);
        to.normalise(self.rules);
        self.steps.add(is_fault, label, to);
    }

    /// Adds the steps of one router.
    pub(super) fn add_owner(&mut self, index: usize) {
        let owner = self.from.owners[index];
        if let Some(write) = owner.late_write {
            self.add(
                true,
                || format!("a write of a dead owner lands: {write:?}"),
                |to| {
                    to.owners[index].late_write = None;
                    to.put(write);
                },
            );
        }
        match owner.phase {
            OwnerPhase::Down => {
                self.add_claim(index);
                self.add_standby(index);
            }
            OwnerPhase::Claimed => {
                self.add(
                    false,
                    || format!("router {index} begins to read order-states"),
                    |to| to.owners[index].phase = OwnerPhase::Reading { end: to.topic_end },
                );
            }
            OwnerPhase::Reading { end } => {
                let end = if self.rules.reads_to_end { u8::MAX } else { end };
                let rules = self.rules;
                self.add(false, || format!("router {index} is restored"), |to| restore(rules, to, index, end));
            }
            OwnerPhase::Running => self.add_running(index),
        }
        if owner.phase != OwnerPhase::Down && self.from.crashes > 0 {
            for loses_store in [false, true] {
                if loses_store && !self.rules.loses_store {
                    continue;
                }
                self.add(
                    true,
                    || format!("router {index} crashes{}", if loses_store { " and loses its store" } else { "" }),
                    |to| {
                        to.crashes -= 1;
                        stop(to, index, !loses_store);
                    },
                );
            }
        }
    }

    fn add_claim(&mut self, index: usize) {
        let is_twin = index == 1 && self.from.owners[0] == self.from.owners[1];
        if is_twin || self.from.log.is_full() {
            return;
        }
        let holds = |owner: &Owner| owner.phase != OwnerPhase::Down && !owner.is_released;
        let is_contested = self.from.owners.iter().any(holds);
        let epoch = self.from.log.len() as u8;
        let newest = self.from.newest_claim(epoch);
        if !is_contested || self.from.takeovers > 0 {
            self.add(
                is_contested,
                || format!("router {index} claims: epoch {epoch} replaces {newest}"),
                |to| {
                    to.takeovers -= u8::from(is_contested);
                    claim(to, index, newest);
                },
            );
        }
        for replaces in (0..epoch).filter(|at| *at != newest && self.from.void_claims > 0) {
            // Which other record it names makes no difference, unless that one is a claim, too.
            let is_claim = matches!(self.from.log[usize::from(replaces)], LogRecord::Claim { .. });
            if is_claim || replaces + 1 == epoch {
                self.add(
                    true,
                    || format!("router {index} claims: {epoch} replaces {replaces}, which is not the newest"),
                    |to| {
                        to.void_claims -= 1;
                        claim(to, index, replaces);
                    },
                );
            }
        }
    }

    fn add_standby(&mut self, index: usize) {
        let (rules, store) = (self.rules, self.from.owners[index].store);
        if !rules.standby {
            return;
        }
        if let Some((offset, record)) = self.from.topic.iter().find(|(offset, _)| *offset >= store.states_offset) {
            let (offset, record) = (*offset, *record);
            self.add(
                true,
                || format!("standby {index} reads {record:?}"),
                |to| {
                    read(rules, &mut to.owners[index].store, record);
                    to.owners[index].store.states_offset = offset + 1;
                },
            );
        }
    }

    fn add_running(&mut self, index: usize) {
        let owner = self.from.owners[index];
        let Owner { epoch, position, unacknowledged, .. } = owner;
        if let Some(record) = self.from.log.get(usize::from(position)).copied() {
            let rules = self.rules;
            self.add(
                false,
                || format!("router {index} (epoch {epoch}) applies {position}: {record:?}"),
                |to| match record {
                    LogRecord::Claim { replaces } => read_claim(rules, to, index, replaces),
                    LogRecord::Release | LogRecord::Change { .. } => apply(&mut to.owners[index], record),
                },
            );
        }
        self.add_release(index);
        if unacknowledged != 0 {
            self.add(
                false,
                || format!("the effects {unacknowledged:b} of router {index} are acknowledged"),
                |to| {
                    to.emitted |= unacknowledged;
                    to.owners[index].unacknowledged = 0;
                },
            );
        }
        self.add_checkpoint(index);
        self.add_deletions(index);
    }

    fn add_release(&mut self, index: usize) {
        let Owner { epoch, position, is_released, .. } = self.from.owners[index];
        if is_released {
            self.add(
                false,
                || format!("router {index} (epoch {epoch}) ends after its release"),
                |to| stop(to, index, true),
            );
        } else if self.from.releases > 0 && position > epoch && !self.from.log.is_full() {
            self.add(
                true,
                || format!("router {index} (epoch {epoch}) releases the shard"),
                |to| {
                    to.releases -= 1;
                    to.log.push(LogRecord::Release);
                    to.owners[index].is_released = true;
                },
            );
        }
    }

    fn add_checkpoint(&mut self, index: usize) {
        let (rules, owner) = (self.rules, self.from.owners[index]);
        let Owner { epoch, position, .. } = owner;
        if let Some(write) = owner.writes.first().copied() {
            self.add(
                false,
                || format!("router {index} (epoch {epoch}) writes {write:?}"),
                |to| {
                    to.put(write);
                    to.owners[index].writes.remove(0);
                    if to.owners[index].writes.is_empty() {
                        to.owners[index].store = to.owners[index].taken;
                        to.owners[index].taken = DiskStore::default();
                    }
                },
            );
            return;
        }
        let ends = (self.from.topic_end, self.from.log.len() as u8);
        if owner.ends.is_none() {
            self.add(
                true,
                || format!("router {index} (epoch {epoch}) asks for the ends: {ends:?}"),
                |to| to.owners[index].ends = Some(ends),
            );
        }
        let is_complete = owner.states.iter().all(|state| state.position <= position);
        let is_past = position > epoch || !rules.writes_past_claim;
        if owner.unacknowledged == 0 && is_complete && is_past && position > owner.checkpointed {
            self.add(
                false,
                || format!("router {index} (epoch {epoch}) begins a checkpoint at {position}"),
                |to| begin_checkpoint(rules, &mut to.owners[index]),
            );
        }
    }

    fn add_deletions(&mut self, index: usize) {
        if !self.rules.cleanup || self.from.topic.is_full() {
            return;
        }
        let epoch = self.from.owners[index].epoch;
        let has_marker = |record: &StateRecord| record.key == StateKey::Marker && record.epoch == epoch;
        let has_own_marker = self.from.topic.iter().any(|(_, record)| has_marker(record));
        for (_, old) in self.from.topic.iter().filter(|(_, old)| old.state.is_some()) {
            let is_newer = |new: &StateRecord| new.key == old.key && new.epoch > old.epoch && new.state.is_some();
            let is_replaced = self.from.topic.iter().any(|(_, new)| is_newer(new));
            let is_wrong = !self.rules.deletes_replaced && has_own_marker && old.epoch < epoch;
            if is_replaced || is_wrong {
                let deletion = StateRecord { state: None, ..*old };
                self.add(
                    true,
                    || format!("router {index} (epoch {epoch}) deletes {:?} of epoch {}", old.key, old.epoch),
                    |to| to.put(deletion),
                );
            }
        }
    }
}

fn claim(world: &mut StorageWorld, index: usize, replaces: u8) {
    world.owners[index].phase = OwnerPhase::Claimed;
    world.owners[index].epoch = world.log.len() as u8;
    world.log.push(LogRecord::Claim { replaces });
}

/// An owner reads a claim: its own, an older one, or one that may take the shard from it.
fn read_claim(rules: &StorageRules, world: &mut StorageWorld, index: usize, replaces: u8) {
    let Owner { epoch, position, newest, .. } = world.owners[index];
    let is_own = position == epoch;
    let counts = replaces == newest || (is_own && !rules.marker_epoch);
    let has_own_claim = position > epoch;
    if (is_own && !counts) || (has_own_claim && (counts || rules.stops_for_void)) {
        let is_void = world.log[usize::from(position)] != LogRecord::Claim { replaces: world.newest_claim(position) };
        world.has_stopped_for_void |= has_own_claim && is_void;
        stop(world, index, true);
        return;
    }
    let owner = &mut world.owners[index];
    owner.position += 1;
    if counts {
        owner.newest = position;
    }
}

fn stop(world: &mut StorageWorld, index: usize, keeps_store: bool) {
    let owner = world.owners[index];
    let store = if keeps_store { owner.store } else { DiskStore::default() };
    world.owners[index] = Owner::down(store, owner.late_write.or(owner.writes.first().copied()));
}

/// Takes a record of `order-states` into a store.
fn read(rules: &StorageRules, store: &mut DiskStore, record: StateRecord) {
    match (record.key, record.state) {
        (StateKey::Marker, Some(marker)) if marker.position >= store.position => {
            (store.position, store.epoch) = (marker.position, record.epoch);
        }
        (StateKey::Order(order), Some(state)) => {
            let stored = &mut store.states[usize::from(order)];
            if state.position >= stored.position {
                *stored = state;
            }
        }
        (StateKey::Order(order), None) if !rules.skips_deletions => {
            store.states[usize::from(order)] = SeenState::default();
        }
        (StateKey::Order(_) | StateKey::Marker, None) | (StateKey::Marker, Some(_)) => {}
    }
}

/// An ordinary restore: the local store, the newer part of `order-states`, the highest marker.
fn restore(rules: &StorageRules, world: &mut StorageWorld, index: usize, end: u8) {
    let owner = &mut world.owners[index];
    for (offset, record) in world.topic.iter() {
        if *offset >= owner.store.states_offset && *offset < end {
            read(rules, &mut owner.store, *record);
        }
    }
    owner.store.states_offset = world.topic_end;
    owner.phase = OwnerPhase::Running;
    owner.position = owner.store.position;
    owner.newest = owner.store.epoch;
    owner.states = owner.store.states;
    owner.checkpointed = owner.store.position;
    let Owner { position, epoch, .. } = *owner;
    world.has_gap |= position < world.log_start;
    if rules.standby_applies {
        world.owners[index].position = epoch;
        world.owners[index].newest = world.newest_claim(epoch);
        world.owners[index].states = world.replay(epoch);
    } else if position > epoch && rules.ends_overtaken {
        stop(world, index, true);
    }
}

fn apply(owner: &mut Owner, record: LogRecord) {
    let offset = owner.position;
    owner.position += 1;
    if let LogRecord::Change { order } = record {
        let state = &mut owner.states[usize::from(order)];
        if offset >= state.position {
            *state = SeenState { changes: state.changes | 1 << offset, position: owner.position };
            owner.unacknowledged |= 1 << offset;
        }
    }
}

/// Takes the states that changed since the last checkpoint. An order's state in the store is newer
/// than the checkpoint before, or the same.
fn begin_checkpoint(rules: &StorageRules, owner: &mut Owner) {
    let Owner { position, epoch, .. } = *owner;
    owner.taken = owner.store;
    owner.taken.position = position;
    owner.taken.epoch = epoch;
    for (order, state) in owner.states.into_iter().enumerate() {
        if state != owner.store.states[order] {
            let written = SeenState { position, ..state };
            owner.writes.push(StateRecord { epoch, key: StateKey::Order(order as u8), state: Some(written) });
            owner.taken.states[order] = written;
            owner.states[order] = written;
        }
    }
    let marker = SeenState { changes: 0, position };
    owner.writes.push(StateRecord { epoch, key: StateKey::Marker, state: Some(marker) });
    owner.checkpointed = position;
    if let Some((states_end, log_end)) = owner.ends.take()
        && (!rules.mark_follows_log || (position >= log_end && position > epoch))
    {
        owner.taken.states_offset = owner.taken.states_offset.max(states_end);
    }
}
