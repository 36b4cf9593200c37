//! The steps of the two routers of a shard: claim, restore, apply, emit, checkpoint; and their
//! faults.

use super::{
    claims::{TaskRecord, router_claims},
    machine::{NONE, Policy, Record, Task, apply},
    moves::Moves,
    order_states::{is_writable, keep, put, restore, stop},
    rules::PaymentRules,
    world::{Event, Router, RouterPhase, World, Write},
};

/// Adds the steps of routers, dead ones included.
pub(super) fn add_steps(moves: &mut Moves<'_>) {
    for index in 0..moves.from.routers.len() {
        add_late_write(moves, index);
        match moves.from.routers[index].phase {
            RouterPhase::Down => add_start(moves, index),
            RouterPhase::Claiming => add_claim(moves, index),
            RouterPhase::Claimed => {
                let (rules, epoch) = (moves.rules, moves.from.routers[index].epoch);
                moves.add(|| format!("router {index} (epoch {epoch}) restores"), |to| restore(rules, to, index));
            }
            RouterPhase::Running => {
                add_apply(moves, index);
                add_acknowledgement(moves, index);
                add_checkpoint(moves, index);
            }
        }
        if moves.from.routers[index].phase != RouterPhase::Down {
            add_end(moves, index);
        }
    }
    for index in 0..moves.from.late_tasks.len() {
        let task = moves.from.late_tasks[index];
        moves.add_fault(
            || format!("an append of a dead owner lands: {:?} {}", task.kind, task.id),
            |to| {
                to.late_tasks.remove(index);
                push_task(to, task);
            },
        );
    }
}

fn push_task(world: &mut World, task: Task) {
    world.tasks.push(TaskRecord::Task(task));
}

fn add_late_write(moves: &mut Moves<'_>, index: usize) {
    let rules = moves.rules;
    if let Some((epoch, write)) = moves.from.routers[index].late_write {
        moves.add_fault(
            || format!("a write of a dead owner (epoch {epoch}) lands: {write:?}"),
            |to| {
                to.routers[index].late_write = None;
                put(rules, to, epoch, write);
            },
        );
    }
}

/// Whether another router runs or is about to, and has not released the shard, so that a claim
/// takes the shard from it.
fn is_contested(world: &World) -> bool {
    world.routers.iter().any(|router| router.phase != RouterPhase::Down && !router.is_released)
}

fn add_start(moves: &mut Moves<'_>, index: usize) {
    let (world, rules) = (moves.from, moves.rules);
    let router = &world.routers[index];
    let is_contested = is_contested(world);
    if (index == 1 && *router == world.routers[0]) || (is_contested && !world.may(Event::RouterTakeover)) {
        return;
    }
    for uses_store in [false, true] {
        if uses_store && router.store.is_none() {
            continue;
        }
        moves.add_any(
            is_contested,
            || {
                format!(
                    "router {index} starts to claim, {} local store",
                    if uses_store { "with its" } else { "without a" }
                )
            },
            |to| {
                if is_contested {
                    to.spend(Event::RouterTakeover);
                }
                let replaces = router_claims(rules, &to.log).replaced();
                let router = &mut to.routers[index];
                router.phase = RouterPhase::Claiming;
                router.replaces = replaces;
                router.uses_store = uses_store;
                router.store = router.store.filter(|_| uses_store);
                if !rules.conditional_claims {
                    claim(rules, to, index);
                }
            },
        );
    }
}

fn add_claim(moves: &mut Moves<'_>, index: usize) {
    let (rules, world) = (moves.rules, moves.from);
    let replaces = world.routers[index].replaces;
    if !world.log.is_full() {
        moves.add(
            || format!("router {index} appends a claim at {} that replaces {replaces}", world.log.len()),
            |to| claim(rules, to, index),
        );
    }
}

/// Appends a claim and reads it back. A router whose claim does not count owns nothing.
fn claim(rules: &PaymentRules, world: &mut World, index: usize) {
    let epoch = world.log.len() as u8;
    let replaces = world.routers[index].replaces;
    let counts = router_claims(rules, &world.log).claim(epoch, replaces);
    world.log.push(Record::Claim { replaces });
    let router = &mut world.routers[index];
    router.replaces = NONE;
    if counts {
        router.phase = RouterPhase::Claimed;
        router.epoch = epoch;
    } else {
        *router = Router { store: router.store, late_write: router.late_write, ..Router::down() };
    }
}

fn add_apply(moves: &mut Moves<'_>, index: usize) {
    let (world, rules) = (moves.from, moves.rules);
    let router = &world.routers[index];
    let (epoch, position) = (router.epoch, router.position);
    let Some(record) = world.log.get(usize::from(position)).copied() else { return };
    if router.pending_tasks.is_full() {
        return;
    }
    if let Record::Claim { replaces } = record
        && position > epoch
        && router_claims(rules, &world.log[..usize::from(position)]).claim(position, replaces)
    {
        moves.add(
            || format!("router {index} (epoch {epoch}) reads the claim at {position} and stops"),
            |to| stop(rules, to, index, true),
        );
        return;
    }
    moves.add(
        || format!("router {index} (epoch {epoch}) applies {position}: {record:?}"),
        |to| {
            let router = &mut to.routers[index];
            router.position += 1;
            router.policy.learn(record, position);
            let mut told = 0;
            if position >= router.reflected {
                let decision = apply(rules, router.state, record, position, router.policy);
                let changes_policy = matches!(record, Record::RefusePayments | Record::SwitchIdempotence);
                if decision.state != router.state || changes_policy {
                    router.changed = router.position;
                }
                router.state = decision.state;
                told = decision.told;
                if let Some(task) = decision.task {
                    router.pending_tasks.push(task);
                }
            }
            keep(rules, router);
            to.told |= told;
        },
    );
}

/// The oldest append of a task lands, or fails.
fn add_acknowledgement(moves: &mut Moves<'_>, index: usize) {
    let (world, rules) = (moves.from, moves.rules);
    let Some(task) = world.routers[index].pending_tasks.first().copied() else { return };
    moves.add(
        || format!("{:?} {} of router {index} lands and is acknowledged", task.kind, task.id),
        |to| {
            to.routers[index].pending_tasks.remove(0);
            push_task(to, task);
            keep(rules, &mut to.routers[index]);
        },
    );
    if !world.may(Event::FailedAppend) {
        return;
    }
    for failure in ["is lost", "lands nevertheless", "lands later"] {
        if failure == "lands later" && (!rules.late_writes || world.late_tasks.is_full()) {
            continue;
        }
        moves.add_fault(
            || format!("the append of {:?} {} fails and {failure}", task.kind, task.id),
            |to| {
                to.spend(Event::FailedAppend);
                fail_append(rules, to, index, failure);
            },
        );
    }
}

fn fail_append(rules: &PaymentRules, world: &mut World, index: usize, failure: &str) {
    let pending = &mut world.routers[index].pending_tasks;
    let task = pending[0];
    if rules.retries_append {
        pending.rotate_left(1);
    } else {
        pending.remove(0);
    }
    match failure {
        "lands nevertheless" => push_task(world, task),
        "lands later" => {
            world.late_tasks.push(task);
            world.late_tasks.sort_unstable();
        }
        _ => {}
    }
    if rules.stops_on_failure && !rules.retries_append {
        world.routers[index].pending_tasks.clear();
        world.routers[index].pending_writes.clear();
        stop(rules, world, index, true);
    }
}

fn add_checkpoint(moves: &mut Moves<'_>, index: usize) {
    let (world, rules) = (moves.from, moves.rules);
    let router = &world.routers[index];
    let epoch = router.epoch;
    if let Some(write) = router.pending_writes.first().copied() {
        if is_writable(router, write) {
            moves.add(
                || format!("router {index} (epoch {epoch}) writes {write:?}"),
                |to| {
                    to.routers[index].pending_writes.remove(0);
                    put(rules, to, epoch, write);
                },
            );
        }
        return;
    }
    let is_acknowledged = router.pending_tasks.is_empty() || !rules.state_after_effects;
    if router.position >= router.reflected && router.changed > router.checkpointed && is_acknowledged {
        moves.add(
            || format!("router {index} (epoch {epoch}) begins a checkpoint at {}", router.position),
            |to| begin_checkpoint(rules, &mut to.routers[index]),
        );
    }
}

fn begin_checkpoint(rules: &PaymentRules, router: &mut Router) {
    let position = router.position;
    if !rules.marker_after_states {
        router.pending_writes.push(Write::Marker(position));
    }
    if router.policy != Policy::FIRST {
        router.pending_writes.push(Write::Policy(position, router.policy));
    }
    router.pending_writes.push(Write::State(position, router.state));
    if rules.marker_after_states {
        router.pending_writes.push(Write::Marker(position));
    }
    router.checkpointed = position;
}

/// The router crashes or gives the shard back.
fn add_end(moves: &mut Moves<'_>, index: usize) {
    let (world, rules) = (moves.from, moves.rules);
    let router = &world.routers[index];
    let epoch = router.epoch;
    if world.may(Event::RouterCrash) {
        for keeps_store in [false, true] {
            if keeps_store && router.store.is_none() {
                continue;
            }
            let store = if keeps_store { "keeps" } else { "loses" };
            moves.add_fault(
                || format!("router {index} (epoch {epoch}) crashes and {store} its local store"),
                |to| {
                    to.spend(Event::RouterCrash);
                    stop(rules, to, index, keeps_store);
                },
            );
        }
    }
    if router.is_released {
        moves.add(
            || format!("router {index} (epoch {epoch}) ends after its release"),
            |to| stop(rules, to, index, true),
        );
    } else if world.may(Event::RouterRelease) && router.phase == RouterPhase::Running && !world.log.is_full() {
        moves.add_fault(
            || format!("router {index} releases the shard of epoch {epoch}"),
            |to| {
                to.spend(Event::RouterRelease);
                to.log.push(Record::Release { claim: epoch });
                to.routers[index].is_released = true;
            },
        );
    }
}
