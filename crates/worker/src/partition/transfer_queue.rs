//! Transfers that wait until their issuer's lane allows another call, or for the key of their card
//! token, in the order of their tasks. Each waits until its `send_by` at most. Idempotent transfers
//! also wait for a connection, and for the issuer's circuit to close; they have a separate queue,
//! so that the others can be refused at once. Transfers that wait for a key have a separate queue,
//! too, so that they delay no others.

use std::collections::{BTreeMap, VecDeque};

use twqr_journal::Offset;
use twqr_order::Task;
use twqr_types::{Issuer, UnixMs};

use crate::{lanes::QueuePlace, obstacle::Obstacle};

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
    pub(super) waits_for: WaitsFor,
}

/// The reason why a transfer waits.
#[derive(Debug)]
pub(super) enum WaitsFor {
    /// A slot in flight; meanwhile it has this slot in the queue of the lane.
    Place(#[allow(dead_code, reason = "it is given back when this is dropped")] QueuePlace),
    /// The card key with this name.
    CardKey(Box<str>),
}

impl WaitsFor {
    /// The reason why a transfer that waits for this is not sent, once its `send_by` has passed.
    pub(super) fn when_late(&self) -> Obstacle {
        match self {
            Self::Place(_) => Obstacle::LateInQueue,
            Self::CardKey(_) => Obstacle::CardKeyMissing,
        }
    }
}

/// Identifies a queue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct QueueKey {
    issuer: Issuer,
    is_idempotent: bool,
    /// The card key that its transfers wait for.
    card_key: Option<Box<str>>,
}

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
        let Task { issuer, is_idempotent, .. } = queued.transfer.task;
        let card_key = match &queued.waits_for {
            WaitsFor::Place(_) => None,
            WaitsFor::CardKey(name) => Some(name.clone()),
        };
        self.queues.entry(QueueKey { issuer, is_idempotent, card_key }).or_default()
    }

    /// How many transfers wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The queues that are not empty.
    pub(super) fn keys(&self) -> Vec<QueueKey> {
        self.queues.keys().cloned().collect()
    }

    /// Takes the transfer that has waited longest in a queue.
    pub(super) fn pop(&mut self, key: &QueueKey) -> Option<QueuedTransfer> {
        let queue = self.queues.get_mut(key)?;
        let queued = queue.pop_front();
        self.len -= usize::from(queued.is_some());
        if queue.is_empty() {
            self.queues.remove(key);
        }
        queued
    }

    /// The transfers that wait for a slot and are first in their queues.
    pub(super) fn first_for_places(&self) -> impl Iterator<Item = &Task> {
        let waits_for_place = |queued: &&QueuedTransfer| matches!(queued.waits_for, WaitsFor::Place(_));
        self.first().filter(waits_for_place).map(|queued| &queued.transfer.task)
    }

    fn first(&self) -> impl Iterator<Item = &QueuedTransfer> {
        self.queues.values().filter_map(VecDeque::front)
    }

    /// The earliest `send_by` of the first transfers in the queues.
    pub(super) fn next_send_by(&self) -> Option<UnixMs> {
        self.first().map(|queued| queued.transfer.task.send_by).min()
    }
}
