//! Fresh transfers that wait for a place in their issuer's lane, in order; each until its send_by.

use std::collections::{BTreeMap, VecDeque};

use twqr_types::UnixMs;

use super::{Task, Transfer};
use crate::lane::QueuePlace;

/// A transfer that waits.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) offset: u64,
    pub(crate) task: Task,
    pub(crate) transfer: Transfer,
    pub(crate) place: QueuePlace,
}

/// By institution.
#[derive(Debug, Default)]
pub(crate) struct Waiting(BTreeMap<String, VecDeque<Waiter>>);

impl Waiting {
    pub(crate) fn push(&mut self, waiter: Waiter) {
        self.0.entry(waiter.task.record.institution.clone()).or_default().push_back(waiter);
    }

    /// Puts back what still has no place, where it was.
    pub(crate) fn push_front(&mut self, waiter: Waiter) {
        self.0.entry(waiter.task.record.institution.clone()).or_default().push_front(waiter);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The institutions for which somebody waits.
    pub(crate) fn institutions(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// Whoever waits longest for an institution.
    pub(crate) fn pop(&mut self, institution: &str) -> Option<Waiter> {
        let queue = self.0.get_mut(institution)?;
        let waiter = queue.pop_front();
        if queue.is_empty() {
            self.0.remove(institution);
        }
        waiter
    }

    /// When the first of those at the front must have been sent.
    pub(crate) fn next_send_by(&self) -> Option<UnixMs> {
        let fronts = self.0.values().filter_map(VecDeque::front);
        fronts.map(|waiter| UnixMs(waiter.task.record.send_by_ms)).min()
    }
}
