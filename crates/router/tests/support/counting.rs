//! A journal that counts the records of each partition that its readers return.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "not every test needs all of it")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use twqr_journal::{
    Ack, Assignments, Entry, Group, Journal, JournalError, Member, Offset, Partition, Position, Reader, Record,
    RepliesHold, Topic,
};
use twqr_journal_sim::SimSession;

type Counts = Arc<Mutex<BTreeMap<Partition, usize>>>;

/// One session of a simulated journal, with counts.
pub struct CountingJournal {
    pub session: Arc<SimSession>,
    counts: Counts,
}

impl CountingJournal {
    pub fn new(session: Arc<SimSession>) -> Arc<Self> {
        Arc::new(Self { session, counts: Counts::default() })
    }

    /// How many records of the partition were read so far.
    pub fn read(&self, partition: Partition) -> usize {
        self.counts.lock().unwrap().get(&partition).copied().unwrap_or_default()
    }
}

struct CountingReader {
    inner: Box<dyn Reader>,
    partition: Partition,
    counts: Counts,
}

#[async_trait]
impl Reader for CountingReader {
    async fn next(&mut self, max: usize) -> Result<Vec<Record>, JournalError> {
        let records = self.inner.next(max).await?;
        *self.counts.lock().unwrap().entry(self.partition).or_default() += records.len();
        Ok(records)
    }
}

#[async_trait]
impl Journal for CountingJournal {
    fn partitions(&self, topic: Topic) -> u32 {
        self.session.partitions(topic)
    }

    fn is_shared(&self) -> bool {
        self.session.is_shared()
    }

    fn append(&self, partition: Partition, entries: Vec<Entry>) -> Ack {
        self.session.append(partition, entries)
    }

    async fn reader(&self, partition: Partition, from: Offset) -> Result<Box<dyn Reader>, JournalError> {
        let inner = self.session.reader(partition, from).await?;
        Ok(Box::new(CountingReader { inner, partition, counts: self.counts.clone() }))
    }

    async fn end(&self, partition: Partition) -> Result<Offset, JournalError> {
        self.session.end(partition).await
    }

    async fn start(&self, partition: Partition) -> Result<Offset, JournalError> {
        self.session.start(partition).await
    }

    async fn assignments(&self, topic: Topic, member: &str) -> Result<Box<dyn Assignments>, JournalError> {
        self.session.assignments(topic, member).await
    }

    async fn members(&self) -> Result<BTreeSet<Member>, JournalError> {
        self.session.members().await
    }

    async fn hold_replies(&self, member: &str) -> Result<RepliesHold, JournalError> {
        self.session.hold_replies(member).await
    }

    fn commit(&self, group: Group, partition: Partition, position: Position) -> Ack {
        self.session.commit(group, partition, position)
    }

    async fn position(&self, group: Group, partition: Partition) -> Result<Option<Position>, JournalError> {
        self.session.position(group, partition).await
    }

    async fn close(&self) {
        self.session.close().await;
    }
}
