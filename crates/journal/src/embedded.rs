//! The journal in a folder of one machine, durable across kill -9.
//!
//! A single committer thread writes everything that is queued in one batch with one data sync, and
//! only then makes it readable. Batches need no timer: appends that arrive during a sync form the
//! next batch.

mod committer;
mod disk;
mod floors;
mod reader;
mod record_key;
mod tail;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    num::NonZeroU32,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    Ack, Assignments, Entry, Group, Journal, JournalError, Member, NewestByKey, Offset, Partition, Position, Reader,
    RepliesHold, Topic, check_entries, metrics,
};
use committer::{Committer, Work};
use disk::Disk;
pub use disk::{read_stored, stored_form};
use tail::Tails;

/// The folder of an embedded journal, and how many partitions it has.
#[derive(Clone, Debug)]
pub struct EmbeddedSettings {
    /// The folder; created with mode 0700, because records contain card tokens.
    pub dir: PathBuf,
    /// Partitions of `orders` and `order-states`: 1 to 1024, fixed when the folder is created.
    pub shards: NonZeroU32,
    /// Partitions of each task topic: 1 to `shards`, fixed when the folder is created.
    pub task_partitions: NonZeroU32,
}

/// How long one write may take; after that the disk counts as failed.
const WRITE_WITHIN: Duration = Duration::from_secs(30);
/// How often the committer is checked for a failure.
const FAILURE_CHECK: Duration = Duration::from_millis(200);

/// Partitions of `replies`: the largest number of ingress instances.
const REPLIES_PARTITIONS: u32 = 16;

impl EmbeddedSettings {
    fn partitions(&self, topic: Topic) -> u32 {
        match topic {
            Topic::Orders | Topic::OrderStates => self.shards.get(),
            Topic::WalletTasks | Topic::FiscTasks => self.task_partitions.get(),
            Topic::Replies => REPLIES_PARTITIONS,
            Topic::DeadLetters | Topic::Callers => 1,
        }
    }
}

/// The journal in a folder, which only one process can have open at a time.
pub struct EmbeddedJournal {
    settings: EmbeddedSettings,
    disk: Arc<Disk>,
    tails: Arc<Tails>,
    committer: Arc<Committer>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Indices of the reserved partitions of `replies`.
    held_replies: Arc<Mutex<BTreeSet<u32>>>,
}

impl EmbeddedJournal {
    /// Opens or creates the journal. Errors name the folder and what to do.
    pub fn open(settings: EmbeddedSettings) -> Result<Arc<Self>, JournalError> {
        metrics::register();
        let counts: BTreeMap<Topic, u32> = Topic::ALL.map(|topic| (topic, settings.partitions(topic))).into();
        let disk = Arc::new(Disk::open(&settings.dir, &counts)?);
        let tails = Arc::new(Tails::new(&counts, &disk)?);
        let committer = Arc::new(Committer::default());
        let run = {
            let (disk, tails, committer) = (disk.clone(), tails.clone(), committer.clone());
            move || committer.run(&disk, &tails)
        };
        let thread = std::thread::Builder::new()
            .name("journal-commit".to_owned())
            .spawn(run)
            .map_err(|error| JournalError::Unusable(format!("cannot start the committer: {error}").into()))?;
        let held_replies = Arc::default();
        Ok(Arc::new(Self { settings, disk, tails, committer, thread: Mutex::new(Some(thread)), held_replies }))
    }

    /// Deletes the records below `floor`, which must not be above the partition's end. Offsets
    /// continue where they were. Readers begin at the floor at once; [`Self::compact`] removes the
    /// records from the disk. Only topics for which [`Topic::is_trimmed`] holds can be trimmed.
    pub fn trim(&self, partition: Partition, floor: Offset) -> Ack {
        let Some(tail) = self.tails.get(partition) else {
            return Ack::ready(partition, Err(JournalError::NoPartition(partition)));
        };
        if !partition.topic.is_trimmed() || floor > tail.end() {
            let reason = format!("cannot be trimmed below {floor}; its end is {}", tail.end());
            return Ack::refused(partition, reason);
        }
        let (sender, ack) = Ack::pending(partition);
        self.committer.push(Work::Trim { partition, floor, sender });
        ack
    }

    /// Removes trimmed records from the disk; takes long if there is much to keep. The newest 64 MB
    /// of the write-ahead log may still contain them, until further writes replace it.
    pub async fn compact(&self, topic: Topic) -> Result<(), JournalError> {
        let disk = self.disk.clone();
        let compacted = tokio::task::spawn_blocking(move || disk.compact(topic)).await;
        let unusable =
            |error: &dyn std::fmt::Display| JournalError::Unusable(format!("compacting failed: {error}").into());
        compacted.map_err(|error| unusable(&error))?.map_err(|error| unusable(&error))
    }

    /// The bytes that the folder takes on disk.
    pub fn bytes(&self) -> Result<u64, JournalError> {
        self.disk.bytes().map_err(|error| JournalError::Unusable(error.to_string().into()))
    }

    /// Waits until the journal cannot write any more, and returns why. Only a restart helps then.
    pub async fn failed(&self) -> String {
        loop {
            if let Some(why) = self.committer.failure(WRITE_WITHIN) {
                return why;
            }
            tokio::time::sleep(FAILURE_CHECK).await;
        }
    }

    /// Refuses new appends, writes what is queued, and waits until the committer has ended.
    pub fn close(&self) {
        self.committer.close();
        if let Some(thread) = self.take_thread() {
            drop(thread.join());
        }
    }

    fn take_thread(&self) -> Option<JoinHandle<()>> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Reads the disk on a thread that may block.
    async fn read<T: Send + 'static>(
        &self,
        partition: Partition,
        read: impl FnOnce(&Disk) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let disk = self.disk.clone();
        let failed = |error: tokio::task::JoinError| JournalError::Read { partition, reason: error.to_string().into() };
        tokio::task::spawn_blocking(move || read(&disk)).await.map_err(failed)?
    }
}

impl Drop for EmbeddedJournal {
    fn drop(&mut self) {
        self.close();
    }
}

#[async_trait]
impl Journal for EmbeddedJournal {
    fn partitions(&self, topic: Topic) -> u32 {
        self.settings.partitions(topic)
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn append(&self, partition: Partition, entries: Vec<Entry>) -> Ack {
        let Some(tail) = self.tails.get(partition) else {
            return Ack::ready(partition, Err(JournalError::NoPartition(partition)));
        };
        if let Err(reason) = check_entries(&entries) {
            return Ack::refused(partition, reason);
        }
        if partition.topic == Topic::Replies {
            // A reply need not be durable: the records that led to it are on disk already, and the
            // call that waits for it ends with this process at the latest.
            tail.publish_entries(entries);
            return Ack::ready(partition, Ok(()));
        }
        let (sender, ack) = Ack::pending(partition);
        self.committer.push(Work::Append { partition, entries, sender });
        ack
    }

    async fn reader(&self, partition: Partition, from: Offset) -> Result<Box<dyn Reader>, JournalError> {
        let tail = self.tails.get(partition).ok_or(JournalError::NoPartition(partition))?;
        Ok(Box::new(reader::EmbeddedReader::new(partition, from, tail, self.disk.clone())))
    }

    async fn end(&self, partition: Partition) -> Result<Offset, JournalError> {
        let tail = self.tails.get(partition).ok_or(JournalError::NoPartition(partition))?;
        Ok(tail.end())
    }

    async fn start(&self, partition: Partition) -> Result<Offset, JournalError> {
        let tail = self.tails.get(partition).ok_or(JournalError::NoPartition(partition))?;
        if partition.topic == Topic::Replies {
            return Ok(tail.first());
        }
        self.read(partition, move |disk| disk.start(partition)).await
    }

    async fn assignments(&self, topic: Topic, _member: &str) -> Result<Box<dyn Assignments>, JournalError> {
        Ok(Box::new(AllPartitions(Some((0..self.partitions(topic)).collect()))))
    }

    async fn members(&self) -> Result<BTreeSet<Member>, JournalError> {
        // The one process that uses it knows itself.
        Ok(BTreeSet::new())
    }

    async fn hold_replies(&self, _member: &str) -> Result<RepliesHold, JournalError> {
        let mut held = self.held_replies.lock().unwrap_or_else(PoisonError::into_inner);
        let free = (0..REPLIES_PARTITIONS).find(|index| held.insert(*index));
        let index = free.ok_or_else(|| {
            JournalError::Unusable(
                format!("all {REPLIES_PARTITIONS} partitions of replies are held; stop an ingress").into(),
            )
        })?;
        let guard = EmbeddedRepliesGuard { index, held: self.held_replies.clone() };
        Ok(RepliesHold::new(Partition { topic: Topic::Replies, index }, Some(Box::new(guard))))
    }

    fn commit(&self, group: Group, partition: Partition, position: Position) -> Ack {
        if let Err(reason) = position.check() {
            return Ack::refused(partition, reason);
        }
        let (sender, ack) = Ack::pending(partition);
        self.committer.push(Work::Commit { group, partition, position, sender });
        ack
    }

    async fn position(&self, group: Group, partition: Partition) -> Result<Option<Position>, JournalError> {
        self.read(partition, move |disk| disk.position(group, partition)).await
    }

    async fn close(&self) {
        self.committer.close();
        if let Some(thread) = self.take_thread() {
            drop(tokio::task::spawn_blocking(move || thread.join()).await);
        }
    }
}

impl NewestByKey for EmbeddedJournal {
    fn newest(&self, partition: Partition, key: &[u8]) -> Result<Option<Bytes>, JournalError> {
        self.disk.newest(partition, key)
    }
}

/// Assigns every partition to the one process, in one call. The set never changes afterwards.
struct AllPartitions(Option<BTreeSet<u32>>);

#[async_trait]
impl Assignments for AllPartitions {
    async fn changed(&mut self) -> Result<BTreeSet<u32>, JournalError> {
        match self.0.take() {
            Some(all) => Ok(all),
            None => pending().await,
        }
    }
}

/// Releases a partition of `replies` when it is dropped.
struct EmbeddedRepliesGuard {
    index: u32,
    held: Arc<Mutex<BTreeSet<u32>>>,
}

impl Drop for EmbeddedRepliesGuard {
    fn drop(&mut self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.index);
    }
}
