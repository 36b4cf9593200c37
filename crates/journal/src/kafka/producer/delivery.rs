//! An append on its way to the broker, which may be split into several messages. Its
//! acknowledgement resolves with the result of the last one.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::{Ack, AckSender, JournalError, LogTime, Partition, kafka::lock};

/// How long closing the journal waits for appends in progress.
pub(super) const CLOSE: Duration = Duration::from_secs(5);
/// How many messages may wait for the broker before further ones are refused.
pub(super) const QUEUED_MESSAGES_MAX: usize = 500_000;
/// The reason why an append is refused beyond [`QUEUED_MESSAGES_MAX`], or beyond its bytes.
pub(super) const QUEUE_FULL: &str =
    "too many appends wait for the broker already, or the journal is closed; try again later";

/// An append whose messages are being delivered.
pub(super) struct Delivery {
    partition: Partition,
    /// How many of its messages have no result yet.
    left: AtomicUsize,
    /// Whether a broker may have one of its messages.
    is_sent: AtomicBool,
    /// The first failure of a message.
    failure: Mutex<Option<String>>,
    /// When the broker took the message that was reported last, if it stamps messages.
    log_time: Mutex<Option<LogTime>>,
    sender: Mutex<Option<AckSender>>,
}

impl Delivery {
    /// An append of so many messages, and what its author waits for.
    pub(super) fn new(partition: Partition, messages: usize) -> (Self, Ack) {
        let (sender, ack) = Ack::pending(partition);
        let (left, sender) = (AtomicUsize::new(messages), Mutex::new(Some(sender)));
        let is_sent = AtomicBool::new(false);
        (Self { partition, left, is_sent, failure: Mutex::default(), log_time: Mutex::default(), sender }, ack)
    }

    pub(super) fn partition(&self) -> Partition {
        self.partition
    }

    /// Notes that a message is about to be sent: from now on nothing proves that the append is not
    /// in the log.
    pub(super) fn note_sent(&self) {
        self.is_sent.store(true, Ordering::Release);
    }

    /// Counts one message as written; the last one resolves the acknowledgement.
    pub(super) fn written(&self, at: Option<LogTime>) {
        if at.is_some() {
            *lock(&self.log_time) = at;
        }
        self.complete_one();
    }

    /// Counts one message as failed, perhaps after it was written.
    pub(super) fn fail(&self, reason: &str) {
        lock(&self.failure).get_or_insert_with(|| reason.to_owned());
        self.complete_one();
    }

    /// Counts one message as given up before it was sent. If none of the append was, all of it is
    /// refused; then all its messages must be given up.
    pub(super) fn give_up(&self, reason: &str) {
        if self.is_sent.load(Ordering::Acquire) { self.fail(reason) } else { self.refuse(reason) }
    }

    /// Resolves the acknowledgement of an append of which nothing was sent.
    pub(super) fn refuse(&self, reason: &str) {
        if let Some(sender) = lock(&self.sender).take() {
            sender.send(Err(JournalError::AppendRefused { partition: self.partition, reason: reason.into() }));
        }
    }

    fn complete_one(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(sender) = lock(&self.sender).take()
        {
            let partition = self.partition;
            sender.send_with_time(match lock(&self.failure).take() {
                None => Ok(*lock(&self.log_time)),
                Some(reason) => Err(JournalError::AppendUnknown { partition, reason: reason.into() }),
            });
        }
    }
}
