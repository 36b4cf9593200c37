//! Stores positions of readers as the committed offsets of a consumer group without members, with
//! the metadata in base64. A thread commits the newest position of each partition. The commit also
//! acknowledges the older positions that were waiting.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use rdkafka::{
    TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::KafkaError,
};

use super::{
    client::{Client, Listener, QUERY_MS, create, index},
    lock,
};
use crate::{Ack, AckSender, Group, JournalError, Partition, Position};

/// The shortest time between two commits, in ms. Each commit is a write on the broker; if a commit
/// comes later, a restart only sends a few more inquiries.
const SPACING_MS: u64 = 100;

/// One group's positions.
pub(super) struct Positions {
    client: Arc<Client>,
    consumer: Arc<BaseConsumer<Listener>>,
    queue: Arc<CommitQueue>,
}

/// How many calls may wait for one commit before further ones are refused.
const QUEUED_CALLS_MAX: usize = 65_536;

/// The positions that the next commit will store.
#[derive(Default)]
struct CommitQueue {
    pending: Mutex<PendingCommits>,
    more: Condvar,
}

#[derive(Default)]
struct PendingCommits {
    by_partition: BTreeMap<Partition, PendingCommit>,
    /// How many senders there are in `by_partition`.
    calls: usize,
    closed: bool,
}

/// The newest position of a partition, and the calls that its commit acknowledges.
struct PendingCommit {
    position: Position,
    senders: Vec<AckSender>,
}

impl PendingCommits {
    fn take(&mut self) -> BTreeMap<Partition, PendingCommit> {
        self.calls = 0;
        std::mem::take(&mut self.by_partition)
    }
}

impl Positions {
    pub(super) fn new(client: Arc<Client>, group: Group) -> Result<Self, JournalError> {
        let mut config = client.config();
        config
            .set("group.id", format!("{}{}", client.settings.prefix, group.name()))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false");
        let consumer: BaseConsumer<Listener> = create(&config, client.listener())?;
        let positions = Self { client, consumer: Arc::new(consumer), queue: Arc::default() };
        let (consumer, queue) = (positions.consumer.clone(), positions.queue.clone());
        let committer = PositionCommitter { client: positions.client.clone(), consumer, queue };
        let thread = thread::Builder::new().name("kafka-positions".to_owned()).spawn(move || committer.run());
        thread.map_err(|error| JournalError::Unusable(format!("cannot start a thread: {error}").into()))?;
        Ok(positions)
    }

    pub(super) fn commit(&self, partition: Partition, position: Position) -> Ack {
        let (sender, ack) = Ack::pending(partition);
        {
            let mut pending = lock(&self.queue.pending);
            if pending.calls >= QUEUED_CALLS_MAX {
                return Ack::refused(
                    partition,
                    format!("{QUEUED_CALLS_MAX} positions wait for the broker already; try again later"),
                );
            }
            pending.calls += 1;
            match pending.by_partition.entry(partition) {
                Entry::Vacant(entry) => {
                    entry.insert(PendingCommit { position, senders: vec![sender] });
                }
                Entry::Occupied(mut entry) => {
                    entry.get_mut().position = position;
                    entry.get_mut().senders.push(sender);
                }
            }
        }
        self.queue.more.notify_one();
        ack
    }

    pub(super) async fn read(&self, partition: Partition) -> Result<Option<Position>, JournalError> {
        let (client, consumer) = (self.client.clone(), self.consumer.clone());
        let failed = move |reason: String| JournalError::Read { partition, reason: reason.into() };
        let topic = self.client.settings.topic(partition.topic);
        let result = tokio::task::spawn_blocking(move || {
            let mut list = TopicPartitionList::new();
            list.add_partition(&topic, index(partition));
            let committed = consumer.committed_offsets(list, Duration::from_millis(QUERY_MS));
            committed.map_err(|error| client.explain(&error)).map(|list| position_of(&list))
        });
        result.await.unwrap_or_else(|error| Err(error.to_string())).and_then(Option::transpose).map_err(failed)
    }
}

impl Drop for Positions {
    fn drop(&mut self) {
        lock(&self.queue.pending).closed = true;
        self.queue.more.notify_one();
    }
}

/// The position in the broker's answer for one partition; `None` if nothing was committed.
fn position_of(list: &TopicPartitionList) -> Option<Result<Position, String>> {
    let elements = list.elements();
    let element = elements.first()?;
    if let Err(error) = element.error() {
        return Some(Err(error.to_string()));
    }
    let rdkafka::Offset::Offset(next) = element.offset() else { return None };
    let metadata = BASE64_STANDARD.decode(element.metadata());
    let metadata = metadata.map_err(|_| {
        "the committed metadata is not base64, so another program wrote it; delete the group's offsets".to_owned()
    });
    Some(metadata.map(|metadata| Position { next: next.max(0).cast_unsigned(), metadata: metadata.into() }))
}

/// The state that the thread needs to commit positions.
struct PositionCommitter {
    client: Arc<Client>,
    consumer: Arc<BaseConsumer<Listener>>,
    queue: Arc<CommitQueue>,
}

impl PositionCommitter {
    fn run(self) {
        let mut last = None::<Instant>;
        while let Some(positions) = self.take(last) {
            let result = self.commit(&positions);
            last = Some(Instant::now());
            for (partition, pending) in positions {
                for sender in pending.senders {
                    let failed = |error: &KafkaError| JournalError::AppendUnknown {
                        partition,
                        reason: self.client.explain(error).into(),
                    };
                    sender.send(result.as_ref().map_err(failed).copied());
                }
            }
        }
    }

    /// Waits until there is a position to commit and [`SPACING_MS`] have passed since the last
    /// commit. Returns `None` once the queue is closed and empty.
    fn take(&self, last: Option<Instant>) -> Option<BTreeMap<Partition, PendingCommit>> {
        let mut pending = lock(&self.queue.pending);
        loop {
            let since = last.map_or(Duration::MAX, |last| last.elapsed());
            let left = Duration::from_millis(SPACING_MS).saturating_sub(since);
            let idle = pending.by_partition.is_empty();
            match (idle, pending.closed) {
                (true, true) => return None,
                (false, true) => return Some(pending.take()),
                (false, false) if left.is_zero() => return Some(pending.take()),
                (false, false) => {
                    pending = self.queue.more.wait_timeout(pending, left).unwrap_or_else(PoisonError::into_inner).0;
                }
                (true, false) => pending = self.queue.more.wait(pending).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn commit(&self, positions: &BTreeMap<Partition, PendingCommit>) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        for (partition, PendingCommit { position, .. }) in positions {
            let topic = self.client.settings.topic(partition.topic);
            let offset = rdkafka::Offset::Offset(position.next.cast_signed());
            list.add_partition_offset(&topic, index(*partition), offset)?;
            if let Some(mut element) = list.find_partition(&topic, index(*partition)) {
                element.set_metadata(BASE64_STANDARD.encode(&position.metadata));
            }
        }
        self.consumer.commit(&list, CommitMode::Sync)
    }
}
