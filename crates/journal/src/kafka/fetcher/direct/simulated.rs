//! Two simulated brokers for the tests of the fetcher. They keep logs in memory and fail in every
//! way: requests and answers are lost, answers are damaged, belong to another request, leave a
//! partition out or are cut off, partitions refuse and move.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, sync::Mutex, time::Duration};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::{
    error::ResponseError,
    messages::{
        BrokerId, FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse, MetadataRequest,
        MetadataResponse, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
        fetch_response::{FetchableTopicResponse, PartitionData},
        list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse},
        metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic},
        offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult},
    },
    protocol::{Request, StrBytes},
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::{
    Entry, Offset, Record,
    kafka::{
        lock,
        wire::{request, written},
    },
};

/// How many partitions each topic has.
pub(super) const PARTITIONS: i32 = 2;

/// A record of a log.
pub(super) fn stored(offset: Offset, value: &str) -> Record {
    let key = if offset.is_multiple_of(2) { Bytes::new() } else { Bytes::from(format!("key {offset}")) };
    Record { offset, entry: Entry { key, value: Some(Bytes::from(value.to_owned())) } }
}

/// Encodes a batch whose last offset is `last`, although compaction may have removed that record.
pub(super) fn batch(records: &[Record], last: Offset, epoch: i32) -> Vec<u8> {
    let first = records.first().map_or(last, |record| record.offset);
    let mut checked = BytesMut::new();
    checked.put_i16(0);
    checked.put_i32(i32::try_from(last - first).unwrap());
    checked.put_bytes(0, 8 + 8 + 8 + 2 + 4);
    checked.put_i32(i32::try_from(records.len()).unwrap());
    for record in records {
        let mut body = BytesMut::from(&[0, 0][..]);
        put_varint(&mut body, i64::try_from(record.offset - first).unwrap());
        for part in [(!record.entry.key.is_empty()).then_some(&record.entry.key), record.entry.value.as_ref()] {
            put_varint(&mut body, part.map_or(-1, |bytes| i64::try_from(bytes.len()).unwrap()));
            body.put_slice(part.map_or(&[], |bytes| bytes));
        }
        put_varint(&mut body, 0);
        put_varint(&mut checked, i64::try_from(body.len()).unwrap());
        checked.put_slice(&body);
    }
    let mut bytes = BytesMut::new();
    bytes.put_u64(first);
    bytes.put_i32(i32::try_from(checked.len()).unwrap() + 9);
    bytes.put_i32(epoch);
    bytes.put_i8(2);
    bytes.put_u32(crc32c::crc32c(&checked));
    bytes.put_slice(&checked);
    bytes.to_vec()
}

fn put_varint(bytes: &mut BytesMut, number: i64) {
    let mut left = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while left >= 0x80 {
        bytes.put_u8(u8::try_from(left & 0x7f).unwrap() | 0x80);
        left >>= 7;
    }
    bytes.put_u8(u8::try_from(left).unwrap());
}

/// The brokers, which are numbered from 0.
pub(super) struct SimulatedBrokers(Mutex<SimulatedCluster>);

pub(super) struct SimulatedCluster {
    random: ChaCha8Rng,
    addresses: Vec<SocketAddr>,
    pub(super) logs: BTreeMap<(String, i32), Log>,
    /// Of how many requests one fails; 0 for none.
    pub(super) faults: u32,
    /// Every topic has this error.
    pub(super) refused: i16,
}

/// The log of a partition.
#[derive(Default)]
pub(super) struct Log {
    pub(super) leader: i32,
    pub(super) epoch: i32,
    /// The oldest offset that is kept.
    pub(super) start: Offset,
    /// The offset after the newest record.
    pub(super) end: Offset,
    /// Encoded batches with their last offsets and epochs.
    pub(super) batches: Vec<(Offset, i32, Vec<u8>)>,
    pub(super) records: Vec<Record>,
    /// A broker that believes that it still leads, and says so.
    pub(super) former: Option<Former>,
}

/// A broker that has led, and has heard nothing since.
#[derive(Clone, Copy)]
pub(super) struct Former {
    pub(super) leader: i32,
    pub(super) epoch: i32,
    /// Where its log ends.
    pub(super) end: Offset,
}

impl Log {
    /// Appends a batch of these values, of which compaction leaves those that are given.
    pub(super) fn append(&mut self, values: &[Option<String>]) {
        if values.is_empty() {
            return;
        }
        let records: Vec<Record> = (self.end..)
            .zip(values)
            .filter_map(|(offset, value)| value.as_deref().map(|value| stored(offset, value)))
            .collect();
        self.end += Offset::try_from(values.len()).unwrap();
        self.batches.push((self.end - 1, self.epoch, batch(&records, self.end - 1, self.epoch)));
        self.records.extend(records);
    }

    /// Loses what follows an offset at which a batch begins, as under a leader that lacked it.
    pub(super) fn truncate(&mut self, end: Offset) {
        self.batches.retain(|(last, _, _)| *last < end);
        self.records.retain(|record| record.offset < end);
        self.end = end;
    }

    /// Where the log of this broker ends.
    fn end_at(&self, broker: i32) -> Offset {
        self.former.filter(|former| former.leader == broker).map_or(self.end, |former| former.end)
    }

    /// Where the newest epoch up to this one ends, or the oldest later one begins.
    fn epoch_end(&self, epoch: i32) -> Offset {
        let later = self.batches.iter().position(|(_, of, _)| *of > epoch);
        match later {
            None => self.end,
            Some(0) => self.start,
            Some(later) => self.batches[later - 1].0 + 1,
        }
    }

    fn fenced(&self, broker: i32, epoch: i32) -> i16 {
        if self.former.is_some_and(|former| (former.leader, former.epoch) == (broker, epoch)) {
            return 0;
        }
        match epoch {
            _ if broker != self.leader => ResponseError::NotLeaderOrFollower.code(),
            -1 => 0,
            _ if epoch < self.epoch => ResponseError::FencedLeaderEpoch.code(),
            _ if epoch > self.epoch => ResponseError::UnknownLeaderEpoch.code(),
            _ => 0,
        }
    }
}

impl SimulatedBrokers {
    pub(super) async fn start(seed: u64, faults: u32) -> Arc<Self> {
        let listeners =
            [TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap()];
        let addresses = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        let (random, logs) = (ChaCha8Rng::seed_from_u64(seed), BTreeMap::new());
        let brokers = Arc::new(Self(Mutex::new(SimulatedCluster { random, addresses, logs, faults, refused: 0 })));
        for (broker, listener) in (0..).zip(listeners) {
            let brokers = brokers.clone();
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(brokers.clone().answer_all(broker, stream));
                }
            });
        }
        brokers
    }

    pub(super) fn bootstrap(&self) -> String {
        self.with(|cluster| cluster.addresses[0].to_string())
    }

    /// Does something with the cluster.
    pub(super) fn with<T>(&self, with: impl FnOnce(&mut SimulatedCluster) -> T) -> T {
        with(&mut lock(&self.0))
    }

    /// Does something with a partition's log.
    pub(super) fn log<T>(&self, topic: &str, index: i32, with: impl FnOnce(&mut Log) -> T) -> T {
        self.with(|cluster| with(cluster.logs.entry((topic.to_owned(), index)).or_default()))
    }

    /// Answers the requests of a connection until one is lost, or its answer.
    async fn answer_all(self: Arc<Self>, broker: i32, mut stream: TcpStream) -> std::io::Result<()> {
        loop {
            let mut frame = vec![0; stream.read_u32().await? as usize];
            stream.read_exact(&mut frame).await?;
            let (answer, is_idle) = lock(&self.0).answer(broker, frame.into());
            if is_idle {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            let Some(answer) = answer else { return Ok(()) };
            stream.write_u32(u32::try_from(answer.len()).unwrap()).await?;
            stream.write_all(&answer).await?;
        }
    }
}

impl SimulatedCluster {
    /// The chance that this goes wrong.
    fn is_faulty(&mut self) -> bool {
        self.faults > 0 && self.random.random_range(0..self.faults) == 0
    }

    /// The answer, unless it is lost, and whether it has no records.
    fn answer(&mut self, broker: i32, frame: Bytes) -> (Option<Bytes>, bool) {
        let key = (&*frame).get_i16();
        if key == MetadataRequest::KEY {
            let (number, asked) = request::<MetadataRequest>(frame);
            return (Some(written::<MetadataRequest>(number, &self.metadata(broker, asked))), false);
        }
        let fault = if self.is_faulty() { self.random.random_range(0..4) } else { 4 };
        let of_another = i32::from(fault == 1);
        if fault == 0 {
            return (None, false);
        }
        let (answer, is_idle) = if key == ListOffsetsRequest::KEY {
            let (correlation, asked) = request::<ListOffsetsRequest>(frame);
            (written::<ListOffsetsRequest>(correlation - of_another, &self.oldest(broker, asked)), false)
        } else if key == OffsetForLeaderEpochRequest::KEY {
            let (correlation, asked) = request::<OffsetForLeaderEpochRequest>(frame);
            (written::<OffsetForLeaderEpochRequest>(correlation - of_another, &self.epoch_ends(broker, asked)), false)
        } else {
            let (correlation, asked) = request::<FetchRequest>(frame);
            let answer = self.fetch(broker, asked);
            let has_records = |of: &PartitionData| of.records.as_ref().is_some_and(|bytes| !bytes.is_empty());
            let is_idle = !answer.responses.iter().flat_map(|of| &of.partitions).any(has_records);
            (written::<FetchRequest>(correlation - of_another, &answer), is_idle)
        };
        match fault {
            2 => (Some(answer.slice(..answer.len() / 2)), is_idle),
            3 => (None, is_idle),
            _ => (Some(answer), is_idle),
        }
    }

    fn metadata(&mut self, broker: i32, asked: MetadataRequest) -> MetadataResponse {
        let brokers = (0..).zip(&self.addresses).map(|(id, address)| {
            let (host, port) = (StrBytes::from_string(address.ip().to_string()), address.port().into());
            MetadataResponseBroker::default().with_node_id(BrokerId(id)).with_host(host).with_port(port)
        });
        let brokers = brokers.collect();
        let topics = asked.topics.unwrap().into_iter().map(|topic| {
            let name = topic.name.unwrap();
            let refused = MetadataResponseTopic::default().with_name(Some(name.clone()));
            if self.refused != 0 {
                return refused.with_error_code(self.refused);
            }
            let partition = |index| {
                let log = self.logs.entry((name.to_string(), index)).or_default();
                let former = log.former.filter(|former| former.leader == broker);
                MetadataResponsePartition::default()
                    .with_partition_index(index)
                    .with_leader_id(BrokerId(former.map_or(log.leader, |former| former.leader)))
                    .with_leader_epoch(former.map_or(log.epoch, |former| former.epoch))
            };
            refused.with_partitions((0..PARTITIONS).map(partition).collect())
        });
        let topics = topics.collect();
        MetadataResponse::default().with_brokers(brokers).with_topics(topics)
    }

    fn fetch(&mut self, broker: i32, asked: FetchRequest) -> FetchResponse {
        let topics = asked.topics.into_iter().map(|of_topic| {
            let mut partitions = Vec::new();
            for one in of_topic.partitions {
                if self.is_faulty() {
                    continue;
                }
                let moves = self.is_faulty();
                let refuses = self.is_faulty();
                let cut = self.is_faulty().then(|| self.random.random_range(0..200));
                let log = self.logs.entry((of_topic.topic.to_string(), one.partition)).or_default();
                if moves {
                    (log.leader, log.epoch) = (1 - log.leader, log.epoch + 1);
                }
                let data = PartitionData::default().with_partition_index(one.partition);
                let next = one.fetch_offset.cast_unsigned();
                let code = match log.fenced(broker, one.current_leader_epoch) {
                    0 if refuses => ResponseError::KafkaStorageError.code(),
                    0 if next < log.start || next > log.end_at(broker) => ResponseError::OffsetOutOfRange.code(),
                    code => code,
                };
                if code != 0 {
                    partitions.push(data.with_error_code(code).with_records(None));
                    continue;
                }
                let mut bytes = Vec::new();
                for (last, _, batch) in &log.batches {
                    if *last >= next && bytes.len() < 1 << 20 {
                        bytes.extend_from_slice(batch);
                    }
                }
                if let Some(cut) = cut {
                    bytes.truncate(cut);
                }
                partitions.push(data.with_records(Some(bytes.into())));
            }
            FetchableTopicResponse::default().with_topic(of_topic.topic.clone()).with_partitions(partitions)
        });
        FetchResponse::default().with_responses(topics.collect())
    }

    fn oldest(&mut self, broker: i32, asked: ListOffsetsRequest) -> ListOffsetsResponse {
        let topics = asked.topics.into_iter().map(|of_topic| {
            let partitions = of_topic.partitions.iter().map(|one| {
                let log = self.logs.entry((of_topic.name.to_string(), one.partition_index)).or_default();
                ListOffsetsPartitionResponse::default()
                    .with_partition_index(one.partition_index)
                    .with_error_code(log.fenced(broker, one.current_leader_epoch))
                    .with_offset(log.start.cast_signed())
            });
            let partitions = partitions.collect();
            ListOffsetsTopicResponse::default().with_name(of_topic.name.clone()).with_partitions(partitions)
        });
        ListOffsetsResponse::default().with_topics(topics.collect())
    }

    fn epoch_ends(&mut self, broker: i32, asked: OffsetForLeaderEpochRequest) -> OffsetForLeaderEpochResponse {
        let topics = asked.topics.into_iter().map(|of_topic| {
            let partitions = of_topic.partitions.iter().map(|one| {
                let log = self.logs.entry((of_topic.topic.to_string(), one.partition)).or_default();
                EpochEndOffset::default()
                    .with_partition(one.partition)
                    .with_error_code(log.fenced(broker, one.current_leader_epoch))
                    .with_end_offset(log.epoch_end(one.leader_epoch).min(log.end_at(broker)).cast_signed())
            });
            let partitions = partitions.collect();
            OffsetForLeaderTopicResult::default().with_topic(of_topic.topic.clone()).with_partitions(partitions)
        });
        OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
    }
}
