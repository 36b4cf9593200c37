//! The calls in flight of one partition, and those that timed out, whose answers may still come.

use std::collections::{HashMap, VecDeque};

use tokio::time::Instant;

use super::Task;
use crate::{answer::Asked, lane::Place};

/// A call that was handed to the link.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) offset: u64,
    pub(crate) task: Task,
    pub(crate) asked: Asked,
    /// A charge's place in its lane.
    pub(crate) place: Option<Place>,
}

/// How many calls without an answer are remembered; the oldest is forgotten first.
const LATE_CALLS_MAX: usize = 4_096;

#[derive(Debug, Default)]
pub(crate) struct Flight {
    calls: HashMap<u64, Call>,
    /// In the order of their time-outs, since all calls have the same.
    timeouts: VecDeque<(Instant, u64)>,
    late: HashMap<u64, Call>,
    late_order: VecDeque<u64>,
    last_id: u64,
}

impl Flight {
    pub(crate) fn add(&mut self, call: Call, timeout: Instant) -> u64 {
        self.last_id += 1;
        self.calls.insert(self.last_id, call);
        self.timeouts.push_back((timeout, self.last_id));
        self.last_id
    }

    pub(crate) fn take(&mut self, call_id: u64) -> Option<Call> {
        self.calls.remove(&call_id)
    }

    pub(crate) fn ids(&self) -> Vec<u64> {
        self.calls.keys().copied().collect()
    }

    /// When the oldest call in flight times out.
    pub(crate) fn next_timeout(&mut self) -> Option<Instant> {
        while self.timeouts.front().is_some_and(|(_, id)| !self.calls.contains_key(id)) {
            self.timeouts.pop_front();
        }
        self.timeouts.front().map(|(at, _)| *at)
    }

    /// Calls whose time is over.
    pub(crate) fn timed_out(&mut self, now: Instant) -> Vec<u64> {
        let mut over = Vec::new();
        while let Some((_, id)) = self.timeouts.pop_front_if(|(at, _)| *at <= now) {
            over.push(id);
        }
        over
    }

    pub(crate) fn keep_for_late_answer(&mut self, call_id: u64, call: Call) {
        if self.late_order.len() >= LATE_CALLS_MAX
            && let Some(oldest) = self.late_order.pop_front()
        {
            self.late.remove(&oldest);
        }
        self.late.insert(call_id, call);
        self.late_order.push_back(call_id);
    }

    pub(crate) fn take_late(&mut self, call_id: u64) -> Option<Call> {
        self.late.remove(&call_id)
    }
}
