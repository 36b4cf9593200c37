//! A model of the states of two orders: the log, the compacted topic `order-states`, and two
//! routers with local stores (protocol rules P4 and P5).
//!
//! It covers what the payment model omits: the position from which a restore reads, the deletion of
//! older epochs' states, standbys, retention, and claims that do not count although their authors
//! assume that they do.
//!
//! A release changes no decision of a router: it only makes the next claim legitimate, and its
//! author may end at any time. So it names no claim here.
//!
//! An order's state is the set of changes that it has seen. Each change has one effect. A restored
//! state must agree with the log, and every effect must be emitted in the end.

mod owners;
mod rules;
mod world;

use crate::checker::{Model, Steps};
use owners::StorageMoves;
use rules::StorageRules;
use world::{LogRecord, OwnerPhase, StateKey, StorageWorld};

/// The model with the settings of a scope.
pub(crate) struct Storage {
    rules: StorageRules,
}

impl Storage {
    /// Reads the settings of a scope.
    pub(crate) fn parse(settings: &str) -> anyhow::Result<Self> {
        Ok(Self { rules: StorageRules::parse(settings)? })
    }
}

impl Model for Storage {
    type State = StorageWorld;

    fn initial(&self) -> StorageWorld {
        StorageWorld::initial(&self.rules)
    }

    fn add_steps(&self, from: &StorageWorld, steps: &mut Steps<StorageWorld>) {
        let mut moves = StorageMoves { rules: &self.rules, from, steps };
        if from.changes > 0 && !from.log.is_full() {
            let order = if self.rules.alternates { (self.rules.changes - from.changes) % 2 } else { 0 };
            moves.add(
                true,
                || format!("a record at {} changes order {order}", from.log.len()),
                |to| {
                    to.changes -= 1;
                    to.log.push(LogRecord::Change { order });
                },
            );
        }
        let markers = from.topic.iter().filter(|(_, record)| record.key == StateKey::Marker);
        let highest = markers.filter_map(|(_, record)| record.state).map(|marker| marker.position).max();
        if let Some(start) = highest.filter(|start| self.rules.retention && *start > from.log_start) {
            moves.add(true, || format!("retention deletes the log below {start}"), |to| to.log_start = start);
        }
        for index in 0..from.owners.len() {
            moves.add_owner(index);
        }
    }

    fn violation(&self, world: &StorageWorld) -> Option<&'static str> {
        if world.has_gap {
            return Some("a restore begins below the start of the log");
        }
        if world.has_stopped_for_void {
            return Some("an owner stopped for a claim that does not count");
        }
        let running = world.owners.iter().filter(|owner| owner.phase == OwnerPhase::Running);
        for owner in running {
            let true_states = world.replay(owner.position);
            for (state, truth) in owner.states.iter().zip(true_states) {
                if state.position <= owner.position && state.changes != truth.changes {
                    return Some("I2: a restored state differs from the log");
                }
            }
        }
        None
    }

    fn is_settled(&self, world: &StorageWorld) -> bool {
        world.emitted == world.all_effects()
    }

    fn describe(&self, world: &StorageWorld) -> String {
        format!("{world:?}")
    }
}
