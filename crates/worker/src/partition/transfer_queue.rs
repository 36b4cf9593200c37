//! Fresh transfers that wait for a place in their issuer's lane, in the order of their tasks. Each
//! waits until its `send_by`; the lane bounds how many wait.

use std::collections::{BTreeMap, VecDeque};

use twqr_journal::Offset;
use twqr_order::Task;
use twqr_types::{Issuer, UnixMs};

use crate::lanes::QueuePlace;

/// A transfer that waits.
#[derive(Debug)]
pub(super) struct QueuedTransfer {
    /// The offset of its task.
    pub(super) offset: Offset,
    pub(super) task: Task,
    pub(super) place: QueuePlace,
}

/// The transfers that wait, by issuer.
#[derive(Debug, Default)]
pub(super) struct TransferQueue(BTreeMap<Issuer, VecDeque<QueuedTransfer>>);

impl TransferQueue {
    pub(super) fn push(&mut self, transfer: QueuedTransfer) {
        self.0.entry(transfer.task.issuer).or_default().push_back(transfer);
    }

    /// Puts a transfer back that was first in its queue and must wait longer.
    pub(super) fn push_front(&mut self, transfer: QueuedTransfer) {
        self.0.entry(transfer.task.issuer).or_default().push_front(transfer);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The issuers for which transfers wait.
    pub(super) fn issuers(&self) -> Vec<Issuer> {
        self.0.keys().copied().collect()
    }

    /// Takes the transfer that has waited longest for an issuer.
    pub(super) fn pop(&mut self, issuer: Issuer) -> Option<QueuedTransfer> {
        let queue = self.0.get_mut(&issuer)?;
        let transfer = queue.pop_front();
        if queue.is_empty() {
            self.0.remove(&issuer);
        }
        transfer
    }

    /// The earliest `send_by` of the first transfers in the queues.
    pub(super) fn next_send_by(&self) -> Option<UnixMs> {
        self.0.values().filter_map(VecDeque::front).map(|transfer| transfer.task.send_by).min()
    }
}
