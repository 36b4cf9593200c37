//! A journal in memory whose appends to `orders` can be made to go wrong.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use tokio::sync::watch;
use twqr_journal::{
    Ack, Assignments, Entry, Group, Journal, JournalError, Offset, Partition, Position, Reader, Record, RepliesHold,
    Topic,
};

/// What becomes of an append to `orders`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is written and acknowledged.
    Written,
    /// It is refused.
    Refused,
    /// It is written, and the acknowledgement is lost.
    WrittenUnknown,
    /// It is lost, and nobody says so.
    LostUnknown,
}

pub struct FakeJournal {
    logs: Mutex<HashMap<Partition, Vec<Record>>>,
    pub fate: Mutex<Fate>,
    /// The next read of `replies` fails.
    pub break_reader: Arc<AtomicBool>,
    changed: watch::Sender<()>,
}

pub const SHARDS: u32 = 4;
pub const REPLIES: Partition = Partition { topic: Topic::Replies, index: 1 };

impl FakeJournal {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            logs: Mutex::default(),
            fate: Mutex::new(Fate::Written),
            break_reader: Arc::default(),
            changed: watch::Sender::new(()),
        })
    }

    pub fn write(&self, partition: Partition, entries: Vec<Entry>) {
        let mut logs = self.logs.lock().unwrap();
        let log = logs.entry(partition).or_default();
        for entry in entries {
            log.push(Record { offset: log.len() as u64, entry });
        }
        drop(logs);
        self.changed.send_replace(());
    }

    pub fn read(&self, partition: Partition, from: Offset) -> Vec<Record> {
        let logs = self.logs.lock().unwrap();
        logs.get(&partition).map_or_else(Vec::new, |log| log.iter().skip(from as usize).cloned().collect())
    }

    /// Every record of `orders`, shard by shard.
    pub fn orders(&self) -> Vec<Record> {
        (0..SHARDS).flat_map(|index| self.read(Partition { topic: Topic::Orders, index }, 0)).collect()
    }

    pub async fn changed(changes: &mut watch::Receiver<()>) {
        changes.changed().await.unwrap();
    }

    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

struct FakeReader {
    journal: Arc<FakeJournal>,
    partition: Partition,
    next: Offset,
    changes: watch::Receiver<()>,
}

#[async_trait]
impl Reader for FakeReader {
    async fn next(&mut self, max: usize) -> Result<Vec<Record>, JournalError> {
        loop {
            if self.partition == REPLIES && self.journal.break_reader.swap(false, Ordering::SeqCst) {
                return Err(JournalError::Read { partition: self.partition, reason: "broken by the test".into() });
            }
            self.changes.mark_unchanged();
            let mut records = self.journal.read(self.partition, self.next);
            records.truncate(max);
            if let Some(last) = records.last() {
                self.next = last.offset + 1;
                return Ok(records);
            }
            FakeJournal::changed(&mut self.changes).await;
        }
    }
}

/// The journal as the ingress gets it.
pub struct Handle(pub Arc<FakeJournal>);

#[async_trait]
impl Journal for Handle {
    fn partitions(&self, topic: Topic) -> u32 {
        if topic == Topic::Orders { SHARDS } else { 2 }
    }

    fn append(&self, partition: Partition, entries: Vec<Entry>) -> Ack {
        let fate = if partition.topic == Topic::Orders { *self.0.fate.lock().unwrap() } else { Fate::Written };
        if matches!(fate, Fate::Written | Fate::WrittenUnknown) {
            self.0.write(partition, entries);
        }
        let reason = "by the test".into();
        let result = match fate {
            Fate::Written => Ok(()),
            Fate::Refused => Err(JournalError::AppendRefused { partition, reason }),
            Fate::WrittenUnknown | Fate::LostUnknown => Err(JournalError::AppendUnknown { partition, reason }),
        };
        Ack::ready(partition, result)
    }

    async fn reader(&self, partition: Partition, from: Offset) -> Result<Box<dyn Reader>, JournalError> {
        let (journal, changes) = (Arc::clone(&self.0), self.0.changes());
        Ok(Box::new(FakeReader { journal, partition, next: from, changes }))
    }

    async fn end(&self, partition: Partition) -> Result<Offset, JournalError> {
        Ok(self.0.read(partition, 0).len() as u64)
    }

    async fn assignments(&self, _: Topic, _: &str) -> Result<Box<dyn Assignments>, JournalError> {
        struct Nothing;
        #[async_trait]
        impl Assignments for Nothing {
            async fn changed(&mut self) -> Result<BTreeSet<u32>, JournalError> {
                Ok(BTreeSet::new())
            }
        }
        Ok(Box::new(Nothing))
    }

    async fn hold_replies(&self, _: &str) -> Result<RepliesHold, JournalError> {
        Ok(RepliesHold::new(REPLIES, None))
    }

    fn commit(&self, _: Group, partition: Partition, _: Position) -> Ack {
        Ack::ready(partition, Ok(()))
    }

    async fn position(&self, _: Group, _: Partition) -> Result<Option<Position>, JournalError> {
        Ok(None)
    }
}
