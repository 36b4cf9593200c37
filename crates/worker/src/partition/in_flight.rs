//! The calls in flight of one partition, and the latest finished ones, whose answers may still
//! arrive, or arrive again.

use std::collections::{HashMap, VecDeque};

use tokio::time::Instant;
use twqr_journal::Offset;
use twqr_order::{EffectId, Limits, Subject, Task, TaskKind};
use twqr_types::{Issuer, OrderKey, SpendableToken, TradeNo};

use crate::{call::Purpose, lanes::Place};

/// The parts of a task that are kept after its call was handed over. The card token is as the
/// record has it, so encrypted from protocol version 3 on.
#[derive(Clone, Debug)]
pub(super) struct TaskSummary {
    pub(super) id: EffectId,
    pub(super) key: OrderKey,
    pub(super) trade_no: TradeNo,
    pub(super) issuer: Issuer,
    pub(super) limits: Limits,
    pub(super) subject: Subject,
    pub(super) is_idempotent: bool,
    /// The token of a charge, to find it in the answer.
    pub(super) card_token: Option<SpendableToken>,
}

impl TaskSummary {
    pub(super) fn of(task: &Task) -> Self {
        Self {
            id: task.id,
            key: task.key.clone(),
            trade_no: task.trade_no,
            issuer: task.issuer,
            limits: task.limits,
            subject: task.subject(),
            is_idempotent: task.is_idempotent,
            card_token: match &task.kind {
                TaskKind::Charge(charge) => Some(charge.card_token.clone()),
                TaskKind::Refund(_) | TaskKind::Reverse(_) | TaskKind::Inquire(_) => None,
            },
        }
    }
}

/// A call that was handed to the link.
#[derive(Debug)]
pub(super) struct CallInFlight {
    /// The offset of its task.
    pub(super) offset: Offset,
    pub(super) task: TaskSummary,
    pub(super) purpose: Purpose,
    /// A transfer's slot in its lane; `None` for an inquiry, which needs no slot.
    pub(super) place: Option<Place>,
    /// When it was handed over.
    pub(super) since: Instant,
}

/// A call that was answered, or timed out.
#[derive(Debug)]
pub(super) struct FinishedCall {
    pub(super) task: TaskSummary,
    pub(super) purpose: Purpose,
    /// Whether its answer said that the movement took effect; `None` if it had no answer, or one
    /// that does not say.
    pub(super) took_effect: Option<bool>,
}

/// How many finished calls are kept in memory. Above that, the oldest is dropped.
const FINISHED_MAX: usize = 1_024;

#[derive(Debug, Default)]
pub(super) struct InFlight {
    calls: HashMap<u64, CallInFlight>,
    /// Ordered by time, since all calls of a worker may take equally long.
    timeouts: VecDeque<(Instant, u64)>,
    finished: HashMap<u64, FinishedCall>,
    /// The finished calls, oldest first.
    finished_order: VecDeque<u64>,
    last_id: u64,
}

impl InFlight {
    /// Adds a call; returns its identity.
    pub(super) fn add(&mut self, call: CallInFlight, timeout: Instant) -> u64 {
        self.last_id += 1;
        self.calls.insert(self.last_id, call);
        self.timeouts.push_back((timeout, self.last_id));
        self.last_id
    }

    pub(super) fn take(&mut self, call_id: u64) -> Option<CallInFlight> {
        self.calls.remove(&call_id)
    }

    /// Whether a transfer of the task's movement is in flight.
    pub(super) fn has_transfer_of(&self, task: &Task) -> bool {
        let subject = task.subject();
        let is_same = |call: &CallInFlight| call.task.trade_no == task.trade_no && call.task.subject == subject;
        self.calls.values().any(|call| call.purpose == Purpose::Transfer && is_same(call))
    }

    /// The card token of the charge with this number, if the partition remembers a call about it.
    pub(super) fn card_token_of(&self, trade_no: TradeNo) -> Option<SpendableToken> {
        let in_flight = self.calls.values().map(|call| &call.task);
        let tasks = self.finished.values().map(|call| &call.task).chain(in_flight);
        tasks.filter(|task| task.trade_no == trade_no).find_map(|task| task.card_token.clone())
    }

    pub(super) fn ids(&self) -> Vec<u64> {
        self.calls.keys().copied().collect()
    }

    /// When the oldest call in flight times out.
    pub(super) fn next_timeout(&mut self) -> Option<Instant> {
        while self.timeouts.front().is_some_and(|(_, id)| !self.calls.contains_key(id)) {
            self.timeouts.pop_front();
        }
        self.timeouts.front().map(|(at, _)| *at)
    }

    /// Removes the time-outs up to now; returns their calls, which may have been answered.
    pub(super) fn timed_out(&mut self, now: Instant) -> Vec<u64> {
        let mut timed_out = Vec::new();
        while let Some((_, id)) = self.timeouts.pop_front_if(|(at, _)| *at <= now) {
            timed_out.push(id);
        }
        timed_out
    }

    /// Remembers a finished call.
    pub(super) fn remember(&mut self, call_id: u64, call: FinishedCall) {
        if self.finished_order.len() >= FINISHED_MAX
            && let Some(oldest) = self.finished_order.pop_front()
        {
            self.finished.remove(&oldest);
        }
        self.finished.insert(call_id, call);
        self.finished_order.push_back(call_id);
    }

    /// The finished call to which a late or repeated answer belongs.
    pub(super) fn finished(&mut self, call_id: u64) -> Option<&mut FinishedCall> {
        self.finished.get_mut(&call_id)
    }
}
