//! The steps outside routers and workers: callers, changes of the policy, the clock, the issuer,
//! and the tracker that appends due records.

use super::{
    machine::{OrderState, Phase, Record, TaskKind, TaskResult},
    moves::Moves,
    rules::PaymentRules,
    world::{Event, Ledger, Request, Stage, World, Write},
};

/// Adds the steps of the surroundings.
pub(super) fn add_steps(moves: &mut Moves<'_>) {
    add_records(moves);
    add_clock(moves);
    for index in 0..moves.from.requests.len() {
        let is_repeated = index > 0 && moves.from.requests[index] == moves.from.requests[index - 1];
        if !is_repeated {
            add_arrival(moves, index);
        }
    }
    add_due(moves);
}

/// Records that callers, operators and other orders append.
fn add_records(moves: &mut Moves<'_>) {
    let world = moves.from;
    let end = world.log.len();
    let at = world.clock;
    let refund = (moves.rules.refunds - world.left[Event::Refund as usize]).min(1);
    let was_paid = world.log.iter().any(|record| matches!(record, Record::Pay { .. }));
    for (event, record, is_possible) in [
        // The first Pay arrives at the beginning.
        (Event::Pay, Record::Pay { at }, at == 0 || was_paid),
        (Event::Cancel, Record::Cancel, true),
        // Its absence can be proved before the clock ends.
        (Event::Refund, Record::Refund { number: refund, at }, at + 2 <= moves.rules.ticks),
        (Event::RefuseByPolicy, Record::RefusePayments, true),
        (Event::Switch, Record::SwitchIdempotence, true),
        (Event::OtherOrder, Record::OtherOrder, true),
    ] {
        if world.may(event) && is_possible && !world.log.is_full() {
            moves.add_fault(
                || format!("{record:?} is appended at {end}"),
                |to| {
                    to.spend(event);
                    to.log.push(record);
                },
            );
        }
    }
}

fn add_clock(moves: &mut Moves<'_>) {
    let world = moves.from;
    let is_in_window = |request: &Request| request.is_overdue || request.sent_at >= world.clock;
    if world.clock < moves.rules.ticks && world.requests.iter().all(is_in_window) {
        moves.add(|| format!("the clock shows {}", world.clock + 1), |to| to.clock += 1);
    }
}

/// A request arrives at the issuer, is lost, or is held back beyond the window.
fn add_arrival(moves: &mut Moves<'_>, index: usize) {
    let (world, rules) = (moves.from, moves.rules);
    let request = world.requests[index];
    for is_approved in [true, false] {
        if is_possible_answer(rules, world.ledger, request, is_approved) {
            moves.add(
                || {
                    let answer = if is_approved { "approved" } else { "declined" };
                    format!(
                        "{:?} of worker {}, sent at {}, arrives: {answer}",
                        request.kind, request.worker, request.sent_at
                    )
                },
                |to| arrive(rules, to, index, is_approved),
            );
        }
    }
    if world.may(Event::LostRequest) {
        moves.add_fault(
            || format!("the request of worker {} is lost", request.worker),
            |to| {
                to.spend(Event::LostRequest);
                to.requests.remove(index);
            },
        );
    }
    if world.may(Event::OverdueRequest) && !request.is_overdue {
        moves.add_fault(
            || format!("the request of worker {} is held back beyond the window", request.worker),
            |to| {
                to.spend(Event::OverdueRequest);
                to.requests[index].is_overdue = true;
            },
        );
    }
}

/// The issuer's answer to a repeat: the first result, or none if the issuer does not store results.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Memory {
    Nothing,
    Made,
    /// A charge that was reversed is answered as made or as refused.
    Reversed,
    Declined,
}

fn memory(rules: &PaymentRules, ledger: Ledger, request: Request) -> Memory {
    let (is_made, is_declined) = if let TaskKind::Refund(number) = request.kind {
        let entry = ledger.refunds[usize::from(number)];
        (entry.made > 0 && rules.idempotent, entry.is_declined && rules.idempotent)
    } else {
        (ledger.charges > 0 && ledger.is_remembered, ledger.is_declined && ledger.is_remembered)
    };
    let is_reversed = request.kind == TaskKind::Charge && ledger.is_reversed;
    match (is_made, is_declined) {
        (true, _) if is_reversed && rules.forgets_reversed => Memory::Nothing,
        (true, _) if is_reversed => Memory::Reversed,
        (true, _) => Memory::Made,
        (false, true) if !rules.forgets_declines => Memory::Declined,
        (false, _) => Memory::Nothing,
    }
}

fn is_possible_answer(rules: &PaymentRules, ledger: Ledger, request: Request, is_approved: bool) -> bool {
    match memory(rules, ledger, request) {
        Memory::Made => is_approved,
        Memory::Declined => !is_approved,
        Memory::Reversed => true,
        Memory::Nothing => is_approved || rules.declines,
    }
}

fn arrive(rules: &PaymentRules, world: &mut World, index: usize, is_approved: bool) {
    let request = world.requests.remove(index);
    if memory(rules, world.ledger, request) == Memory::Nothing {
        let is_remembered = request.is_idempotent || world.is_idempotent(rules);
        record(&mut world.ledger, request.kind, is_approved, is_remembered);
    }
    if let Some(worker) = world.workers.get_mut(usize::from(request.worker))
        && worker.stage == Stage::Waiting
    {
        worker.stage = Stage::Reporting(if is_approved { TaskResult::Approved } else { TaskResult::Declined });
    }
}

fn record(ledger: &mut Ledger, kind: TaskKind, is_approved: bool, is_remembered: bool) {
    match (kind, is_approved) {
        (TaskKind::Refund(number), true) => ledger.refunds[usize::from(number)].made += 1,
        (TaskKind::Refund(number), false) => {
            let entry = &mut ledger.refunds[usize::from(number)];
            entry.is_declined |= entry.made == 0;
        }
        (_, true) => {
            ledger.charges += 1;
            ledger.is_reversed = false;
            ledger.is_remembered = is_remembered;
        }
        (_, false) if ledger.charges == 0 => {
            ledger.is_declined = true;
            ledger.is_remembered = is_remembered;
        }
        (_, false) => {}
    }
}

/// The newest state of the order in `order-states`, with its position: what the tracker sees.
pub(super) fn newest_state(world: &World) -> Option<(u8, OrderState)> {
    let states = world.states.iter().filter_map(|stored| match stored.write {
        Write::State(position, state) => Some((position, state)),
        Write::Policy(..) | Write::Marker(_) => None,
    });
    states.max_by_key(|(position, _)| *position)
}

/// The tracker appends a due record for an order in progress, once at each state and time.
fn add_due(moves: &mut Moves<'_>) {
    let (world, rules) = (moves.from, moves.rules);
    let Some((position, state)) = newest_state(world) else { return };
    if !state.can_be_due() || (position, world.clock) == world.last_due || world.log.is_full() {
        return;
    }
    let in_progress = |phase: Phase| phase.is_in_progress();
    let movement = state.refunds.iter().find(|refund| in_progress(refund.phase)).copied().unwrap_or(state.charge);
    let is_ripe = if !in_progress(movement.phase) {
        true
    } else if rules.send_by {
        world.clock >= movement.send_by + 2
    } else {
        movement.phase != Phase::Unresolved || world.clock >= movement.since + 2
    };
    if is_ripe || world.may(Event::EarlyInquiry) {
        moves.add_any(
            !is_ripe,
            || format!("the tracker, which saw the state at {position}, appends Due at {}", world.log.len()),
            |to| {
                if !is_ripe {
                    to.spend(Event::EarlyInquiry);
                }
                to.last_due = (position, to.clock);
                to.log.push(Record::Due);
            },
        );
    }
}
