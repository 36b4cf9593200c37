//! The order machine: a state and a record give a state, a task and answers (protocol rule P2).
//! Charge and refunds have the same life; a reversal takes effect at once or is refused.

use super::rules::PaymentRules;

/// Stands for "no offset".
pub(super) const NONE: u8 = u8::MAX;

/// The most refunds of a payment.
pub(super) const REFUNDS_MAX: usize = 2;

/// The outcomes that a worker reports about a task.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) enum TaskResult {
    Approved,
    Declined,
    NotSent,
    Unknown,
    Absent,
    Reversed,
    ReversalRefused,
}

/// A record on the shard.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub(super) enum Record {
    /// A claim by a router; names the claim that it replaces.
    Claim {
        replaces: u8,
    },
    Release {
        claim: u8,
    },
    Pay {
        at: u8,
    },
    Cancel,
    Refund {
        number: u8,
        at: u8,
    },
    Outcome {
        task: u8,
        subject: Subject,
        result: TaskResult,
        at: u8,
    },
    Due,
    RefusePayments,
    SwitchIdempotence,
    OtherOrder,
    /// Makes a paid payment, with which some scopes begin.
    #[default]
    Paid,
}

/// The movement that an outcome is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) enum Subject {
    Charge,
    Refund(u8),
    Reversal,
}

/// The kinds of tasks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub(super) enum TaskKind {
    Charge,
    Refund(u8),
    Inquire,
    InquireRefund(u8),
    Reverse,
    #[default]
    OtherOrder,
}

/// A task; its identity is the offset of its cause (P3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub(super) struct Task {
    pub(super) id: u8,
    pub(super) kind: TaskKind,
    pub(super) send_by: u8,
    /// When the movement became unknown; used only without `send_by`.
    pub(super) since: u8,
    /// Whether the issuer was idempotent by the policy of the cause.
    pub(super) is_idempotent: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub(super) enum Phase {
    #[default]
    None,
    Sent,
    Unresolved,
    Inquiring,
    Done,
    Declined,
    NotSent,
    Absent,
}

impl Phase {
    pub(super) fn has_failed(self) -> bool {
        matches!(self, Phase::Declined | Phase::NotSent | Phase::Absent)
    }

    pub(super) fn is_in_progress(self) -> bool {
        matches!(self, Phase::Sent | Phase::Unresolved | Phase::Inquiring)
    }
}

/// A charge or a refund.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub(super) struct Movement {
    pub(super) phase: Phase,
    /// The open task.
    task: u8,
    pub(super) send_by: u8,
    pub(super) since: u8,
    is_idempotent: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub(super) enum ReversalPhase {
    #[default]
    None,
    Sent,
    Refused,
    Done,
}

/// The reason why there is no charge at all.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub(super) enum Refusal {
    #[default]
    None,
    ByPolicy,
    CancelledFirst,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub(super) struct OrderState {
    pub(super) charge: Movement,
    pub(super) refunds: [Movement; REFUNDS_MAX],
    pub(super) reversal: ReversalPhase,
    reversal_task: u8,
    refusal: Refusal,
    is_cancelled: bool,
}

impl OrderState {
    /// Whether nobody has to do anything about the order.
    pub(super) fn is_final(&self) -> bool {
        let is_in_progress = |movement: &Movement| movement.phase.is_in_progress();
        !is_in_progress(&self.charge)
            && !self.refunds.iter().any(is_in_progress)
            && match self.reversal {
                ReversalPhase::None | ReversalPhase::Done => true,
                ReversalPhase::Sent => false,
                // The caller repeats a cancel that was refused; an own reversal must be settled.
                ReversalPhase::Refused => !self.has_failed(),
            }
    }

    /// Whether the payment failed, so that callers hear that no money was taken.
    pub(super) fn has_failed(&self) -> bool {
        self.charge.phase.has_failed() || self.refusal != Refusal::None
    }

    pub(super) fn is_unknown(&self) -> bool {
        self.charge.phase == Phase::None && self.refusal == Refusal::None
    }

    /// Whether a due record makes the machine act, if its time has come.
    pub(super) fn can_be_due(&self) -> bool {
        !self.is_final() && self.reversal != ReversalPhase::Sent
    }
}

/// From which offsets the versions of the policy hold.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) struct Policy {
    pub(super) refuses_from: u8,
    pub(super) switched_from: u8,
}

impl Policy {
    /// The policy of a new system.
    pub(super) const FIRST: Self = Self { refuses_from: NONE, switched_from: NONE };

    /// Takes a change of the policy that stands at `offset`.
    pub(super) fn learn(&mut self, record: Record, offset: u8) {
        if record == Record::RefusePayments {
            self.refuses_from = self.refuses_from.min(offset);
        } else if record == Record::SwitchIdempotence {
            self.switched_from = self.switched_from.min(offset);
        }
    }

    fn refuses(self, offset: u8, rules: &PaymentRules) -> bool {
        if rules.policy_versions { self.refuses_from < offset } else { self.refuses_from != NONE }
    }

    fn is_idempotent(self, offset: u8, rules: &PaymentRules) -> bool {
        rules.idempotent != (self.switched_from < offset)
    }
}

/// The answers to callers, as bits.
pub(super) mod told {
    pub(in crate::payment) const PAID: u16 = 1;
    pub(in crate::payment) const FAILED: u16 = 2;
    pub(in crate::payment) const CANCELLED: u16 = 4;
    pub(in crate::payment) const REFUSED: u16 = 8;

    pub(in crate::payment) fn refunded(number: usize) -> u16 {
        16 << number
    }

    pub(in crate::payment) fn refund_failed(number: usize) -> u16 {
        64 << number
    }
}

/// The decision about a record.
pub(super) struct Decision {
    pub(super) state: OrderState,
    pub(super) task: Option<Task>,
    pub(super) told: u16,
}

/// Applies the record at `offset`.
pub(super) fn apply(rules: &PaymentRules, state: OrderState, record: Record, offset: u8, policy: Policy) -> Decision {
    let mut machine = Machine { rules, policy, offset, decision: Decision { state, task: None, told: 0 } };
    match record {
        Record::Claim { .. } | Record::Release { .. } | Record::RefusePayments | Record::SwitchIdempotence => {}
        Record::OtherOrder => machine.emit(TaskKind::OtherOrder, Movement::default()),
        Record::Paid => machine.decision.state.charge.phase = Phase::Done,
        Record::Pay { at } => machine.pay(at),
        Record::Cancel => machine.cancel(),
        Record::Refund { number, at } => machine.refund(number, at),
        Record::Outcome { task, subject: Subject::Reversal, result, .. } => machine.reversal_result(task, result),
        Record::Outcome { task, subject: Subject::Refund(number), result, at } => {
            machine.movement_result(task, Some(usize::from(number)), result, at);
        }
        Record::Outcome { task, subject: Subject::Charge, result, at } => {
            machine.movement_result(task, None, result, at);
        }
        Record::Due => machine.due(),
    }
    machine.decision
}

struct Machine<'a> {
    rules: &'a PaymentRules,
    policy: Policy,
    offset: u8,
    decision: Decision,
}

impl Machine<'_> {
    fn emit(&mut self, kind: TaskKind, movement: Movement) {
        let Movement { send_by, since, is_idempotent, .. } = movement;
        self.decision.task = Some(Task { id: self.offset, kind, send_by, since, is_idempotent });
    }

    fn begin(&mut self, kind: TaskKind, at: u8) -> Movement {
        let is_idempotent = self.policy.is_idempotent(self.offset, self.rules);
        let movement = Movement { phase: Phase::Sent, task: self.offset, send_by: at, since: 0, is_idempotent };
        self.emit(kind, movement);
        movement
    }

    fn reverse(&mut self) {
        self.decision.state.reversal = ReversalPhase::Sent;
        self.decision.state.reversal_task = self.offset;
        let charge = self.decision.state.charge;
        self.emit(TaskKind::Reverse, charge);
    }

    fn pay(&mut self, at: u8) {
        let state = self.decision.state;
        let told = if state.is_unknown() {
            if self.policy.refuses(self.offset, self.rules) {
                self.decision.state.refusal = Refusal::ByPolicy;
                told::FAILED
            } else {
                self.decision.state.charge = self.begin(TaskKind::Charge, at);
                0
            }
        } else if state.refusal == Refusal::CancelledFirst {
            told::REFUSED
        } else if state.has_failed() {
            told::FAILED
        } else if state.charge.phase == Phase::Done && state.reversal == ReversalPhase::None {
            told::PAID
        } else {
            0
        };
        self.decision.told |= told;
    }

    fn cancel(&mut self) {
        let state = self.decision.state;
        if state.refunds.iter().any(|refund| refund.phase != Phase::None) {
            return;
        }
        if state.is_unknown() {
            self.decision.state.refusal = Refusal::CancelledFirst;
            self.decision.told |= told::CANCELLED;
        } else if state.has_failed() || state.reversal == ReversalPhase::Done {
            self.decision.told |= told::CANCELLED;
        } else {
            self.decision.state.is_cancelled = true;
            let is_eager = self.rules.eager_cancel && state.charge.phase == Phase::Unresolved;
            if (state.charge.phase == Phase::Done || is_eager) && state.reversal != ReversalPhase::Sent {
                self.reverse();
            }
        }
    }

    fn refund(&mut self, number: u8, at: u8) {
        let state = self.decision.state;
        let holds_money = |refund: &Movement| refund.phase.is_in_progress() || refund.phase == Phase::Done;
        let is_possible = state.charge.phase == Phase::Done
            && state.reversal == ReversalPhase::None
            && !state.refunds.iter().any(holds_money);
        if is_possible && state.refunds[usize::from(number)].phase == Phase::None {
            self.decision.state.refunds[usize::from(number)] = self.begin(TaskKind::Refund(number), at);
        }
    }

    fn reversal_result(&mut self, task: u8, result: TaskResult) {
        let state = &mut self.decision.state;
        if state.reversal != ReversalPhase::Sent {
            return;
        }
        if result == TaskResult::Reversed {
            state.reversal = ReversalPhase::Done;
            if !state.has_failed() {
                self.decision.told |= told::CANCELLED;
            }
        } else if task == state.reversal_task {
            state.reversal = ReversalPhase::Refused;
        }
    }

    /// Applies the result of the charge, or of the refund with this number.
    fn movement_result(&mut self, task: u8, refund: Option<usize>, result: TaskResult, at: u8) {
        let rules = self.rules;
        let is_idempotent_by_policy = self.policy.is_idempotent(self.offset, rules);
        let state = &mut self.decision.state;
        let movement = match refund {
            Some(number) => &mut state.refunds[number],
            None => &mut state.charge,
        };
        if !movement.phase.is_in_progress() {
            if refund.is_none() {
                self.late_charge(result);
            }
            return;
        }
        let is_idempotent = if rules.not_sent_by_policy { is_idempotent_by_policy } else { movement.is_idempotent };
        let is_unknown = result == TaskResult::NotSent && is_idempotent && rules.not_sent_is_unknown;
        let result = if is_unknown { TaskResult::Unknown } else { result };
        let is_open = task == movement.task;
        let phase = match result {
            TaskResult::Approved => Phase::Done,
            TaskResult::Declined => Phase::Declined,
            _ if rules.matches_task && !is_open => return,
            TaskResult::NotSent => Phase::NotSent,
            TaskResult::Absent => Phase::Absent,
            TaskResult::Unknown if movement.phase == Phase::Unresolved => return,
            TaskResult::Unknown => Phase::Unresolved,
            TaskResult::Reversed | TaskResult::ReversalRefused => return,
        };
        if movement.phase == Phase::Sent && phase == Phase::Unresolved {
            movement.since = at;
        }
        movement.phase = phase;
        movement.task = NONE;
        if phase != Phase::Unresolved {
            self.tell(refund, phase);
        }
    }

    fn tell(&mut self, refund: Option<usize>, phase: Phase) {
        let is_done = phase == Phase::Done;
        if let Some(number) = refund {
            self.decision.told |= if is_done { told::refunded(number) } else { told::refund_failed(number) };
            return;
        }
        self.decision.told |= if is_done { told::PAID } else { told::FAILED };
        if self.decision.state.is_cancelled {
            if is_done {
                self.reverse();
            } else {
                self.decision.told |= told::CANCELLED;
            }
        }
    }

    /// A charge took effect after callers heard that it failed: the machine reverses it.
    fn late_charge(&mut self, result: TaskResult) {
        let state = self.decision.state;
        let is_late = result == TaskResult::Approved && state.charge.phase.has_failed();
        if is_late && self.rules.reverses_late && state.reversal == ReversalPhase::None {
            self.reverse();
        }
    }

    fn due(&mut self) {
        let state = self.decision.state;
        if state.charge.phase == Phase::Unresolved {
            self.decision.state.charge.phase = Phase::Inquiring;
            self.decision.state.charge.task = self.offset;
            self.emit(TaskKind::Inquire, state.charge);
        } else if let Some(number) = state.refunds.iter().position(|refund| refund.phase == Phase::Unresolved) {
            self.decision.state.refunds[number].phase = Phase::Inquiring;
            self.decision.state.refunds[number].task = self.offset;
            self.emit(TaskKind::InquireRefund(number as u8), state.refunds[number]);
        } else if state.reversal == ReversalPhase::Refused && state.has_failed() && self.rules.retries_reversal {
            self.reverse();
        }
    }
}
