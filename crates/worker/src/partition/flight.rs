//! The calls in flight of one partition, and those that are over, whose answers may still come, or
//! come again.

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
    /// A transfer's place in its lane.
    pub(crate) place: Option<Place>,
}

/// A call that is over.
#[derive(Debug)]
pub(crate) struct Over {
    pub(crate) task: Task,
    pub(crate) asked: Asked,
    /// Whether its answer said that it took effect; none: it had no answer, or none that says so.
    pub(crate) took_effect: Option<bool>,
}

/// How many calls that are over are remembered; the oldest is forgotten first.
const OVER_MAX: usize = 1_024;

#[derive(Debug, Default)]
pub(crate) struct Flight {
    calls: HashMap<u64, Call>,
    /// In the order of their time-outs, since all calls have the same.
    timeouts: VecDeque<(Instant, u64)>,
    over: HashMap<u64, Over>,
    over_order: VecDeque<u64>,
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

    /// Remembers a call that is over.
    pub(crate) fn remember(&mut self, call_id: u64, over: Over) {
        if self.over_order.len() >= OVER_MAX
            && let Some(oldest) = self.over_order.pop_front()
        {
            self.over.remove(&oldest);
        }
        self.over.insert(call_id, over);
        self.over_order.push_back(call_id);
    }

    /// The call that an answer is to which comes late, or again.
    pub(crate) fn over(&mut self, call_id: u64) -> Option<&mut Over> {
        self.over.get_mut(&call_id)
    }
}
