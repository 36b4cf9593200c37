//! The embedded journal, which a test makes fail with errors that name a host and a file.

#![allow(unreachable_pub, reason = "shared by tests")]

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use twqr_journal::{
    Ack, Assignments, Entry, Group, Journal, JournalError, Member, Offset, Partition, Position, Reader, RepliesHold,
    Topic, embedded::EmbeddedJournal,
};

/// What the errors say.
const PLANTED: &str = "planted: /var/lib/twqr is full at broker-1.internal:9092";

/// The embedded journal with faults that a test can switch on.
pub struct FailingJournal {
    inner: Arc<EmbeddedJournal>,
    /// The ends of partitions are not told, and no new reader is opened.
    pub reads_fail: AtomicBool,
    /// Appends are refused.
    pub appends_fail: AtomicBool,
}

impl FailingJournal {
    /// A journal without faults at first.
    pub fn new(inner: Arc<EmbeddedJournal>) -> Self {
        Self { inner, reads_fail: AtomicBool::new(false), appends_fail: AtomicBool::new(false) }
    }

    fn check_reads(&self) -> Result<(), JournalError> {
        let fails = self.reads_fail.load(Ordering::SeqCst);
        if fails { Err(JournalError::Unreachable(PLANTED.into())) } else { Ok(()) }
    }
}

#[async_trait]
impl Journal for FailingJournal {
    fn partitions(&self, topic: Topic) -> u32 {
        self.inner.partitions(topic)
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }

    fn append(&self, partition: Partition, entries: Vec<Entry>) -> Ack {
        if self.appends_fail.load(Ordering::SeqCst) {
            return Ack::refused(partition, PLANTED);
        }
        self.inner.append(partition, entries)
    }

    async fn reader(&self, partition: Partition, from: Offset) -> Result<Box<dyn Reader>, JournalError> {
        self.check_reads()?;
        self.inner.reader(partition, from).await
    }

    async fn end(&self, partition: Partition) -> Result<Offset, JournalError> {
        self.check_reads()?;
        self.inner.end(partition).await
    }

    async fn start(&self, partition: Partition) -> Result<Offset, JournalError> {
        self.check_reads()?;
        self.inner.start(partition).await
    }

    async fn assignments(&self, topic: Topic, member: &str) -> Result<Box<dyn Assignments>, JournalError> {
        self.inner.assignments(topic, member).await
    }

    async fn hold_replies(&self, member: &str) -> Result<RepliesHold, JournalError> {
        self.inner.hold_replies(member).await
    }

    async fn members(&self) -> Result<BTreeSet<Member>, JournalError> {
        self.inner.members().await
    }

    fn commit(&self, group: Group, partition: Partition, position: Position) -> Ack {
        self.inner.commit(group, partition, position)
    }

    async fn position(&self, group: Group, partition: Partition) -> Result<Option<Position>, JournalError> {
        self.inner.position(group, partition).await
    }

    async fn close(&self) {
        Journal::close(&*self.inner).await;
    }
}
