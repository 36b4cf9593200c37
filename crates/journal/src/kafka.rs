//! Many machines, over Apache Kafka. What is trusted of it is its log and no more: no transactions,
//! no group generations, no partitioner. An append is acknowledged when all in-sync replicas have
//! it; the log's order decides everything else.
//!
//! One producer, one small pool of consumers for each topic (`fetcher.rs`: partitions are assigned
//! by hand), one client that keeps positions, and a consumer for each group membership, which is
//! only a hint. Nothing waits on a fixed time: threads block in the client library until there is
//! something, and hand it over.

mod client;
mod fetcher;
mod group;
mod layout;
mod positions;
mod producer;
mod replies;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    Ack, Assignments, ENTRY_BYTES_MAX, Entry, Group, Journal, JournalError, Offset, POSITION_METADATA_BYTES_MAX,
    Partition, Position, Reader, RepliesHold, Topic,
};
use client::Client;
use fetcher::Fetchers;
use positions::Positions;
use producer::Producer;

pub use layout::{Deviation, Layout, Plan, apply, count_records, plan};

/// How a broker is reached, and what is ours on it.
#[derive(Clone)]
pub struct Settings {
    /// Brokers to begin with: `host:port`, separated by commas.
    pub bootstrap: String,
    /// Before the name of each topic and group, so that a cluster can serve more than one
    /// deployment.
    pub prefix: String,
    /// Further properties of the client library, such as `security.protocol` and `sasl.password`.
    /// Never printed.
    pub properties: BTreeMap<String, String>,
    /// How long a member of a group may be silent until its partitions go to others, in ms; brokers
    /// allow 6,000 and more unless they are configured otherwise.
    pub session_timeout_ms: u32,
    /// How long an append is tried before it counts as failed, in ms.
    pub append_timeout_ms: u32,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("bootstrap", &self.bootstrap)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl Settings {
    fn topic(&self, topic: Topic) -> String {
        format!("{}{}", self.prefix, topic.name())
    }
}

/// The journal on a cluster, as one process uses it.
pub struct KafkaJournal {
    client: Arc<Client>,
    layout: Layout,
    producer: Producer,
    fetchers: Arc<Fetchers>,
    positions: BTreeMap<Group, Positions>,
    /// Partitions of `replies` that this process holds.
    held_replies: Arc<Mutex<BTreeSet<u32>>>,
}

impl KafkaJournal {
    /// Connects, and checks that the topics are as they must be. `member` names this process to the
    /// broker.
    pub async fn connect(settings: Settings, member: &str) -> Result<Arc<Self>, JournalError> {
        let client = Client::new(settings, member)?;
        let layout = layout::check(&client).await?;
        let producer = Producer::new(client.clone())?;
        let positions = Group::ALL
            .into_iter()
            .map(|group| Ok((group, Positions::new(client.clone(), group)?)))
            .collect::<Result<_, JournalError>>()?;
        let fetchers = Arc::new(Fetchers::new(client.clone()));
        Ok(Arc::new(Self { client, layout, producer, fetchers, positions, held_replies: Arc::default() }))
    }

    fn check(&self, partition: Partition) -> Result<(), JournalError> {
        let there = partition.index < self.layout.partitions(partition.topic);
        if there { Ok(()) } else { Err(JournalError::NoPartition(partition)) }
    }

    fn refused(partition: Partition, reason: String) -> Ack {
        Ack::ready(partition, Err(JournalError::AppendRefused { partition, reason: reason.into() }))
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
        let size = |entry: &Entry| entry.key.len() + entry.value.as_ref().map_or(0, Bytes::len);
        if let Some(bytes) = entries.iter().map(size).find(|bytes| *bytes > ENTRY_BYTES_MAX) {
            let reason = format!("the entry has {bytes} bytes, at most {ENTRY_BYTES_MAX} are allowed");
            return Self::refused(partition, reason);
        }
        self.producer.append(partition, &entries)
    }

    async fn reader(&self, partition: Partition, from: Offset) -> Result<Box<dyn Reader>, JournalError> {
        self.check(partition)?;
        let reader = self.fetchers.open(partition, from)?;
        if partition.topic == Topic::Replies {
            let held = self.held_replies.clone();
            let answer = replies::Answerer { partition, held, producer: self.producer.clone() };
            return Ok(Box::new(replies::RepliesReader { reader, answer }));
        }
        Ok(Box::new(reader))
    }

    async fn end(&self, partition: Partition) -> Result<Offset, JournalError> {
        self.check(partition)?;
        self.client.ends(partition).await.map(|(_, end)| end)
    }

    async fn start(&self, partition: Partition) -> Result<Offset, JournalError> {
        self.check(partition)?;
        self.client.ends(partition).await.map(|(start, _)| start)
    }

    async fn assignments(&self, topic: Topic, member: &str) -> Result<Box<dyn Assignments>, JournalError> {
        Ok(Box::new(group::Membership::join(&self.client, topic, member)?))
    }

    async fn hold_replies(&self, member: &str) -> Result<RepliesHold, JournalError> {
        let count = self.layout.partitions(Topic::Replies);
        let index =
            replies::take(&self.producer, &self.fetchers, &self.client, (member, count), &self.held_replies).await?;
        let guard = replies::Held { index, held: self.held_replies.clone() };
        Ok(RepliesHold::new(Partition { topic: Topic::Replies, index }, Some(Box::new(guard))))
    }

    fn commit(&self, group: Group, partition: Partition, position: Position) -> Ack {
        if position.metadata.len() > POSITION_METADATA_BYTES_MAX {
            return Self::refused(partition, format!("metadata of {} bytes is too long", position.metadata.len()));
        }
        match self.positions.get(&group) {
            Some(positions) => positions.commit(partition, position),
            None => Self::refused(partition, "the group is not known".to_owned()),
        }
    }

    async fn position(&self, group: Group, partition: Partition) -> Result<Option<Position>, JournalError> {
        let positions = self.positions.get(&group);
        let positions = positions.ok_or_else(|| JournalError::Unusable("the group is not known".into()))?;
        positions.read(partition).await
    }

    async fn close(&self) {
        let producer = self.producer.clone();
        drop(tokio::task::spawn_blocking(move || producer.close()).await);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
