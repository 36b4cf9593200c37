//! The embedded journal, with faults that a test switches on while an ingress uses it.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use twqr_journal::{
    Ack, Assignments, Entry, Group, Journal, JournalError, Member, Offset, Partition, Position, Reader, Record,
    RepliesHold, Topic, embedded::EmbeddedJournal,
};

/// The embedded journal with faults that a test can switch on.
pub struct FaultyJournal {
    inner: Arc<EmbeddedJournal>,
    /// Reads of `replies` fail.
    pub unreadable: Arc<AtomicBool>,
    /// Appends to `orders` are never acknowledged.
    pub silent: AtomicBool,
    /// Appends to `orders` are refused.
    pub refusing: AtomicBool,
    /// `callers` cannot be read.
    pub callers_hidden: AtomicBool,
}

impl FaultyJournal {
    /// A journal without faults at first.
    pub fn new(inner: Arc<EmbeddedJournal>) -> Self {
        Self {
            inner,
            unreadable: Arc::default(),
            silent: AtomicBool::new(false),
            refusing: AtomicBool::new(false),
            callers_hidden: AtomicBool::new(false),
        }
    }
}

struct FaultyReader {
    inner: Box<dyn Reader>,
    partition: Partition,
    unreadable: Arc<AtomicBool>,
}

#[async_trait]
impl Reader for FaultyReader {
    async fn next(&mut self, max: usize) -> Result<Vec<Record>, JournalError> {
        loop {
            if self.unreadable.load(Ordering::Acquire) {
                return Err(JournalError::Read { partition: self.partition, reason: "planted".into() });
            }
            if let Ok(read) = tokio::time::timeout(Duration::from_millis(20), self.inner.next(max)).await {
                return read;
            }
        }
    }
}

#[async_trait]
impl Journal for FaultyJournal {
    fn partitions(&self, topic: Topic) -> u32 {
        self.inner.partitions(topic)
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }

    async fn start(&self, partition: Partition) -> Result<Offset, JournalError> {
        self.inner.start(partition).await
    }

    async fn close(&self) {
        Journal::close(&*self.inner).await;
    }

    fn append(&self, partition: Partition, entries: Vec<Entry>) -> Ack {
        if self.silent.load(Ordering::Acquire) && partition.topic == Topic::Orders {
            let (sender, ack) = Ack::pending(partition);
            std::mem::forget(sender);
            return ack;
        }
        if self.refusing.load(Ordering::Acquire) && partition.topic == Topic::Orders {
            return Ack::refused(partition, "planted: /var/lib/twqr is full at broker-1.internal:9092");
        }
        self.inner.append(partition, entries)
    }

    async fn reader(&self, partition: Partition, from: Offset) -> Result<Box<dyn Reader>, JournalError> {
        if self.unreadable.load(Ordering::Acquire) && partition.topic == Topic::Replies {
            return Err(JournalError::Read { partition, reason: "planted".into() });
        }
        if self.callers_hidden.load(Ordering::Acquire) && partition.topic == Topic::Callers {
            return Err(JournalError::Read { partition, reason: "planted".into() });
        }
        let reader = self.inner.reader(partition, from).await?;
        if partition.topic != Topic::Replies {
            return Ok(reader);
        }
        Ok(Box::new(FaultyReader { inner: reader, partition, unreadable: self.unreadable.clone() }))
    }

    async fn end(&self, partition: Partition) -> Result<Offset, JournalError> {
        self.inner.end(partition).await
    }

    async fn assignments(&self, topic: Topic, member: &str) -> Result<Box<dyn Assignments>, JournalError> {
        self.inner.assignments(topic, member).await
    }

    async fn members(&self) -> Result<BTreeSet<Member>, JournalError> {
        self.inner.members().await
    }

    async fn hold_replies(&self, member: &str) -> Result<RepliesHold, JournalError> {
        self.inner.hold_replies(member).await
    }

    fn commit(&self, group: Group, partition: Partition, position: Position) -> Ack {
        self.inner.commit(group, partition, position)
    }

    async fn position(&self, group: Group, partition: Partition) -> Result<Option<Position>, JournalError> {
        self.inner.position(group, partition).await
    }
}
