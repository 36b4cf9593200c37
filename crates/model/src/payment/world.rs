//! A state of the payment model: the clock, the shard, two routers, three workers, the issuer with
//! its ledger, and the faults that may still happen.

use super::{
    claims::TaskRecord,
    machine::{NONE, OrderState, Policy, REFUNDS_MAX, Record, Task, TaskKind, TaskResult, told},
    rules::PaymentRules,
};
use crate::bounded::Bounded;

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) enum RouterPhase {
    Down,
    /// Has decided to claim; the claim is not appended yet.
    Claiming,
    Claimed,
    Running,
}

/// A record of `order-states`, with the position up to which it holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) enum Write {
    Policy(u8, Policy),
    State(u8, OrderState),
    Marker(u8),
}

impl Default for Write {
    fn default() -> Self {
        Self::Marker(0)
    }
}

/// The value of a key in `order-states`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub(super) struct StoredWrite {
    pub(super) epoch: u8,
    pub(super) write: Write,
}

/// The data on a router's disk.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) struct LocalStore {
    pub(super) position: u8,
    pub(super) state: OrderState,
    pub(super) policy: Policy,
}

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) struct Router {
    pub(super) phase: RouterPhase,
    /// The claim that it names while it is claiming.
    pub(super) replaces: u8,
    pub(super) epoch: u8,
    /// It has released the shard, and goes on for a second, or until it reads the next claim.
    pub(super) is_released: bool,
    /// How many records it has applied.
    pub(super) position: u8,
    pub(super) state: OrderState,
    /// The position that the restored state reflects.
    pub(super) reflected: u8,
    /// The position of the last change, and that of the last checkpoint.
    pub(super) changed: u8,
    pub(super) checkpointed: u8,
    pub(super) policy: Policy,
    /// Tasks that are appended but not acknowledged.
    pub(super) pending_tasks: Bounded<Task, 4>,
    /// Writes of the running checkpoint.
    pub(super) pending_writes: Bounded<Write, 3>,
    pub(super) store: Option<LocalStore>,
    pub(super) uses_store: bool,
    /// A write of a dead owner that may still land, with its epoch.
    pub(super) late_write: Option<(u8, Write)>,
}

impl Router {
    pub(super) fn down() -> Self {
        Self {
            phase: RouterPhase::Down,
            replaces: NONE,
            epoch: 0,
            is_released: false,
            position: 0,
            state: OrderState::default(),
            reflected: 0,
            changed: 0,
            checkpointed: 0,
            policy: Policy::FIRST,
            pending_tasks: Bounded::new(),
            pending_writes: Bounded::new(),
            store: None,
            uses_store: false,
            late_write: None,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) enum Stage {
    Idle,
    Ready,
    Inquiring,
    Waiting,
    Reporting(TaskResult),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) enum WorkerPhase {
    Down,
    /// Has decided to claim; the claim is not appended yet.
    Claiming,
    Holding,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) struct Worker {
    pub(super) phase: WorkerPhase,
    /// The claim that it names while it is claiming.
    pub(super) replaces: u8,
    /// The offset of the next record to read, and one more than the highest identity read.
    pub(super) position: u8,
    pub(super) highest: u8,
    pub(super) claim: u8,
    /// The offset at which it began to read, if it does not know the claims before.
    pub(super) from: u8,
    pub(super) started: u8,
    /// The identities of the tasks that it has finished, as bits.
    pub(super) finished: u32,
    pub(super) stage: Stage,
    pub(super) task: Task,
    pub(super) is_fresh: bool,
}

impl Worker {
    pub(super) const DOWN: Self = Self {
        phase: WorkerPhase::Down,
        replaces: NONE,
        position: 0,
        highest: 0,
        claim: 0,
        from: 0,
        started: 0,
        finished: 0,
        stage: Stage::Idle,
        task: Task { id: 0, kind: TaskKind::OtherOrder, send_by: 0, since: 0, is_idempotent: false },
        is_fresh: false,
    };

    pub(super) fn is_holding(&self) -> bool {
        self.phase == WorkerPhase::Holding
    }
}

/// A holder that is paused, and two others that claim.
const WORKERS: usize = 3;

/// The worker of a request whose worker does not wait for it any more.
pub(super) const NOBODY: u8 = 9;

/// A transfer on its way to the issuer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub(super) struct Request {
    pub(super) worker: u8,
    pub(super) sent_at: u8,
    pub(super) kind: TaskKind,
    pub(super) is_idempotent: bool,
    /// It arrives after the window: W was not kept.
    pub(super) is_overdue: bool,
}

/// The issuer's record of a refund.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub(super) struct RefundEntry {
    pub(super) made: u8,
    pub(super) is_declined: bool,
}

/// The issuer's ledger.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub(super) struct Ledger {
    pub(super) charges: u8,
    pub(super) is_declined: bool,
    pub(super) is_reversed: bool,
    /// Whether the charge was recorded so that a repeat is recognised.
    pub(super) is_remembered: bool,
    pub(super) refunds: [RefundEntry; REFUNDS_MAX],
}

impl Ledger {
    /// Whether the customer's money is taken.
    pub(super) fn is_charged(self) -> bool {
        self.charges > 0 && !self.is_reversed
    }
}

/// The committed position of the partition's workers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub(super) struct Committed {
    pub(super) position: u8,
    pub(super) highest: u8,
}

/// The history that the checks need; the protocol does not use it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub(super) struct Witness {
    pub(super) was_sent: bool,
    /// A holder crashed, or lost the partition to a claim that counts.
    pub(super) holder_was_lost: bool,
}

/// An event that a scope limits.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    Pay,
    Cancel,
    Refund,
    RefuseByPolicy,
    Switch,
    OtherOrder,
    RouterCrash,
    RouterTakeover,
    RouterRelease,
    WorkerCrash,
    WorkerTakeover,
    WorkerRelease,
    DeadClaimant,
    HintClaim,
    FailedAppend,
    LostRequest,
    LostAnswer,
    RepeatedOutcome,
    EarlyInquiry,
    OverdueRequest,
    RefusedReversal,
}

const EVENTS: usize = Event::RefusedReversal as usize + 1;

/// Returns how often each event may happen in a scope.
fn limits(rules: &PaymentRules) -> [u8; EVENTS] {
    let mut left = [0; EVENTS];
    for (event, limit) in [
        (Event::Pay, rules.pays),
        (Event::Cancel, rules.cancels),
        (Event::Refund, rules.refunds),
        (Event::RefuseByPolicy, rules.refuses_by_policy),
        (Event::Switch, rules.switches),
        (Event::OtherOrder, rules.other_orders),
        (Event::RouterCrash, rules.router_crashes),
        (Event::RouterTakeover, rules.router_takeovers),
        (Event::RouterRelease, rules.router_releases),
        (Event::WorkerCrash, rules.worker_crashes),
        (Event::WorkerTakeover, rules.worker_takeovers),
        (Event::WorkerRelease, rules.worker_releases),
        (Event::DeadClaimant, rules.dead_claimants),
        (Event::HintClaim, rules.hint_claims),
        (Event::FailedAppend, rules.failed_appends),
        (Event::LostRequest, rules.lost_requests),
        (Event::LostAnswer, rules.lost_answers),
        (Event::RepeatedOutcome, rules.repeated_outcomes),
        (Event::EarlyInquiry, rules.early_inquiries),
        (Event::OverdueRequest, rules.overdue_requests),
        (Event::RefusedReversal, rules.refused_reversals),
    ] {
        left[event as usize] = limit;
    }
    left
}

#[derive(Clone, Hash, Debug)]
pub(crate) struct World {
    pub(super) clock: u8,
    pub(super) log: Bounded<Record, 18>,
    pub(super) routers: [Router; 2],
    /// Appends of dead routers that may still land.
    pub(super) late_tasks: Bounded<Task, 4>,
    pub(super) states: Bounded<StoredWrite, 10>,
    pub(super) tasks: Bounded<TaskRecord, 14>,
    pub(super) workers: [Worker; WORKERS],
    /// Claims of dead workers that may still land: what they name.
    pub(super) late_claims: Bounded<u8, 2>,
    pub(super) committed: Committed,
    pub(super) requests: Bounded<Request, 4>,
    pub(super) ledger: Ledger,
    /// The answers to callers, as bits.
    pub(super) told: u16,
    /// The state's position and the time of the tracker's last due record.
    pub(super) last_due: (u8, u8),
    pub(super) witness: Witness,
    /// How often each event may still happen, by [`Event`].
    pub(super) left: [u8; EVENTS],
}

impl World {
    /// The state in which a scope begins.
    pub(super) fn initial(rules: &PaymentRules) -> Self {
        let mut world = Self {
            clock: 0,
            log: Bounded::new(),
            routers: [Router::down(), Router::down()],
            late_tasks: Bounded::new(),
            states: Bounded::new(),
            tasks: Bounded::new(),
            workers: [Worker::DOWN; WORKERS],
            late_claims: Bounded::new(),
            committed: Committed::default(),
            requests: Bounded::new(),
            ledger: Ledger::default(),
            told: 0,
            last_due: (0, NONE),
            witness: Witness::default(),
            left: limits(rules),
        };
        if rules.starts_paid {
            world.log.push(Record::Paid);
            world.ledger.charges = 1;
            world.told = told::PAID;
        }
        world
    }

    /// Whether the event may happen once more.
    pub(super) fn may(&self, event: Event) -> bool {
        self.left[event as usize] > 0
    }

    /// Counts the event.
    pub(super) fn spend(&mut self, event: Event) {
        self.left[event as usize] -= 1;
    }

    /// Whether the issuer is idempotent: `rules` say whether it is so at first.
    pub(super) fn is_idempotent(&self, rules: &PaymentRules) -> bool {
        rules.idempotent != self.log.contains(&Record::SwitchIdempotence)
    }
}
