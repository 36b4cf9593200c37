//! The steps of the workers of a task partition: claim, read, send or inquire, report, commit;
//! and their faults (protocol rule P6).

use super::{
    claims::{PartitionView, TaskRecord},
    machine::{NONE, Record, Subject, Task, TaskKind, TaskResult},
    moves::Moves,
    rules::PaymentRules,
    world::{Committed, Event, NOBODY, Request, Stage, Worker, WorkerPhase, World},
};

/// Adds the steps of workers, dead ones included.
pub(super) fn add_steps(moves: &mut Moves<'_>) {
    for index in 0..moves.from.workers.len() {
        let worker = moves.from.workers[index];
        match worker.phase {
            WorkerPhase::Down => add_start(moves, index),
            WorkerPhase::Claiming => add_claim(moves, index),
            WorkerPhase::Holding => {
                add_end(moves, index);
                add_commit(moves, index);
                match worker.stage {
                    Stage::Idle => add_read(moves, index),
                    Stage::Ready => add_send(moves, index),
                    Stage::Inquiring => add_inquiry(moves, index),
                    Stage::Waiting => add_timeout(moves, index),
                    Stage::Reporting(result) => add_report(moves, index, result),
                }
            }
        }
    }
    for index in 0..moves.from.late_claims.len() {
        let replaces = moves.from.late_claims[index];
        moves.add_fault(
            || format!("the claim of a dead worker lands; it replaces {replaces}"),
            |to| {
                to.late_claims.remove(index);
                let newest = newest_claim(to).0;
                to.witness.holder_was_lost |= replaces == NONE || replaces == newest;
                to.tasks.push(TaskRecord::Claim { replaces });
            },
        );
    }
}

/// The newest claim that counts, and whether it was released: by the true rule, whatever the
/// workers do. Only the witness uses it.
fn newest_claim(world: &World) -> (u8, bool) {
    let (mut newest, mut is_released) = (NONE, false);
    for (offset, record) in world.tasks.iter().enumerate() {
        match record {
            TaskRecord::Claim { replaces } if *replaces == NONE || *replaces == newest => {
                (newest, is_released) = (offset as u8, false);
            }
            TaskRecord::Release { claim } if *claim == newest => is_released = true,
            TaskRecord::Claim { .. } | TaskRecord::Release { .. } | TaskRecord::Task(_) => {}
        }
    }
    (newest, is_released)
}

/// Tells the witness whether a claim that is about to be appended takes the partition from a
/// worker that holds it.
fn note_takeover(world: &mut World, replaces: u8) {
    let (newest, is_released) = newest_claim(world);
    let counts = replaces == NONE || replaces == newest;
    world.witness.holder_was_lost |= newest != NONE && !is_released && counts;
}

fn add_start(moves: &mut Moves<'_>, index: usize) {
    let (world, rules) = (moves.from, moves.rules);
    if world.workers[..index].contains(&world.workers[index]) {
        return;
    }
    let is_contested = world.workers.iter().any(|worker| worker.phase != WorkerPhase::Down);
    for event in [Event::WorkerTakeover, Event::HintClaim] {
        let is_hint = matches!(event, Event::HintClaim);
        if (is_hint && !is_contested) || (is_contested && !world.may(event)) {
            continue;
        }
        moves.add_any(
            is_contested,
            || format!("worker {index} starts to claim{}", if is_hint { " by a hint of the group" } else { "" }),
            |to| {
                if is_contested {
                    to.spend(event);
                }
                let end = to.tasks.len() as u8;
                let replaces = PartitionView::new(rules, &to.tasks, 0, NONE).claims(end).replaced();
                to.workers[index].phase = WorkerPhase::Claiming;
                to.workers[index].replaces = if is_hint { NONE } else { replaces };
                if !rules.conditional_claims || is_hint {
                    claim(rules, to, index);
                }
            },
        );
    }
}

fn add_claim(moves: &mut Moves<'_>, index: usize) {
    let (world, rules) = (moves.from, moves.rules);
    let replaces = world.workers[index].replaces;
    if world.tasks.is_full() {
        return;
    }
    moves.add(
        || format!("worker {index} appends a claim at {} that replaces {replaces}", world.tasks.len()),
        |to| claim(rules, to, index),
    );
    if world.may(Event::DeadClaimant) {
        moves.add_fault(
            || format!("worker {index} dies while its claim that replaces {replaces} is under way"),
            |to| {
                to.spend(Event::DeadClaimant);
                to.workers[index] = Worker::DOWN;
                to.late_claims.push(replaces);
            },
        );
    }
}

/// Appends a claim and reads it back. A worker whose claim does not count holds nothing.
fn claim(rules: &PaymentRules, world: &mut World, index: usize) {
    let replaces = world.workers[index].replaces;
    let offset = world.tasks.len() as u8;
    note_takeover(world, replaces);
    if rules.fence == 2 {
        world.tasks.push(TaskRecord::Claim { replaces });
    }
    let Committed { position, highest } = world.committed;
    let from = if rules.commits_claim { 0 } else { position };
    if replaces != NONE && PartitionView::new(rules, &world.tasks, from, offset).is_undecidable(offset) {
        world.workers[index].replaces = NONE;
        claim(rules, world, index);
        return;
    }
    let worker = Worker {
        phase: WorkerPhase::Holding,
        position,
        highest: if rules.commits_identity { highest } else { 0 },
        claim: if rules.fence == 0 { 0 } else { offset },
        from,
        started: if rules.send_by { 0 } else { world.clock },
        ..Worker::DOWN
    };
    let counts = rules.fence < 2
        || rules.claimant_counts_all
        || PartitionView::new(rules, &world.tasks, worker.from, offset).counts(offset);
    world.workers[index] = if counts { worker } else { Worker::DOWN };
}

/// The worker crashes, or gives the partition back.
fn add_end(moves: &mut Moves<'_>, index: usize) {
    let world = moves.from;
    let claim = world.workers[index].claim;
    if world.may(Event::WorkerCrash) {
        moves.add_fault(
            || format!("worker {index} crashes"),
            |to| {
                to.spend(Event::WorkerCrash);
                to.witness.holder_was_lost = true;
                leave(to, index);
            },
        );
    }
    if world.may(Event::WorkerRelease) && moves.rules.fence == 2 && !world.tasks.is_full() {
        moves.add_fault(
            || format!("worker {index} releases its claim {claim} and leaves"),
            |to| {
                to.spend(Event::WorkerRelease);
                // It leaves unsent what it has not read yet: the fence must hold for that too.
                let Worker { position, stage, .. } = to.workers[index];
                let has_work = stage != Stage::Idle || usize::from(position) < to.tasks.len();
                to.witness.holder_was_lost |= has_work;
                to.tasks.push(TaskRecord::Release { claim });
                leave(to, index);
            },
        );
    }
}

fn leave(world: &mut World, index: usize) {
    world.workers[index] = Worker::DOWN;
    forget_requests(world, index);
}

fn forget_requests(world: &mut World, index: usize) {
    for request in world.requests.iter_mut().filter(|request| usize::from(request.worker) == index) {
        request.worker = NOBODY;
    }
}

fn add_commit(moves: &mut Moves<'_>, index: usize) {
    let rules = moves.rules;
    let Worker { position, highest, stage, .. } = moves.from.workers[index];
    let committed = Committed { position, highest };
    if rules.can_restart_workers() && (stage == Stage::Idle || rules.commits_early) && committed != moves.from.committed
    {
        moves.add(|| format!("worker {index} commits {position}, highest {highest}"), |to| to.committed = committed);
    }
}

fn add_read(moves: &mut Moves<'_>, index: usize) {
    let (world, rules) = (moves.from, moves.rules);
    let worker = world.workers[index];
    let Some(record) = world.tasks.get(usize::from(worker.position)) else { return };
    let TaskRecord::Task(task) = *record else {
        // Other claims and releases were skipped.
        moves.add(|| format!("worker {index} reads the claim at {} and stops", worker.position), |to| leave(to, index));
        return;
    };
    let is_repeat = rules.identity_rule && task.id < worker.highest;
    let owns = match rules.fence {
        2 => PartitionView::new(rules, &world.tasks, worker.from, worker.claim).owns(worker.position),
        _ => worker.position >= worker.claim,
    };
    let is_fresh = owns && !is_repeat;
    let reading = || {
        format!("worker {index} reads {:?} {} ({})", task.kind, task.id, if is_fresh { "fresh" } else { "maybe sent" })
    };
    if worker.finished & (1 << task.id) != 0 || (is_repeat && rules.drops_repeats) {
        moves.add(|| format!("{}: drops it", reading()), |to| to.workers[index].position += 1);
        return;
    }
    moves.add(reading, |to| read(rules, to, index, task, is_fresh));
    let moves_money = matches!(task.kind, TaskKind::Charge | TaskKind::Refund(_));
    if rules.full_queue && moves_money && (is_fresh || !rules.guards_not_sent) {
        moves.add_fault(
            || format!("{}: the queue is full, not sent", reading()),
            |to| {
                read(rules, to, index, task, is_fresh);
                to.workers[index].stage = Stage::Reporting(TaskResult::NotSent);
            },
        );
    }
}

fn read(rules: &PaymentRules, world: &mut World, index: usize, task: Task, is_fresh: bool) {
    let clock = world.clock;
    let is_idempotent = if rules.reads_property_late { world.is_idempotent(rules) } else { task.is_idempotent };
    let worker = &mut world.workers[index];
    worker.position += 1;
    worker.highest = worker.highest.max(task.id + 1);
    if task.kind == TaskKind::OtherOrder {
        return;
    }
    worker.task = task;
    worker.is_fresh = is_fresh;
    let is_in_time = !rules.send_by || clock <= task.send_by || rules.resends_late;
    worker.stage = match task.kind {
        TaskKind::Charge | TaskKind::Refund(_) => {
            let resends = is_idempotent && rules.resends && is_in_time;
            if is_fresh || !rules.inquires_first || resends { Stage::Ready } else { Stage::Inquiring }
        }
        TaskKind::Inquire | TaskKind::InquireRefund(_) | TaskKind::OtherOrder => Stage::Inquiring,
        TaskKind::Reverse => Stage::Ready,
    };
}

fn add_send(moves: &mut Moves<'_>, index: usize) {
    let (world, rules) = (moves.from, moves.rules);
    let Worker { task, is_fresh, .. } = world.workers[index];
    let at = world.clock;
    if task.kind == TaskKind::Reverse {
        add_reversal(moves, index);
    } else if rules.send_by && at > task.send_by && (is_fresh || !rules.resends_late) {
        moves.add(
            || format!("worker {index} cannot send {} after send_by", task.id),
            |to| {
                let not_sent = Stage::Reporting(TaskResult::NotSent);
                to.workers[index].stage = if is_fresh { not_sent } else { Stage::Inquiring };
            },
        );
    } else if !world.requests.is_full() {
        moves.add(
            || format!("worker {index} sends {:?} {} at {at}", task.kind, task.id),
            |to| {
                let Task { kind, is_idempotent, .. } = task;
                to.witness.was_sent = rules.conditional_claims;
                to.requests.push(Request { worker: index as u8, sent_at: at, kind, is_idempotent, is_overdue: false });
                to.workers[index].stage = Stage::Waiting;
            },
        );
    }
}

/// A reversal takes effect at once, or is refused.
fn add_reversal(moves: &mut Moves<'_>, index: usize) {
    moves.add(
        || format!("worker {index} reverses the charge"),
        |to| {
            to.ledger.is_reversed = to.ledger.charges > 0;
            to.workers[index].stage = Stage::Reporting(TaskResult::Reversed);
        },
    );
    let is_reversed = moves.from.ledger.is_reversed;
    if moves.from.may(Event::RefusedReversal) && !is_reversed {
        moves.add_fault(
            || format!("the reversal of worker {index} is refused"),
            |to| {
                to.spend(Event::RefusedReversal);
                to.workers[index].stage = Stage::Reporting(TaskResult::ReversalRefused);
            },
        );
    }
}

fn add_timeout(moves: &mut Moves<'_>, index: usize) {
    let world = moves.from;
    let is_pending = world.requests.iter().any(|request| usize::from(request.worker) == index);
    // Only a lost request ends in a time-out without another fault.
    if !is_pending || world.may(Event::LostAnswer) {
        moves.add_any(
            is_pending,
            || format!("worker {index} gets no answer: unknown"),
            |to| {
                if is_pending {
                    to.spend(Event::LostAnswer);
                }
                to.workers[index].stage = Stage::Reporting(TaskResult::Unknown);
                forget_requests(to, index);
            },
        );
    }
}

/// The inquiry and the worker's conclusion are one step: a late answer is like a late report.
fn add_inquiry(moves: &mut Moves<'_>, index: usize) {
    let (world, rules) = (moves.from, moves.rules);
    let Worker { task, .. } = world.workers[index];
    let result = inquire(rules, world, index);
    let is_charge = matches!(task.kind, TaskKind::Charge | TaskKind::Refund(_));
    moves.add(
        || format!("worker {index} inquires about {} at {}: {result:?}", task.id, world.clock),
        |to| {
            let resends = result == TaskResult::Absent && is_charge && rules.resends_absent;
            to.workers[index].stage = if resends { Stage::Ready } else { Stage::Reporting(result) };
        },
    );
}

fn inquire(rules: &PaymentRules, world: &World, index: usize) -> TaskResult {
    let Worker { task, started, .. } = world.workers[index];
    let (is_made, is_declined) = match task.kind {
        TaskKind::Refund(number) | TaskKind::InquireRefund(number) => {
            let entry = world.ledger.refunds[usize::from(number)];
            (entry.made > 0, entry.is_declined)
        }
        TaskKind::Charge | TaskKind::Inquire | TaskKind::Reverse | TaskKind::OtherOrder => {
            (world.ledger.charges > 0, world.ledger.is_declined)
        }
    };
    let asked_from = match (rules.send_by, task.kind == TaskKind::Charge) {
        (true, _) => task.send_by,
        (false, true) => started,
        (false, false) => task.since,
    };
    if is_made {
        TaskResult::Approved
    } else if is_declined && !rules.forgets_declines {
        TaskResult::Declined
    } else if rules.early_absence || world.clock >= asked_from + 2 {
        TaskResult::Absent
    } else {
        TaskResult::Unknown
    }
}

fn add_report(moves: &mut Moves<'_>, index: usize, result: TaskResult) {
    let (world, rules) = (moves.from, moves.rules);
    let task = world.workers[index].task;
    if world.log.is_full() {
        return;
    }
    let subject = match task.kind {
        TaskKind::Refund(number) | TaskKind::InquireRefund(number) => Subject::Refund(number),
        TaskKind::Reverse => Subject::Reversal,
        TaskKind::Charge | TaskKind::Inquire | TaskKind::OtherOrder => Subject::Charge,
    };
    let at = if rules.send_by { 0 } else { world.clock };
    let outcome = Record::Outcome { task: task.id, subject, result, at };
    moves.add(
        || format!("worker {index} appends {result:?} of {} at {}", task.id, world.log.len()),
        |to| {
            to.log.push(outcome);
            let worker = &mut to.workers[index];
            worker.stage = Stage::Idle;
            worker.task = Worker::DOWN.task;
            worker.is_fresh = false;
            worker.finished |= 1 << task.id;
        },
    );
    if world.may(Event::RepeatedOutcome) {
        moves.add_fault(
            || format!("worker {index} appends {result:?} of {}; the acknowledgement is lost", task.id),
            |to| {
                to.spend(Event::RepeatedOutcome);
                to.log.push(outcome);
            },
        );
    }
}
