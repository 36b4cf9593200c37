//! The journal on Apache Kafka, for many machines.
//!
//! It relies only on the brokers' logs, not on transactions, consumer group generations or a
//! partitioner. An append is acknowledged when all in-sync replicas have it; the order of the log
//! decides everything else.
//!
//! A process has one producer (`producer.rs`) and one fetcher (`fetcher.rs`), which speak the
//! brokers' protocol themselves (`wire.rs`) or, where properties of the client library are
//! configured, use the library. It also has one consumer of the library for each group's stored
//! positions, and one for each group membership, which is only a hint. In an idle process no
//! message waits for a timer; a busy process gathers its appends, and readers that can wait fetch
//! many records at once.

mod advice;
mod client;
mod fetcher;
mod group;
mod layout;
mod positions;
mod producer;
mod replies;
mod rights;
mod wire;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;

use crate::{
    Ack, Assignments, Entry, Group, Journal, JournalError, Member, Offset, Partition, Position, Reader, RepliesHold,
    Topic, check_entries, metrics,
};
use client::Client;
use fetcher::{Fetchers, Pace};
use positions::Positions;
use producer::Producer;

pub use layout::{Deviation, Layout, Plan, apply, count_records, min_insync_least, plan, recorded};
pub use rights::{Right, User};
#[doc(hidden)]
pub use {
    fetcher::fuzz_records,
    layout::{fuzz_layout, stored_layout},
    wire::fuzz_answer,
};

/// The group of all clients that belong to no other. It has no members and no positions.
const READERS: &str = "readers";

/// The topics whose partitions processes claim. Each has a group of its owners.
const OWNED: [Topic; 3] = [Topic::Orders, Topic::WalletTasks, Topic::FiscTasks];

/// The group of a topic's owners.
fn owners(topic: Topic) -> String {
    format!("owners-{}", topic.name())
}

/// How the brokers are reached, and which topics and groups on them belong to this deployment.
#[derive(Clone)]
pub struct KafkaSettings {
    /// The brokers to connect to first: `host:port`, separated by commas. They name the others.
    pub bootstrap: String,
    /// Precedes the name of each topic and group, so that one cluster can serve several
    /// deployments.
    pub prefix: String,
    /// Further properties of the client library, such as `security.protocol` and `sasl.password`.
    /// Never printed.
    pub properties: BTreeMap<String, String>,
    /// How long a member of a group may be silent before its partitions are assigned to others, in
    /// ms. Brokers accept 6,000 and more unless `group.min.session.timeout.ms` says otherwise.
    pub session_timeout_ms: u32,
    /// How long an append is retried before it counts as failed, in ms.
    pub append_timeout_ms: u32,
    /// How much memory records on their way to the brokers may take, in KiB; beyond it appends are
    /// refused.
    pub queue_kib_max: u32,
}

impl fmt::Debug for KafkaSettings {
    /// Leaves `properties` out: they contain credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSettings")
            .field("bootstrap", &self.bootstrap)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl KafkaSettings {
    fn topic(&self, topic: Topic) -> String {
        format!("{}{}", self.prefix, topic.name())
    }
}

/// The journal on a Kafka cluster, as one process uses it.
pub struct KafkaJournal {
    client: Arc<Client>,
    layout: Layout,
    producer: Producer,
    fetchers: Arc<Fetchers>,
    /// The positions of the groups that were asked for: a user need not have a right to any other.
    positions: Mutex<BTreeMap<Group, Arc<Positions>>>,
    /// Indices of the partitions of `replies` that this process holds.
    held_replies: Arc<Mutex<BTreeSet<u32>>>,
}

impl KafkaJournal {
    /// Connects. Fails if a topic is missing, or if its partitions, compaction or message size are
    /// not those of the layout that `twqr topics apply` has recorded. `member` names this process
    /// to the brokers.
    pub async fn connect(settings: KafkaSettings, member: &str) -> Result<Arc<Self>, JournalError> {
        metrics::register();
        let client = Client::new(settings, member)?;
        let layout = layout::check(&client).await?;
        let producer = Producer::start(&client)?;
        let fetchers = Fetchers::new(client.clone());
        let (positions, held_replies) = (Mutex::default(), Arc::default());
        Ok(Arc::new(Self { client, layout, producer, fetchers, positions, held_replies }))
    }

    fn positions(&self, group: Group) -> Result<Arc<Positions>, JournalError> {
        let mut known = lock(&self.positions);
        if let Some(positions) = known.get(&group) {
            return Ok(positions.clone());
        }
        let positions = Arc::new(Positions::new(self.client.clone(), group)?);
        known.insert(group, positions.clone());
        Ok(positions)
    }

    fn check(&self, partition: Partition) -> Result<(), JournalError> {
        let exists = partition.index < self.layout.partitions(partition.topic);
        if exists { Ok(()) } else { Err(JournalError::NoPartition(partition)) }
    }

    fn open(&self, partition: Partition, from: Offset, pace: Pace) -> Result<Box<dyn Reader>, JournalError> {
        self.check(partition)?;
        let reader = self.fetchers.open(partition, from, pace)?;
        if partition.topic == Topic::Replies {
            let held = self.held_replies.clone();
            let responder = replies::ProbeResponder { partition, held, producer: self.producer.clone() };
            return Ok(Box::new(replies::RepliesReader { reader, responder }));
        }
        Ok(Box::new(reader))
    }
}

#[async_trait]
impl Journal for KafkaJournal {
    fn partitions(&self, topic: Topic) -> u32 {
        self.layout.partitions(topic)
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn append(&self, partition: Partition, entries: Vec<Entry>) -> Ack {
        if let Err(error) = self.check(partition) {
            return Ack::ready(partition, Err(error));
        }
        if let Err(reason) = check_entries(&entries) {
            return Ack::refused(partition, reason);
        }
        self.producer.append(partition, entries)
    }

    async fn reader(&self, partition: Partition, from: Offset) -> Result<Box<dyn Reader>, JournalError> {
        self.open(partition, from, Pace::Prompt)
    }

    async fn follower(&self, partition: Partition, from: Offset) -> Result<Box<dyn Reader>, JournalError> {
        self.open(partition, from, Pace::Gathering)
    }

    async fn end(&self, partition: Partition) -> Result<Offset, JournalError> {
        self.check(partition)?;
        Ok(self.client.bounds(partition).await?.end)
    }

    async fn start(&self, partition: Partition) -> Result<Offset, JournalError> {
        self.check(partition)?;
        Ok(self.client.bounds(partition).await?.start)
    }

    async fn assignments(&self, topic: Topic, member: &str) -> Result<Box<dyn Assignments>, JournalError> {
        Ok(Box::new(group::Membership::join(&self.client, topic, member)?))
    }

    async fn hold_replies(&self, member: &str) -> Result<RepliesHold, JournalError> {
        let search = replies::HoldSearch {
            producer: &self.producer,
            fetchers: &self.fetchers,
            client: &self.client,
            count: self.layout.partitions(Topic::Replies),
            held: &self.held_replies,
        };
        let index = search.hold_free(member).await?;
        let guard = replies::KafkaRepliesGuard { index, held: self.held_replies.clone() };
        Ok(RepliesHold::new(Partition { topic: Topic::Replies, index }, Some(Box::new(guard))))
    }

    async fn members(&self) -> Result<BTreeSet<Member>, JournalError> {
        let holders =
            replies::holders(&self.producer, &self.fetchers, &self.client, self.layout.partitions(Topic::Replies));
        let (names, holders) = tokio::join!(group::members(&self.client), holders);
        Ok(names?.into_iter().map(Member::Group).chain(holders?.into_iter().map(Member::Replies)).collect())
    }

    fn commit(&self, group: Group, partition: Partition, position: Position) -> Ack {
        if let Err(reason) = position.check() {
            return Ack::refused(partition, reason);
        }
        match self.positions(group) {
            Ok(positions) => positions.commit(partition, position),
            Err(error) => Ack::refused(partition, error.to_string()),
        }
    }

    async fn position(&self, group: Group, partition: Partition) -> Result<Option<Position>, JournalError> {
        self.positions(group)?.read(partition).await
    }

    async fn close(&self) {
        self.producer.close().await;
    }
}

/// Locks a mutex, also if a thread panicked while it held the lock.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
