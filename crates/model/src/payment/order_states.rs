//! The compacted topic `order-states` and the restore from it (protocol rule P5).

use super::{
    machine::Policy,
    rules::PaymentRules,
    world::{LocalStore, Router, RouterPhase, StoredWrite, World, Write},
};

/// Stores a write; compaction removes what it replaces at once.
pub(super) fn put(rules: &PaymentRules, world: &mut World, epoch: u8, write: Write) {
    let epoch = if rules.epoch_in_key { epoch } else { 0 };
    let kind = std::mem::discriminant(&write);
    world.states.retain(|stored| stored.epoch != epoch || std::mem::discriminant(&stored.write) != kind);
    world.states.push(StoredWrite { epoch, write });
    world.states.sort_unstable();
}

/// Whether the effects that a write claims are acknowledged.
pub(super) fn is_writable(router: &Router, write: Write) -> bool {
    match write {
        Write::Marker(position) => router.pending_tasks.iter().all(|task| task.id >= position),
        Write::State(..) | Write::Policy(..) => true,
    }
}

/// Ends a router. What it had under way may still land.
pub(super) fn stop(rules: &PaymentRules, world: &mut World, index: usize, keeps_store: bool) {
    let router = &mut world.routers[index];
    let mut late_write = router.late_write;
    if rules.late_writes {
        if let Some(write) = router.pending_writes.first()
            && late_write.is_none()
            && is_writable(router, *write)
        {
            late_write = Some((router.epoch, *write));
        }
        for task in router.pending_tasks.iter() {
            if !world.late_tasks.is_full() && !world.late_tasks.contains(task) {
                world.late_tasks.push(*task);
            }
        }
        world.late_tasks.sort_unstable();
    }
    let store = router.store.filter(|_| keeps_store);
    *router = Router { store, late_write, ..Router::down() };
}

/// Notes the router's position in its local store, if every effect up to there is acknowledged.
pub(super) fn keep(rules: &PaymentRules, router: &mut Router) {
    let is_acknowledged = router.pending_tasks.is_empty() || !rules.store_after_effects;
    if rules.keeps_store && is_acknowledged && router.position >= router.reflected {
        router.store = Some(LocalStore { position: router.position, state: router.state, policy: router.policy });
    }
}

/// Restores a router from `order-states` and its local store: the state with the highest position
/// over all epochs, and the log from the highest marker on.
pub(super) fn restore(rules: &PaymentRules, world: &mut World, index: usize) {
    let states = world.states;
    let router = &mut world.routers[index];
    let (mut reflected, mut state) = (0, Router::down().state);
    let (mut marker, mut policy, mut policy_at) = (0, Policy::FIRST, 0);
    for stored in states.iter() {
        match stored.write {
            Write::State(position, written) if position >= reflected => (reflected, state) = (position, written),
            Write::Policy(position, written) if position >= policy_at => (policy_at, policy) = (position, written),
            Write::State(..) | Write::Policy(..) => {}
            Write::Marker(position) => marker = marker.max(position),
        }
    }
    let stored_at = reflected;
    if let (true, Some(local)) = (router.uses_store, router.store) {
        if local.position >= reflected {
            (reflected, state) = (local.position, local.state);
        }
        if local.position >= policy_at {
            policy = local.policy;
        }
        marker = marker.max(local.position);
    }
    router.phase = RouterPhase::Running;
    router.position = marker;
    router.state = state;
    router.policy = policy;
    router.changed = reflected;
    // A state that is newer in the local store is written again.
    router.checkpointed = if rules.rewrites_store { stored_at } else { reflected };
    router.reflected = if rules.skips_reflected { reflected.max(marker) } else { marker };
    router.uses_store = false;
}
