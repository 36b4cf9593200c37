//! The journal: topics, each divided into partitions. A partition is a totally ordered sequence of
//! records. Every append to it is acknowledged, and readers read it in order.
//!
//! [`Journal`] has only the operations that the services need, so it can also be implemented
//! without Apache Kafka. [`embedded`] keeps the records in a folder of one process, [`kafka`]
//! serves many machines, and the crate `twqr-journal-sim` gives tests a journal in memory with
//! virtual time and faults. Each of them passes the conformance suite, the crate
//! `twqr-journal-conformance`.
//!
//! The journal does not decide which process owns a partition. Services claim partitions with
//! records that they write and read back (protocol rule P4 in `crates/ARCHITECTURE.md`); group
//! membership only suggests which partitions to claim.
//!
//! To implement the trait elsewhere, use [`Ack::pending`] with [`AckSender`], [`RepliesHold::new`],
//! [`check_entries`] and [`Position::check`], and run the conformance suite.

mod ack;
pub mod embedded;
mod error;
pub mod kafka;
mod metrics;
mod record;
mod topic;
mod whole;

use std::{collections::BTreeSet, fmt};

use async_trait::async_trait;
use bytes::Bytes;

pub use crate::metrics::METRICS;
pub use ack::{Ack, AckSender, LogTime};
pub use error::JournalError;
pub use record::{ENTRY_BYTES_MAX, Entry, POSITION_METADATA_BYTES_MAX, Position, Record, check_entries};
pub use topic::{Group, Offset, Partition, Topic};
pub use whole::{MarkOf, Witness, check_end, read_whole};

/// One process's access to the journal.
#[async_trait]
pub trait Journal: Send + Sync + 'static {
    /// How many partitions a topic has: fixed at its creation.
    fn partitions(&self, topic: Topic) -> u32;

    /// Whether other processes can take over the partitions of this one.
    fn is_shared(&self) -> bool;

    /// Appends the entries in this order, after everything that this process appended to the
    /// partition before. Returns at once; the acknowledgement follows when all entries are durable.
    ///
    /// No reader sees an entry before it is durable (on [`Topic::Replies`]: before it is accepted).
    /// Dropping the acknowledgement does not withdraw the append.
    fn append(&self, partition: Partition, entries: Vec<Entry>) -> Ack;

    /// Reads from `from`, or from the oldest record that is still kept, if that is later.
    async fn reader(&self, partition: Partition, from: Offset) -> Result<Box<dyn Reader>, JournalError>;

    /// Like [`Journal::reader`], for readers that are not in a hurry: records may arrive up to 50
    /// ms later, which saves requests.
    async fn follower(&self, partition: Partition, from: Offset) -> Result<Box<dyn Reader>, JournalError> {
        self.reader(partition, from).await
    }

    /// The offset after the newest readable record: a reader that has reached it has read
    /// everything that was acknowledged before this call.
    async fn end(&self, partition: Partition) -> Result<Offset, JournalError>;

    /// The offset of the oldest record that is kept, or [`Journal::end`] if there is no record. A
    /// reader that starts there reaches the end, because compaction never removes the newest
    /// record.
    async fn start(&self, partition: Partition) -> Result<Offset, JournalError>;

    /// Joins the group that divides the partitions of a topic among processes. The group proposes
    /// which of them this process should claim; the proposal gives no right to them. `member` must
    /// be unique, and the same after a restart.
    async fn assignments(&self, topic: Topic, member: &str) -> Result<Box<dyn Assignments>, JournalError>;

    /// Reserves a partition of `replies` that no other living process has reserved, until the
    /// returned hold is dropped.
    async fn hold_replies(&self, member: &str) -> Result<RepliesHold, JournalError>;

    /// The processes that the journal itself knows: the members of the groups, and who holds a
    /// partition of `replies`. They are of any build, and need not have written a record. One that
    /// was killed counts for as long as its group takes to notice.
    async fn members(&self) -> Result<BTreeSet<Member>, JournalError>;

    /// Stores a position. Positions of one group and partition are stored in the order of the
    /// calls.
    fn commit(&self, group: Group, partition: Partition, position: Position) -> Ack;

    /// The position that was stored last, if any.
    async fn position(&self, group: Group, partition: Partition) -> Result<Option<Position>, JournalError>;

    /// Finishes the appends in progress and refuses new ones. Called once, at the end of the
    /// process.
    async fn close(&self);
}

/// A process that the journal knows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Member {
    /// A member of the group of a topic, by the name with which it joined.
    Group(String),
    /// The holder of this partition of `replies`.
    Replies(u32),
}

/// Reads one partition in order.
#[async_trait]
pub trait Reader: Send {
    /// Waits for at least one record, then returns at most `max` records, with strictly growing
    /// offsets. Cancelling the call loses no record.
    async fn next(&mut self, max: usize) -> Result<Vec<Record>, JournalError>;
}

/// Finds single entries of a compacted topic, where the journal keeps them by key.
pub trait NewestByKey: Send + Sync + 'static {
    /// The value of the key's newest entry; `None` if there is no entry, or the newest one has no
    /// value. May wait for the disk. The entry may be one that is being appended, so that readers
    /// of the partition do not see it yet.
    fn newest(&self, partition: Partition, key: &[u8]) -> Result<Option<Bytes>, JournalError>;
}

/// The partitions that this process should claim. Dropping this leaves the group, which then
/// assigns the partitions to other members.
#[async_trait]
pub trait Assignments: Send {
    /// The first call returns the current set, after waiting for it if necessary; each later call
    /// waits for a change and returns the new set. The call may be cancelled.
    async fn changed(&mut self) -> Result<BTreeSet<u32>, JournalError>;
}

/// A reserved partition of `replies`; dropping it releases the partition.
pub struct RepliesHold {
    /// The reserved partition, always of [`Topic::Replies`].
    pub partition: Partition,
    guard: Option<Box<dyn Send + Sync>>,
}

impl RepliesHold {
    /// Dropping `guard` must release the partition; without a guard there is nothing to release.
    pub fn new(partition: Partition, guard: Option<Box<dyn Send + Sync>>) -> Self {
        Self { partition, guard }
    }
}

impl fmt::Debug for RepliesHold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RepliesHold({}, {})", self.partition, if self.guard.is_some() { "guarded" } else { "unguarded" })
    }
}
