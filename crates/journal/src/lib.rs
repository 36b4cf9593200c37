//! The journal: partitions of records in one total order each, appended with an acknowledgement and
//! read in order.
//!
//! The trait is what the services need of Apache Kafka and no more, so that three implementations
//! can pass one conformance suite (`tests/conformance`): [`embedded`] (one machine, durable),
//! [`kafka`] (many machines), and [`sim`] (tests: memory, virtual time, faults). The log fences,
//! not the implementation: claims and releases are records that the services write and read back,
//! and group membership is a hint.

mod ack;
pub mod embedded;
pub mod kafka;
pub mod sim;

use std::{collections::BTreeSet, fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;

pub use ack::{Ack, AckSender};

/// A topic of the bus (architecture, The services).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// Everything that can change an order.
    Orders,
    /// Checkpoints of the routers; compacted by key.
    OrderStates,
    /// Tasks for the wallet.
    WalletTasks,
    /// Tasks for the other issuers.
    FiscTasks,
    /// Answers for ingress instances. Needs no durability: who waits for one does not outlive its
    /// process.
    Replies,
    /// What could not be decoded.
    DeadLetters,
}

impl Topic {
    /// Every topic.
    pub const ALL: [Self; 6] =
        [Self::Orders, Self::OrderStates, Self::WalletTasks, Self::FiscTasks, Self::Replies, Self::DeadLetters];

    /// The topic's name on a broker and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::OrderStates => "order-states",
            Self::WalletTasks => "wallet-tasks",
            Self::FiscTasks => "fisc-tasks",
            Self::Replies => "replies",
            Self::DeadLetters => "dead-letters",
        }
    }

    /// Whether a newer record of a key makes the older ones superfluous.
    pub fn is_compacted(self) -> bool {
        self == Self::OrderStates
    }
}

/// A partition of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition {
    /// The topic.
    pub topic: Topic,
    /// 0 to the topic's number of partitions, exclusive.
    pub index: u32,
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic.name(), self.index)
    }
}

/// The place of a record in its partition. Offsets only grow; they may have gaps.
pub type Offset = u64;

/// What is appended. A compacted topic keeps the newest entry of each key; an entry without a value
/// removes the key.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Empty on topics that are not compacted.
    pub key: Bytes,
    /// None only on a compacted topic.
    pub value: Option<Bytes>,
}

impl Entry {
    /// An entry of a topic that is not compacted.
    pub fn plain(value: impl Into<Bytes>) -> Self {
        Self { key: Bytes::new(), value: Some(value.into()) }
    }
}

impl fmt::Debug for Entry {
    /// Lengths only: a record may hold a card token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value.as_ref().map(Bytes::len);
        f.debug_struct("Entry").field("key_bytes", &self.key.len()).field("value_bytes", &value).finish()
    }
}

/// What is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place.
    pub offset: Offset,
    /// As it was appended.
    pub entry: Entry,
}

/// How far a reader has come, with what it needs to go on (architecture, point 6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The offset of the next record to read.
    pub next: Offset,
    /// Kept together with the offset, at most [`POSITION_METADATA_BYTES_MAX`].
    pub metadata: Bytes,
}

/// Brokers refuse more than 4,096 characters of metadata, and it goes there in base64.
pub const POSITION_METADATA_BYTES_MAX: usize = 3_072;

/// The largest entry, key and value together, that an append takes.
pub const ENTRY_BYTES_MAX: usize = 1024 * 1024;

/// Who keeps a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Group {
    /// The workers of a task topic.
    Workers,
    /// The tracker on `order-states`.
    Tracker,
}

impl Group {
    /// Every group.
    pub const ALL: [Self; 2] = [Self::Workers, Self::Tracker];

    /// The group's name on a broker.
    pub fn name(self) -> &'static str {
        match self {
            Self::Workers => "workers",
            Self::Tracker => "tracker",
        }
    }
}

/// What can go wrong.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// The append may or may not have landed, and may still land: never assume either.
    #[error("append to {partition} was not acknowledged: {reason}")]
    AppendUnknown {
        /// Where to.
        partition: Partition,
        /// What the implementation says.
        reason: Arc<str>,
    },
    /// The append was refused before anything was written.
    #[error("append to {partition} was refused: {reason}")]
    AppendRefused {
        /// Where to.
        partition: Partition,
        /// Why, and what to do.
        reason: Arc<str>,
    },
    /// The partition could not be read.
    #[error("cannot read {partition}: {reason}")]
    Read {
        /// Which.
        partition: Partition,
        /// Why.
        reason: Arc<str>,
    },
    /// There is no such partition.
    #[error("there is no partition {0}")]
    NoPartition(Partition),
    /// The journal as a whole could not be opened or used, and trying again does not help.
    #[error("{0}")]
    Unusable(Arc<str>),
    /// The journal cannot be reached now; that may pass.
    #[error("{0}")]
    Unreachable(Arc<str>),
}

/// The journal, as one process uses it.
#[async_trait]
pub trait Journal: Send + Sync + 'static {
    /// How many partitions a topic has: fixed at its creation.
    fn partitions(&self, topic: Topic) -> u32;

    /// Whether other processes may take over what this one holds.
    fn is_shared(&self) -> bool;

    /// Appends the entries in this order, and after everything that this process appended to the
    /// partition before. Returns at once; the acknowledgement comes when all are durable. No reader
    /// sees an entry before it is durable ([`Topic::Replies`]: before it is accepted). Dropping the
    /// acknowledgement changes nothing.
    fn append(&self, partition: Partition, entries: Vec<Entry>) -> Ack;

    /// Reads from `from` on (from the oldest record kept, if that is later).
    async fn reader(&self, partition: Partition, from: Offset) -> Result<Box<dyn Reader>, JournalError>;

    /// The offset after the newest readable record: a reader that has reached it has seen
    /// everything acknowledged before this call.
    async fn end(&self, partition: Partition) -> Result<Offset, JournalError>;

    /// The offset of the oldest record kept; the end where none is. From there on, and on a
    /// compacted topic for the newest record at least, a reader gets to the end.
    async fn start(&self, partition: Partition) -> Result<Offset, JournalError>;

    /// Which partitions of a topic this process should claim, by the group's membership: a hint,
    /// never a right. `member` must be unique and stable over restarts.
    async fn assignments(&self, topic: Topic, member: &str) -> Result<Box<dyn Assignments>, JournalError>;

    /// Holds a partition of `replies` that no other living process holds, until the hold is
    /// dropped.
    async fn hold_replies(&self, member: &str) -> Result<RepliesHold, JournalError>;

    /// Keeps a position. Positions of one group and partition are kept in the order of the calls.
    fn commit(&self, group: Group, partition: Partition, position: Position) -> Ack;

    /// The position last kept, or none.
    async fn position(&self, group: Group, partition: Partition) -> Result<Option<Position>, JournalError>;

    /// Writes what is under way and takes nothing more. Called once, at the end of the process.
    async fn close(&self);
}

/// Reads one partition in order.
#[async_trait]
pub trait Reader: Send {
    /// Waits until there is at least one record, and returns what is there, up to `max` records.
    /// Offsets grow strictly. May be cancelled without losing a record.
    async fn next(&mut self, max: usize) -> Result<Vec<Record>, JournalError>;
}

/// The partitions to claim. Dropping it leaves the group, and others are told to claim them.
#[async_trait]
pub trait Assignments: Send {
    /// The first call returns the present set (waiting for it if need be), each later one waits
    /// until it has changed. May be cancelled.
    async fn changed(&mut self) -> Result<BTreeSet<u32>, JournalError>;
}

/// A partition of `replies`, given back when this is dropped.
pub struct RepliesHold {
    /// Which one.
    pub partition: Partition,
    guard: Option<Box<dyn Send + Sync>>,
}

impl RepliesHold {
    /// `guard` gives the partition back when it is dropped.
    pub fn new(partition: Partition, guard: Option<Box<dyn Send + Sync>>) -> Self {
        Self { partition, guard }
    }
}

impl fmt::Debug for RepliesHold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RepliesHold({}, {})", self.partition, if self.guard.is_some() { "held" } else { "free" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_record_prints_what_is_in_it() {
        let entry = Entry { key: Bytes::from_static(b"SECRET"), value: Some(Bytes::from_static(b"22SECRET")) };
        let printed = format!("{:?} {:#?}", Record { offset: 7, entry: entry.clone() }, [entry]);
        assert!(printed.contains("key_bytes: 6, value_bytes: Some(8)") && !printed.contains("SECRET"), "{printed}");
        assert!(!printed.contains("83, 69"), "{printed}");
    }
}
