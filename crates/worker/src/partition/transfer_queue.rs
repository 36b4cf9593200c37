//! Transfers that wait for a place in their issuer's lane, in the order of their tasks. Each waits
//! until its `send_by`. An idempotent one also waits for a connection, and for the issuer's circuit
//! to close; it has a queue of its own, so that the others are refused at once.

use std::collections::{BTreeMap, VecDeque};

use twqr_journal::Offset;
use twqr_order::Task;
use twqr_types::{Issuer, UnixMs};

use crate::lanes::QueuePlace;

/// A task that moves money, on its way to the issuer.
#[derive(Debug)]
pub(super) struct Transfer {
    /// The offset of its task.
    pub(super) offset: Offset,
    pub(super) task: Task,
    /// Whether this holder owns the task and has read it for the first time, so that no worker has
    /// sent it. Otherwise it is sent again, which only an idempotent one may be.
    pub(super) is_fresh: bool,
}

/// A transfer that waits.
#[derive(Debug)]
pub(super) struct QueuedTransfer {
    pub(super) transfer: Transfer,
    pub(super) place: QueuePlace,
}

/// Identifies a queue: the issuer, and whether its transfers are idempotent.
pub(super) type QueueKey = (Issuer, bool);

/// The transfers that wait.
#[derive(Debug, Default)]
pub(super) struct TransferQueue {
    queues: BTreeMap<QueueKey, VecDeque<QueuedTransfer>>,
    len: usize,
}

impl TransferQueue {
    pub(super) fn push(&mut self, queued: QueuedTransfer) {
        self.len += 1;
        self.queue_of(&queued).push_back(queued);
    }

    /// Puts a transfer back that was first in its queue and must wait longer.
    pub(super) fn push_front(&mut self, queued: QueuedTransfer) {
        self.len += 1;
        self.queue_of(&queued).push_front(queued);
    }

    fn queue_of(&mut self, queued: &QueuedTransfer) -> &mut VecDeque<QueuedTransfer> {
        let task = &queued.transfer.task;
        self.queues.entry((task.issuer, task.is_idempotent)).or_default()
    }

    /// How many transfers wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The queues that are not empty.
    pub(super) fn keys(&self) -> Vec<QueueKey> {
        self.queues.keys().copied().collect()
    }

    /// Takes the transfer that has waited longest in a queue.
    pub(super) fn pop(&mut self, key: QueueKey) -> Option<QueuedTransfer> {
        let queue = self.queues.get_mut(&key)?;
        let queued = queue.pop_front();
        self.len -= usize::from(queued.is_some());
        if queue.is_empty() {
            self.queues.remove(&key);
        }
        queued
    }

    /// The transfers that are first in their queues.
    pub(super) fn first(&self) -> impl Iterator<Item = &Task> {
        self.queues.values().filter_map(VecDeque::front).map(|queued| &queued.transfer.task)
    }

    /// The earliest `send_by` of the first transfers in the queues.
    pub(super) fn next_send_by(&self) -> Option<UnixMs> {
        self.first().map(|task| task.send_by).min()
    }
}
