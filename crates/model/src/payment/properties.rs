//! What must hold in every state of the payment model: the invariants I1 to I6 as far as the model
//! contains them. The true state of the order is the machine's state after the whole log.

use super::{
    machine::{OrderState, Phase, Policy, Record, ReversalPhase, Subject, TaskResult, apply, told},
    rules::PaymentRules,
    world::{RouterPhase, World},
};

/// Applies the whole log from its beginning.
fn replay(rules: &PaymentRules, log: &[Record]) -> OrderState {
    let mut policy = Policy::FIRST;
    let mut state = OrderState::default();
    for (offset, record) in log.iter().enumerate() {
        policy.learn(*record, offset as u8);
        state = apply(rules, state, *record, offset as u8, policy).state;
    }
    state
}

/// Whether the order has reached a final state, and no charge is left that the machine knows of
/// although callers heard that the payment failed.
pub(super) fn is_settled(rules: &PaymentRules, world: &World) -> bool {
    let state = replay(rules, &world.log);
    let is_reported = |record: &Record| {
        matches!(record, Record::Outcome { subject: Subject::Charge, result: TaskResult::Approved, .. })
    };
    state.is_final() && !(state.has_failed() && world.ledger.is_charged() && world.log.iter().any(is_reported))
}

/// Returns the property that does not hold.
pub(super) fn violation(rules: &PaymentRules, world: &World) -> Option<&'static str> {
    let state = replay(rules, &world.log);
    let found = [
        charge_violation(rules, world, &state),
        refund_violation(world, &state),
        lost_chance(rules, world, &state),
        restore_violation(rules, world),
    ];
    found.into_iter().flatten().next()
}

fn charge_violation(rules: &PaymentRules, world: &World, state: &OrderState) -> Option<&'static str> {
    let is_charged = world.ledger.is_charged();
    let was_told = |bits: u16| world.told & bits != 0;
    if world.ledger.charges > 1 {
        return Some("I1: two charges");
    }
    if state.reversal == ReversalPhase::Done && is_charged {
        return Some("I4: reversed, but charged");
    }
    if was_told(told::FAILED) && was_told(told::PAID) {
        return Some("I3: told failed and paid");
    }
    if was_told(told::PAID) && world.ledger.charges == 0 {
        return Some("I3: told paid, not charged");
    }
    // A request that arrives after the window breaks the evidence of absence. Then the machine must
    // reverse the charge as soon as it hears of it.
    let is_evidence_sound = rules.overdue_requests == 0;
    if state.has_failed() && is_charged && is_evidence_sound {
        return Some("I6: failed or cancelled as never charged, but charged");
    }
    if was_told(told::FAILED) && is_charged && is_evidence_sound {
        return Some("I3: told failed, charged");
    }
    if was_told(told::CANCELLED) && is_charged && is_evidence_sound {
        return Some("I3: told cancelled, charged");
    }
    None
}

fn refund_violation(world: &World, state: &OrderState) -> Option<&'static str> {
    let entries = world.ledger.refunds;
    if entries.iter().map(|entry| entry.made).sum::<u8>() > 1 {
        return Some("I4: refunded more than the payment");
    }
    for (number, entry) in entries.iter().enumerate() {
        let was_told = |bits: u16| world.told & bits != 0;
        if was_told(told::refunded(number)) && was_told(told::refund_failed(number)) {
            return Some("I3: a refund was told done and failed");
        }
        if was_told(told::refunded(number)) && entry.made == 0 {
            return Some("I3: told refunded, not refunded");
        }
        if (was_told(told::refund_failed(number)) || state.refunds[number].phase.has_failed()) && entry.made > 0 {
            return Some("I6: a refund failed, but took effect");
        }
    }
    None
}

/// A payment may fail as absent, never sent, only if a worker that held the partition was lost: a
/// claim that does not count must cost nothing.
fn lost_chance(rules: &PaymentRules, world: &World, state: &OrderState) -> Option<&'static str> {
    let is_lost = rules.conditional_claims
        && !rules.idempotent
        && state.charge.phase == Phase::Absent
        && !world.witness.was_sent
        && !world.witness.holder_was_lost;
    is_lost.then_some("a payment lost its only chance to be sent, although no holder was lost")
}

/// A router that has replayed all that its restored state reflects must agree with the log.
fn restore_violation(rules: &PaymentRules, world: &World) -> Option<&'static str> {
    let running = world.routers.iter().filter(|router| router.phase == RouterPhase::Running);
    for router in running.filter(|router| router.position >= router.reflected) {
        if replay(rules, &world.log[..usize::from(router.position)]) != router.state {
            return Some("I2: a restored state differs from the log");
        }
        let has_pay = world.log.iter().any(|record| matches!(record, Record::Pay { .. }));
        if rules.answers_from_memory && router.state.is_unknown() && has_pay {
            return Some("I5: a Query finds no order");
        }
    }
    None
}

/// Describes a state for the end of a trace.
pub(super) fn describe(rules: &PaymentRules, world: &World) -> String {
    let state = replay(rules, &world.log);
    format!(
        "clock {}, told {:b}, {:?}, {:?}\n    log {:?}\n    tasks {:?}\n    order-states {:?}",
        world.clock, world.told, state, world.ledger, world.log, world.tasks, world.states
    )
}
