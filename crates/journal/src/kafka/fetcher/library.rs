//! Fetches with the client library. A fetcher is one consumer with manually assigned partitions,
//! and a thread that waits for the consumer's records and moves them into the readers' buffers.
//! Partitions of a topic share a fetcher, because each consumer costs the broker separate requests.
//!
//! When a reader is dropped, the fetcher's thread unassigns its partition, and only then can the
//! fetcher serve that partition again. So a record that was fetched for one reader never reaches a
//! later one. Until then another fetcher of the pool serves the partition.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, Weak},
    thread,
    time::Duration,
};

use bytes::Bytes;
use rdkafka::{
    TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::{BorrowedMessage, Message},
};
use tracing::warn;

use super::{
    Pace, Source,
    buffer::{Buffer, Stop},
};
use crate::{
    Entry, JournalError, Offset, Partition, Record, Topic,
    kafka::{
        client::{Client, Listener, MESSAGE_BYTES_MAX, create, index},
        lock,
    },
};

/// How long the thread may block before it looks for dropped readers, in ms.
const POLL_MS: u64 = 100;
/// How many records the thread moves before it wakes readers.
const RECORDS_PER_TURN_MAX: usize = 1_024;
/// How much the client library may queue for one fetcher, in KiB.
const QUEUED_KIB_MAX: usize = 8 << 10;

/// All fetchers of a process, pooled by topic and pace.
pub(super) struct LibraryFetchers {
    client: Arc<Client>,
    pools: Mutex<Pools>,
}

type Pools = BTreeMap<(Topic, Pace), Vec<Weak<Fetcher>>>;

struct Fetcher {
    topic: String,
    consumer: BaseConsumer<Listener>,
    slots: Mutex<Slots>,
}

#[derive(Default)]
struct Slots {
    by_partition: BTreeMap<u32, Slot>,
    /// The thread has ended, so no partition can be assigned.
    is_closed: bool,
}

/// The state of an assigned partition.
enum Slot {
    /// A reader takes the records from this buffer.
    Read(Arc<Buffer>),
    /// The reader was dropped; the thread is about to unassign the partition.
    Abandoned,
}

impl LibraryFetchers {
    pub(super) fn new(client: Arc<Client>) -> Self {
        Self { client, pools: Mutex::default() }
    }

    /// Starts to fetch a partition, with a fetcher that can take it or with a new one.
    pub(super) fn open(
        &self,
        partition: Partition,
        from: Offset,
        pace: Pace,
    ) -> Result<(Arc<Buffer>, Box<dyn Source>), JournalError> {
        let source = |fetcher| Box::new(Assigned { fetcher, partition: partition.index });
        let mut pools = lock(&self.pools);
        let pool = pools.entry((partition.topic, pace)).or_default();
        pool.retain(|fetcher| fetcher.strong_count() > 0);
        for fetcher in pool.iter().filter_map(Weak::upgrade) {
            if let Some(buffer) = fetcher.assign(partition, from)? {
                return Ok((buffer, source(fetcher)));
            }
        }
        let fetcher = Fetcher::new(&self.client, partition.topic, pace)?;
        let buffer = fetcher.assign(partition, from)?;
        let buffer = buffer.ok_or_else(|| JournalError::Unusable("a new fetcher could not take a partition".into()))?;
        fetcher.start(partition.topic)?;
        pool.push(Arc::downgrade(&fetcher));
        Ok((buffer, source(fetcher)))
    }
}

/// A partition that is assigned to a fetcher.
struct Assigned {
    fetcher: Arc<Fetcher>,
    partition: u32,
}

impl Source for Assigned {
    fn resume(&self) -> bool {
        self.fetcher.consumer.resume(&self.fetcher.list([self.partition])).is_ok()
    }
}

impl Drop for Assigned {
    fn drop(&mut self) {
        lock(&self.fetcher.slots).by_partition.insert(self.partition, Slot::Abandoned);
    }
}

impl Fetcher {
    fn new(client: &Client, topic: Topic, pace: Pace) -> Result<Arc<Self>, JournalError> {
        let (least_bytes, wait_ms) = pace.wait();
        let mut config = client.config();
        config
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", "read_uncommitted")
            .set("fetch.min.bytes", least_bytes.to_string())
            .set("fetch.wait.max.ms", wait_ms.to_string())
            .set("fetch.queue.backoff.ms", "5")
            .set("fetch.error.backoff.ms", "50")
            .set("fetch.message.max.bytes", MESSAGE_BYTES_MAX.to_string())
            .set("queued.max.messages.kbytes", QUEUED_KIB_MAX.to_string());
        let consumer = create(&config, client.listener())?;
        Ok(Arc::new(Self { topic: client.settings.topic(topic), consumer, slots: Mutex::default() }))
    }

    /// Starts the thread, which runs as long as a partition is assigned.
    fn start(self: &Arc<Self>, topic: Topic) -> Result<(), JournalError> {
        let fetcher = self.clone();
        let run = move || while !fetcher.run_turn() {};
        let thread = thread::Builder::new().name(format!("kafka-{}", topic.name())).spawn(run);
        thread.map(|_| ()).map_err(|error| JournalError::Unusable(format!("cannot start a thread: {error}").into()))
    }

    /// Assigns a partition and returns the buffer that will receive its records. Returns `None` if
    /// this fetcher still has the partition, or has ended.
    fn assign(&self, partition: Partition, from: Offset) -> Result<Option<Arc<Buffer>>, JournalError> {
        let mut slots = lock(&self.slots);
        if slots.is_closed || slots.by_partition.contains_key(&partition.index) {
            return Ok(None);
        }
        let offset = rdkafka::Offset::Offset(from.cast_signed());
        let mut list = TopicPartitionList::new();
        let assigned = list
            .add_partition_offset(&self.topic, index(partition), offset)
            .and_then(|()| self.consumer.incremental_assign(&list));
        assigned.map_err(|error| JournalError::Read { partition, reason: error.to_string().into() })?;
        let buffer = Arc::<Buffer>::default();
        slots.by_partition.insert(partition.index, Slot::Read(buffer.clone()));
        Ok(Some(buffer))
    }

    fn list(&self, partitions: impl IntoIterator<Item = u32>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&self.topic, i32::try_from(partition).unwrap_or(i32::MAX));
        }
        list
    }

    /// Waits for records and moves them to the buffers. Returns true once no partition is assigned;
    /// the fetcher is then closed.
    fn run_turn(&self) -> bool {
        let mut touched: BTreeMap<u32, Arc<Buffer>> = BTreeMap::new();
        let mut wait = Duration::from_millis(POLL_MS);
        for _ in 0..RECORDS_PER_TURN_MAX {
            match self.consumer.poll(wait) {
                Some(Ok(message)) => self.take(&message, &mut touched),
                Some(Err(error)) => self.report(&error),
                None => break,
            }
            wait = Duration::ZERO;
        }
        for buffer in touched.values() {
            buffer.wake();
        }
        self.unassign_abandoned();
        let mut slots = lock(&self.slots);
        slots.is_closed = slots.by_partition.is_empty();
        slots.is_closed
    }

    /// The buffer of the partition's reader, unless the reader was dropped.
    fn buffer_of(&self, partition: u32) -> Option<Arc<Buffer>> {
        match lock(&self.slots).by_partition.get(&partition) {
            Some(Slot::Read(buffer)) => Some(buffer.clone()),
            Some(Slot::Abandoned) | None => None,
        }
    }

    fn take(&self, message: &BorrowedMessage<'_>, touched: &mut BTreeMap<u32, Arc<Buffer>>) {
        let partition = message.partition().unsigned_abs();
        let cached = touched.get(&partition).cloned();
        let Some(buffer) = cached.or_else(|| self.buffer_of(partition)) else { return };
        touched.entry(partition).or_insert_with(|| buffer.clone());
        let bytes = |part: Option<&[u8]>| part.map(Bytes::copy_from_slice);
        let entry = Entry { key: bytes(message.key()).unwrap_or_default(), value: bytes(message.payload()) };
        let record = Record { offset: message.offset().max(0).cast_unsigned(), entry };
        buffer.push(record, || self.consumer.pause(&self.list([partition])).is_ok());
    }

    /// Fails the readers after an error from which the client library does not recover, so that new
    /// readers are opened. It recovers from all other errors by itself.
    fn report(&self, error: &KafkaError) {
        let lasting = matches!(
            error.rdkafka_error_code(),
            Some(
                RDKafkaErrorCode::UnknownTopicOrPartition
                    | RDKafkaErrorCode::UnknownTopic
                    | RDKafkaErrorCode::UnknownPartition
                    | RDKafkaErrorCode::TopicAuthorizationFailed
                    | RDKafkaErrorCode::Fatal
            )
        );
        if !lasting {
            return;
        }
        warn!(topic = self.topic, %error, "a topic cannot be read");
        let reason: Arc<str> = error.to_string().into();
        for slot in lock(&self.slots).by_partition.values() {
            if let Slot::Read(buffer) = slot {
                buffer.stop(Stop::Failed(reason.clone()));
            }
        }
    }

    /// Unassigns the partitions of dropped readers. After this, the consumer delivers no record of
    /// these partitions.
    fn unassign_abandoned(&self) {
        let slots = &mut lock(&self.slots).by_partition;
        let abandoned: Vec<u32> =
            slots.iter().filter(|(_, slot)| matches!(slot, Slot::Abandoned)).map(|(partition, _)| *partition).collect();
        if abandoned.is_empty() {
            return;
        }
        // A pause outlasts the assignment: without `resume`, the next reader of the partition would
        // wait forever.
        let list = self.list(abandoned.iter().copied());
        match self.consumer.resume(&list).and_then(|()| self.consumer.incremental_unassign(&list)) {
            Ok(()) => slots.retain(|_, slot| !matches!(slot, Slot::Abandoned)),
            Err(error) => warn!(topic = self.topic, %error, "partitions cannot be unassigned yet; retrying"),
        }
    }
}
