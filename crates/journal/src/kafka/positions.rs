//! Positions of readers, kept as committed offsets of a group without members: the offset, and the
//! metadata in base64. A thread commits the newest position of each partition; those that it
//! replaces are acknowledged with it.

use std::{
    collections::BTreeMap,
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
    client::{Client, Listener, QUESTION_MS, create, index},
    lock,
};
use crate::{Ack, AckSender, Group, JournalError, Partition, Position};

/// The shortest time between two commits, in ms: each is a write on the broker, and a late one
/// costs a restart a few inquiries.
const SPACING_MS: u64 = 100;

/// One group's positions.
pub(super) struct Positions {
    client: Arc<Client>,
    consumer: Arc<BaseConsumer<Listener>>,
    queue: Arc<Queue>,
}

#[derive(Default)]
struct Queue {
    wanted: Mutex<Wanted>,
    more: Condvar,
}

#[derive(Default)]
struct Wanted {
    positions: BTreeMap<Partition, (Position, Vec<AckSender>)>,
    closed: bool,
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
        let committer = Committer { client: positions.client.clone(), consumer, queue };
        let thread = thread::Builder::new().name("kafka-positions".to_owned()).spawn(move || committer.run());
        thread.map_err(|error| JournalError::Unusable(format!("cannot start a thread: {error}").into()))?;
        Ok(positions)
    }

    pub(super) fn commit(&self, partition: Partition, position: Position) -> Ack {
        let (sender, ack) = Ack::pending(partition);
        {
            let mut wanted = lock(&self.queue.wanted);
            let newest = wanted.positions.entry(partition).or_insert_with(|| (position.clone(), Vec::new()));
            newest.0 = position;
            newest.1.push(sender);
        }
        self.queue.more.notify_one();
        ack
    }

    pub(super) async fn read(&self, partition: Partition) -> Result<Option<Position>, JournalError> {
        let (client, consumer) = (self.client.clone(), self.consumer.clone());
        let failed = move |reason: String| JournalError::Read { partition, reason: reason.into() };
        let topic = self.client.settings.topic(partition.topic);
        let asked = tokio::task::spawn_blocking(move || {
            let mut list = TopicPartitionList::new();
            list.add_partition(&topic, index(partition));
            let committed = consumer.committed_offsets(list, Duration::from_millis(QUESTION_MS));
            committed.map_err(|error| client.explain(&error)).map(|list| position_of(&list))
        });
        asked.await.unwrap_or_else(|error| Err(error.to_string())).and_then(Option::transpose).map_err(failed)
    }
}

impl Drop for Positions {
    fn drop(&mut self) {
        lock(&self.queue.wanted).closed = true;
        self.queue.more.notify_one();
    }
}

/// The one position of a list of one; none where nothing was committed.
fn position_of(list: &TopicPartitionList) -> Option<Result<Position, String>> {
    let elements = list.elements();
    let element = elements.first()?;
    if let Err(error) = element.error() {
        return Some(Err(error.to_string()));
    }
    let rdkafka::Offset::Offset(next) = element.offset() else { return None };
    let metadata = BASE64_STANDARD.decode(element.metadata());
    let metadata = metadata.map_err(|_| "the committed metadata is not ours; delete the group's offsets".to_owned());
    Some(metadata.map(|metadata| Position { next: next.max(0).cast_unsigned(), metadata: metadata.into() }))
}

struct Committer {
    client: Arc<Client>,
    consumer: Arc<BaseConsumer<Listener>>,
    queue: Arc<Queue>,
}

impl Committer {
    fn run(self) {
        let mut last = None::<Instant>;
        while let Some(positions) = self.take(last) {
            let result = self.commit(&positions);
            last = Some(Instant::now());
            for (partition, (_, senders)) in positions {
                for sender in senders {
                    let failed = |error: &KafkaError| JournalError::AppendUnknown {
                        partition,
                        reason: self.client.explain(error).into(),
                    };
                    sender.send(result.as_ref().map_err(failed).copied());
                }
            }
        }
    }

    /// Waits until there is something to commit and the spacing has passed; none when closed and
    /// empty.
    fn take(&self, last: Option<Instant>) -> Option<BTreeMap<Partition, (Position, Vec<AckSender>)>> {
        let mut wanted = lock(&self.queue.wanted);
        loop {
            let since = last.map_or(Duration::MAX, |last| last.elapsed());
            let left = Duration::from_millis(SPACING_MS).saturating_sub(since);
            let idle = wanted.positions.is_empty();
            match (idle, wanted.closed) {
                (true, true) => return None,
                (false, true) => return Some(std::mem::take(&mut wanted.positions)),
                (false, false) if left.is_zero() => return Some(std::mem::take(&mut wanted.positions)),
                (false, false) => {
                    wanted = self.queue.more.wait_timeout(wanted, left).unwrap_or_else(PoisonError::into_inner).0;
                }
                (true, false) => wanted = self.queue.more.wait(wanted).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn commit(&self, positions: &BTreeMap<Partition, (Position, Vec<AckSender>)>) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        for (partition, (position, _)) in positions {
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
