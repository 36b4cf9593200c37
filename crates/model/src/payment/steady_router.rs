//! A router without faults that applies each record and writes its effects as soon as the record is
//! appended. Scopes about workers and issuers use it: with one router less to interleave, they can
//! afford more faults of their own.

use super::{
    claims::TaskRecord,
    machine::apply,
    order_states::put,
    rules::PaymentRules,
    world::{Router, RouterPhase, World, Write},
};

/// The router in a state in which it owns the shard without a claim.
pub(super) fn owner() -> Router {
    Router { phase: RouterPhase::Running, ..Router::down() }
}

/// Applies every record that is not applied yet.
pub(super) fn advance(rules: &PaymentRules, world: &mut World) {
    let Some(index) = world.routers.iter().position(|router| router.phase == RouterPhase::Running) else { return };
    let router = &mut world.routers[index];
    let mut changed = None;
    for record in &world.log[usize::from(router.position)..] {
        if world.tasks.is_full() {
            break;
        }
        router.policy.learn(*record, router.position);
        let decision = apply(rules, router.state, *record, router.position, router.policy);
        router.position += 1;
        if router.state != decision.state {
            router.state = decision.state;
            changed = Some(Write::State(router.position, router.state));
        }
        world.told |= decision.told;
        if let Some(task) = decision.task {
            world.tasks.push(TaskRecord::Task(task));
        }
    }
    if let Some(write) = changed {
        put(rules, world, 0, write);
    }
}
