//! Reading: a fetcher is one consumer whose partitions are assigned by hand, and a thread that
//! blocks on it and hands what comes to the readers' buffers. Partitions of a topic share a
//! fetcher, since each consumer costs the broker requests of its own.
//!
//! A partition that a reader has left is unassigned by the fetcher's own thread, and only then may
//! the fetcher serve it again: so no record of an earlier reader can reach a later one. Until then
//! another fetcher of the pool serves it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, Weak},
    thread,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use rdkafka::{
    TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::{BorrowedMessage, Message},
};
use tokio::sync::Notify;
use tracing::warn;

use super::{
    client::{Client, Listener, MESSAGE_BYTES_MAX, create, index},
    lock,
};
use crate::{Entry, JournalError, Offset, Partition, Reader, Record, Topic};

/// How long the thread may block before it looks who has left, in ms.
const POLL_MS: u64 = 100;
/// How many records the thread takes before it wakes readers.
const DRAIN_MAX: usize = 1_024;
/// What a reader's buffer may hold before fetching its partition pauses, in bytes.
const BUFFER_BYTES_MAX: usize = 4 << 20;
/// What the client library may hold for one fetcher, in KiB.
const QUEUED_KIB_MAX: usize = 8 << 10;

/// All fetchers of a process, by topic.
pub(super) struct Fetchers {
    client: Arc<Client>,
    by_topic: Mutex<BTreeMap<Topic, Vec<Weak<Fetcher>>>>,
}

struct Fetcher {
    topic: String,
    consumer: BaseConsumer<Listener>,
    slots: Mutex<Slots>,
}

#[derive(Default)]
struct Slots {
    by_partition: BTreeMap<u32, Slot>,
    /// The thread has ended: nothing can be assigned any more.
    is_closed: bool,
}

enum Slot {
    Read(Arc<Buffer>),
    /// Its reader has gone; the thread unassigns it.
    Left,
}

/// What was fetched for one reader.
#[derive(Default)]
struct Buffer {
    held: Mutex<Held>,
    more: Notify,
}

#[derive(Default)]
struct Held {
    records: VecDeque<Record>,
    bytes: usize,
    is_paused: bool,
    failure: Option<Arc<str>>,
}

/// A reader of one partition.
pub(super) struct KafkaReader {
    partition: Partition,
    /// Records below this were read, or were not asked for.
    next: Offset,
    fetcher: Arc<Fetcher>,
    buffer: Arc<Buffer>,
}

impl Fetchers {
    pub(super) fn new(client: Arc<Client>) -> Self {
        Self { client, by_topic: Mutex::default() }
    }

    /// Begins to fetch a partition.
    pub(super) fn open(&self, partition: Partition, from: Offset) -> Result<KafkaReader, JournalError> {
        let mut by_topic = lock(&self.by_topic);
        let pool = by_topic.entry(partition.topic).or_default();
        pool.retain(|fetcher| fetcher.strong_count() > 0);
        for fetcher in pool.iter().filter_map(Weak::upgrade) {
            if let Some(buffer) = fetcher.assign(partition, from)? {
                return Ok(KafkaReader { partition, next: from, fetcher, buffer });
            }
        }
        let fetcher = Fetcher::new(&self.client, partition.topic)?;
        let buffer = fetcher.assign(partition, from)?;
        let buffer = buffer.ok_or_else(|| JournalError::Unusable("a new fetcher has a free place".into()))?;
        fetcher.start(partition.topic)?;
        pool.push(Arc::downgrade(&fetcher));
        Ok(KafkaReader { partition, next: from, fetcher, buffer })
    }
}

impl Fetcher {
    fn new(client: &Client, topic: Topic) -> Result<Arc<Self>, JournalError> {
        let mut config = client.config();
        config
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", "read_uncommitted")
            .set("fetch.min.bytes", "1")
            .set("fetch.wait.max.ms", "100")
            .set("fetch.queue.backoff.ms", "5")
            .set("fetch.error.backoff.ms", "50")
            .set("fetch.message.max.bytes", MESSAGE_BYTES_MAX.to_string())
            .set("queued.max.messages.kbytes", QUEUED_KIB_MAX.to_string());
        let consumer = create(&config, client.listener())?;
        Ok(Arc::new(Self { topic: client.settings.topic(topic), consumer, slots: Mutex::default() }))
    }

    /// The thread runs for as long as a partition is read or has to be let go.
    fn start(self: &Arc<Self>, topic: Topic) -> Result<(), JournalError> {
        let fetcher = self.clone();
        let run = move || while !fetcher.turn() {};
        let thread = thread::Builder::new().name(format!("kafka-{}", topic.name())).spawn(run);
        thread.map(|_| ()).map_err(|error| JournalError::Unusable(format!("cannot start a thread: {error}").into()))
    }

    /// A buffer that will have the partition's records; none if this fetcher has the partition
    /// already, or has ended.
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

    /// Blocks until something comes, and hands over what is there. True: nobody reads with it any
    /// more, and nobody can.
    fn turn(&self) -> bool {
        let mut touched: BTreeMap<u32, Arc<Buffer>> = BTreeMap::new();
        let mut wait = Duration::from_millis(POLL_MS);
        for _ in 0..DRAIN_MAX {
            match self.consumer.poll(wait) {
                Some(Ok(message)) => self.take(&message, &mut touched),
                Some(Err(error)) => self.complain(&error),
                None => break,
            }
            wait = Duration::ZERO;
        }
        for buffer in touched.values() {
            buffer.more.notify_one();
        }
        self.let_go();
        let mut slots = lock(&self.slots);
        slots.is_closed = slots.by_partition.is_empty();
        slots.is_closed
    }

    /// The buffer of the partition's reader, if it has one.
    fn buffer_of(&self, partition: u32) -> Option<Arc<Buffer>> {
        match lock(&self.slots).by_partition.get(&partition) {
            Some(Slot::Read(buffer)) => Some(buffer.clone()),
            Some(Slot::Left) | None => None,
        }
    }

    fn take(&self, message: &BorrowedMessage<'_>, touched: &mut BTreeMap<u32, Arc<Buffer>>) {
        let partition = message.partition().unsigned_abs();
        let known = touched.get(&partition).cloned();
        let Some(buffer) = known.or_else(|| self.buffer_of(partition)) else { return };
        touched.entry(partition).or_insert_with(|| buffer.clone());
        let bytes = |part: Option<&[u8]>| part.map(Bytes::copy_from_slice);
        let entry = Entry { key: bytes(message.key()).unwrap_or_default(), value: bytes(message.payload()) };
        let mut held = lock(&buffer.held);
        held.bytes += entry.key.len() + entry.value.as_ref().map_or(0, Bytes::len);
        held.records.push_back(Record { offset: message.offset().max(0).cast_unsigned(), entry });
        if held.bytes > BUFFER_BYTES_MAX && !held.is_paused {
            held.is_paused = self.consumer.pause(&self.list([partition])).is_ok();
        }
    }

    /// Most of what goes wrong heals by itself in the client library; what does not is told to the
    /// readers, who open anew.
    fn complain(&self, error: &KafkaError) {
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
                lock(&buffer.held).failure = Some(reason.clone());
                buffer.more.notify_one();
            }
        }
    }

    /// Unassigns what readers have left. Nothing of it can come out of the consumer after this.
    fn let_go(&self) {
        let slots = &mut lock(&self.slots).by_partition;
        let left: Vec<u32> =
            slots.iter().filter(|(_, slot)| matches!(slot, Slot::Left)).map(|(partition, _)| *partition).collect();
        if left.is_empty() {
            return;
        }
        // A pause outlives the assignment, and the next reader would wait for ever.
        let list = self.list(left.iter().copied());
        match self.consumer.resume(&list).and_then(|()| self.consumer.incremental_unassign(&list)) {
            Ok(()) => slots.retain(|_, slot| !matches!(slot, Slot::Left)),
            Err(error) => warn!(topic = self.topic, %error, "partitions cannot be unassigned; trying again"),
        }
    }
}

#[async_trait]
impl Reader for KafkaReader {
    async fn next(&mut self, max: usize) -> Result<Vec<Record>, JournalError> {
        loop {
            if let Some(records) = self.take(max)? {
                return Ok(records);
            }
            self.buffer.more.notified().await;
        }
    }
}

impl KafkaReader {
    /// What is there, without records that were not asked for: where the broker had to begin
    /// earlier, it is passed over.
    fn take(&mut self, max: usize) -> Result<Option<Vec<Record>>, JournalError> {
        let mut held = lock(&self.buffer.held);
        if let Some(reason) = held.failure.take() {
            return Err(JournalError::Read { partition: self.partition, reason });
        }
        let mut records = Vec::with_capacity(held.records.len().min(max));
        while records.len() < max {
            let Some(record) = held.records.pop_front() else { break };
            held.bytes -= record.entry.key.len() + record.entry.value.as_ref().map_or(0, Bytes::len);
            if record.offset >= self.next {
                self.next = record.offset + 1;
                records.push(record);
            }
        }
        if held.is_paused && held.bytes < BUFFER_BYTES_MAX / 2 {
            held.is_paused = self.fetcher.consumer.resume(&self.fetcher.list([self.partition.index])).is_err();
        }
        Ok((!records.is_empty()).then_some(records))
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        lock(&self.fetcher.slots).by_partition.insert(self.partition.index, Slot::Left);
    }
}
