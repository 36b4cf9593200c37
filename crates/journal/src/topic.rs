//! The addresses in the journal: topics, their partitions, the offsets in a partition, and the
//! groups that store positions.

use std::fmt;

/// A topic of the journal; `crates/ARCHITECTURE.md` says which service writes and reads each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// Every record that can change an order.
    Orders,
    /// Checkpoints of the routers; compacted by key.
    OrderStates,
    /// Tasks for the wallet.
    WalletTasks,
    /// Tasks for the other issuers.
    FiscTasks,
    /// Answers for ingress instances. They need not be durable: a pending call does not outlive the
    /// process that waits for its answer.
    Replies,
    /// Records that could not be decoded.
    DeadLetters,
    /// Changes of the callers. It has one partition, and keeps every record.
    Callers,
}

impl Topic {
    /// Every topic, in the order of the enum.
    pub const ALL: [Self; 7] = [
        Self::Orders,
        Self::OrderStates,
        Self::WalletTasks,
        Self::FiscTasks,
        Self::Replies,
        Self::DeadLetters,
        Self::Callers,
    ];

    /// The topic's name on a broker (after the deployment's prefix) and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::OrderStates => "order-states",
            Self::WalletTasks => "wallet-tasks",
            Self::FiscTasks => "fisc-tasks",
            Self::Replies => "replies",
            Self::DeadLetters => "dead-letters",
            Self::Callers => "callers",
        }
    }

    /// Whether a record replaces the older records with the same key.
    pub fn is_compacted(self) -> bool {
        self == Self::OrderStates
    }

    /// Whether its oldest records may be deleted. A compacted topic keeps the newest record of each
    /// key, `replies` are not stored, and who may call follows from every record of `callers`.
    pub fn is_trimmed(self) -> bool {
        !matches!(self, Self::OrderStates | Self::Replies | Self::Callers)
    }
}

/// A partition of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition {
    /// The topic that the partition belongs to.
    pub topic: Topic,
    /// Below the number of the topic's partitions.
    pub index: u32,
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic.name(), self.index)
    }
}

/// The position of a record in its partition. Offsets grow strictly and may have gaps.
pub type Offset = u64;

/// The readers of a topic that share a stored position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Group {
    /// The workers of a task topic.
    Workers,
    /// The tracker, which reads `order-states`.
    Tracker,
    /// The routers, on `orders`: the position of the newest checkpoint, below which no restore
    /// reads. It is stored only by the embedded journal, which is trimmed by it.
    Routers,
}

impl Group {
    /// Every group, in the order of the enum.
    pub const ALL: [Self; 3] = [Self::Workers, Self::Tracker, Self::Routers];

    /// The group's name on a broker, after the deployment's prefix.
    pub fn name(self) -> &'static str {
        match self {
            Self::Workers => "workers",
            Self::Tracker => "tracker",
            Self::Routers => "routers",
        }
    }
}
