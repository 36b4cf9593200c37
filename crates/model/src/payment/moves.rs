//! Collects the steps from one state of the payment model, and normalises states that differ only
//! in irrelevant details: the order of two equal processes, and records that no process will read
//! again.

use super::{
    claims::{PartitionView, TaskRecord},
    rules::PaymentRules,
    steady_router,
    world::{Committed, NOBODY, Stage, Witness, World, Write},
};
use crate::checker::Steps;

/// The steps from one state.
pub(super) struct Moves<'a> {
    pub(super) rules: &'a PaymentRules,
    pub(super) from: &'a World,
    pub(super) steps: &'a mut Steps<World>,
}

impl Moves<'_> {
    /// Adds a step that must be possible for progress.
    pub(super) fn add(&mut self, label: impl FnOnce() -> String, change: impl FnOnce(&mut World)) {
        self.add_any(false, label, change);
    }

    /// Adds a fault, or an event that need not happen.
    pub(super) fn add_fault(&mut self, label: impl FnOnce() -> String, change: impl FnOnce(&mut World)) {
        self.add_any(true, label, change);
    }

    /// Adds a step; `is_fault` tells whether progress must not depend on it.
    pub(super) fn add_any(&mut self, is_fault: bool, label: impl FnOnce() -> String, change: impl FnOnce(&mut World)) {
        let mut to = self.from.clone();
        change(&mut to);
        normalise(self.rules, &mut to);
        self.steps.add(is_fault, label, to);
    }
}

fn normalise(rules: &PaymentRules, world: &mut World) {
    if rules.steady_router {
        steady_router::advance(rules, world);
    }
    for index in 0..world.workers.len() {
        skip_claims(rules, world, index);
    }
    if !rules.can_restart_workers() {
        world.committed = Committed::default();
    }
    if !rules.conditional_claims {
        world.witness = Witness::default();
    }
    for router in &mut world.routers {
        let is_superseded = router.late_write.is_some_and(|(epoch, late)| {
            world.states.iter().any(|stored| {
                stored.epoch == epoch && matches!((stored.write, late), (Write::Marker(a), Write::Marker(b)) if a >= b)
            })
        });
        if is_superseded && rules.epoch_in_key {
            router.late_write = None;
        }
    }
    if world.routers[0] > world.routers[1] {
        world.routers.swap(0, 1);
    }
    sort_workers(world);
    world.requests.sort_unstable();
    world.late_claims.sort_unstable();
}

fn sort_workers(world: &mut World) {
    if world.workers.is_sorted() {
        return;
    }
    let mut order = [0, 1, 2];
    order.sort_by_key(|index| world.workers[*index]);
    world.workers = order.map(|index| world.workers[index]);
    for request in world.requests.iter_mut().filter(|request| request.worker != NOBODY) {
        let moved = order.iter().position(|index| *index == usize::from(request.worker));
        request.worker = moved.map_or(NOBODY, |index| index as u8);
    }
}

/// A worker reads claims at which it need not stop, and releases, at once: nobody can see it.
fn skip_claims(rules: &PaymentRules, world: &mut World, index: usize) {
    let mut worker = world.workers[index];
    if !worker.is_holding() || worker.stage != Stage::Idle {
        return;
    }
    let view = PartitionView::new(rules, &world.tasks, worker.from, worker.claim);
    while let Some(record) = world.tasks.get(usize::from(worker.position)) {
        let stops = match record {
            TaskRecord::Task(_) => true,
            TaskRecord::Claim { .. } => worker.position > worker.claim && view.counts(worker.position),
            TaskRecord::Release { .. } => false,
        };
        if stops && !(rules.ignores_claims && matches!(record, TaskRecord::Claim { .. })) {
            break;
        }
        worker.position += 1;
    }
    world.workers[index] = worker;
}
