//! The producer before two brokers that speak the protocol and fail in every way: requests and
//! answers are lost, answers are damaged, are for another request, or leave a partition out;
//! partitions move, refuse, and forget numbers. What is acknowledged is written once and in order.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::net::SocketAddr;

use bytes::{Buf, Bytes};
use kafka_protocol::{
    messages::{
        BrokerId, InitProducerIdRequest, InitProducerIdResponse, MetadataRequest, MetadataResponse, ProduceRequest,
        ProduceResponse, ProducerId,
        metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic},
        produce_response::{PartitionProduceResponse, TopicProduceResponse},
    },
    protocol::{Request, StrBytes},
    records::{Record, RecordBatchDecoder},
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::{queue::Outcome, simulated_log::SimulatedLog, *};
use crate::{
    JournalError,
    kafka::wire::{request, written},
};

const PARTITIONS: i32 = 2;
const TOPICS: [Topic; 2] = [Topic::Orders, Topic::WalletTasks];
/// How often something is appended.
const APPENDS: usize = 600;
/// Codes of the protocol.
const OUT_OF_ORDER: i16 = 45;
const NOT_LEADER: i16 = 6;
const NOT_ENOUGH_REPLICAS_AFTER_APPEND: i16 = 20;
const INVALID_RECORD: i16 = 87;

/// The brokers, which are numbered from 0.
struct Brokers(Mutex<Simulated>);

struct Simulated {
    random: ChaCha8Rng,
    addresses: Vec<SocketAddr>,
    partitions: BTreeMap<(String, i32), SimulatedPartition>,
    producers: i64,
}

#[derive(Default)]
struct SimulatedPartition {
    leader: i32,
    log: SimulatedLog,
}

impl Brokers {
    async fn start(seed: u64) -> Arc<Self> {
        let listeners =
            [TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap()];
        let addresses = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        let (random, partitions) = (ChaCha8Rng::seed_from_u64(seed), BTreeMap::new());
        let brokers = Arc::new(Self(Mutex::new(Simulated { random, addresses, partitions, producers: 0 })));
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

    /// Answers the requests of a connection until one is lost, or its answer.
    async fn answer_all(self: Arc<Self>, broker: i32, mut stream: TcpStream) -> std::io::Result<()> {
        loop {
            let mut frame = vec![0; stream.read_u32().await? as usize];
            stream.read_exact(&mut frame).await?;
            let Some(answer) = lock(&self.0).answer(broker, frame.into()) else { return Ok(()) };
            stream.write_u32(u32::try_from(answer.len()).unwrap()).await?;
            stream.write_all(&answer).await?;
        }
    }
}

impl Simulated {
    fn answer(&mut self, broker: i32, frame: Bytes) -> Option<Bytes> {
        let key = (&*frame).get_i16();
        if key == MetadataRequest::KEY {
            let (correlation, asked) = request::<MetadataRequest>(frame);
            return Some(written::<MetadataRequest>(correlation, &self.metadata(asked)));
        }
        if key == InitProducerIdRequest::KEY {
            let (correlation, _) = request::<InitProducerIdRequest>(frame);
            self.producers += 1;
            let answer = InitProducerIdResponse::default().with_producer_id(ProducerId(self.producers));
            return Some(written::<InitProducerIdRequest>(correlation, &answer.with_producer_epoch(0)));
        }
        let (correlation, asked) = request::<ProduceRequest>(frame);
        let fault = self.random.random_range(0..40);
        match fault {
            0 => return None,
            // The answer to another request, of which everything was written.
            1 => return Some(written::<ProduceRequest>(correlation.wrapping_sub(1), &all_written(asked))),
            _ => {}
        }
        let answer = written::<ProduceRequest>(correlation, &self.produce(broker, asked));
        match fault {
            2 => None,
            3 => Some(answer.slice(..5)),
            _ => Some(answer),
        }
    }

    fn metadata(&mut self, asked: MetadataRequest) -> MetadataResponse {
        let brokers = (0..).zip(&self.addresses).map(|(id, address)| {
            let (host, port) = (StrBytes::from_string(address.ip().to_string()), address.port().into());
            MetadataResponseBroker::default().with_node_id(BrokerId(id)).with_host(host).with_port(port)
        });
        let brokers = brokers.collect();
        let topics = asked.topics.unwrap().into_iter().map(|topic| {
            let name = topic.name.unwrap();
            let partition = |index| {
                let leader = self.partitions.entry((name.to_string(), index)).or_default().leader;
                MetadataResponsePartition::default().with_partition_index(index).with_leader_id(BrokerId(leader))
            };
            let partitions = (0..PARTITIONS).map(partition).collect();
            MetadataResponseTopic::default().with_name(Some(name)).with_partitions(partitions)
        });
        let topics = topics.collect();
        MetadataResponse::default().with_brokers(brokers).with_topics(topics)
    }

    fn produce(&mut self, broker: i32, asked: ProduceRequest) -> ProduceResponse {
        assert_eq!(asked.acks, -1, "all replicas in sync must have it");
        let topics = asked.topic_data.into_iter().map(|of_topic| {
            let results = of_topic.partition_data.into_iter().filter_map(|of_partition| {
                let mut batch = of_partition.records.unwrap();
                let records = RecordBatchDecoder::decode(&mut batch).unwrap().records;
                let place = (of_topic.name.to_string(), of_partition.index);
                let (index, code) = self.result(broker, place, &records)?;
                Some(PartitionProduceResponse::default().with_index(index).with_error_code(code))
            });
            let results = results.collect();
            TopicProduceResponse::default().with_name(of_topic.name.clone()).with_partition_responses(results)
        });
        ProduceResponse::default().with_responses(topics.collect())
    }

    /// The partition and the code of a batch's result; `None` if the answer leaves it out.
    fn result(&mut self, broker: i32, place: (String, i32), records: &[Record]) -> Option<(i32, i16)> {
        let (fault, index) = (self.random.random_range(0..40), place.1);
        let SimulatedPartition { leader, log } = self.partitions.entry(place).or_default();
        if *leader != broker || fault == 0 {
            *leader = if *leader == broker { 1 - broker } else { *leader };
            return Some((index, NOT_LEADER));
        }
        match fault {
            1 => return None,
            2 => return Some((index, INVALID_RECORD)),
            // No partition has this number.
            3 => return Some((-index, if index > 0 { 0 } else { NOT_LEADER })),
            4 => log.forget_numbers(),
            _ => {}
        }
        let code = if matches!(log.write(records), Outcome::Written(_)) { 0 } else { OUT_OF_ORDER };
        match fault {
            5 => None,
            6 if code == 0 => Some((index, NOT_ENOUGH_REPLICAS_AFTER_APPEND)),
            _ => Some((index, code)),
        }
    }
}

/// The answer by which all batches of a request are written.
fn all_written(asked: ProduceRequest) -> ProduceResponse {
    let topics = asked.topic_data.into_iter().map(|of_topic| {
        let result = |index| PartitionProduceResponse::default().with_index(index);
        let results = of_topic.partition_data.iter().map(|of_partition| result(of_partition.index)).collect();
        TopicProduceResponse::default().with_name(of_topic.name.clone()).with_partition_responses(results)
    });
    ProduceResponse::default().with_responses(topics.collect())
}

fn producer(brokers: &Brokers) -> DirectProducer {
    let settings = KafkaSettings {
        bootstrap: lock(&brokers.0).addresses[0].to_string(),
        prefix: "test.".to_owned(),
        properties: BTreeMap::new(),
        session_timeout_ms: 6_000,
        append_timeout_ms: 60_000,
        queue_kib_max: 65_536,
    };
    DirectProducer::start(&settings, "test")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_brokers_answer_what_is_acknowledged_is_written_once_and_in_order() {
    for seed in 0..3 {
        let brokers = Brokers::start(seed).await;
        let producer = producer(&brokers);
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut appends = Vec::new();
        for number in 0..APPENDS {
            let topic = TOPICS[random.random_range(0..TOPICS.len())];
            let partition = Partition { topic, index: random.random_range(0..PARTITIONS.unsigned_abs()) };
            let values: Vec<String> = (0..random.random_range(1..4)).map(|of| format!("{number}-{of}")).collect();
            let entries = values.iter().cloned().map(Entry::plain).collect();
            appends.push((partition, values, producer.append(partition, entries)));
            tokio::time::sleep(Duration::from_millis(random.random_range(0..3))).await;
        }
        let (mut ends, mut acknowledged) = (BTreeMap::<Partition, usize>::new(), 0);
        for (partition, values, ack) in appends {
            let result = tokio::time::timeout(Duration::from_mins(1), ack).await.unwrap();
            let place = (format!("test.{}", partition.topic.name()), i32::try_from(partition.index).unwrap());
            let simulated = lock(&brokers.0);
            let log = &simulated.partitions[&place].log.values;
            for value in values {
                let found: Vec<usize> = (0..log.len()).filter(|at| log[*at] == value).collect();
                assert!(found.len() <= 1, "seed {seed}: {value} is in {partition} at {found:?}");
                match &result {
                    Ok(()) => {
                        let at = *found.first().unwrap_or_else(|| panic!("seed {seed}: {value} is lost"));
                        let end = ends.entry(partition).or_default();
                        assert!(at >= *end, "seed {seed}: {value} is in {partition} at {at}, before {end}");
                        *end = at + 1;
                        acknowledged += 1;
                    }
                    Err(JournalError::AppendRefused { .. }) => assert!(found.is_empty(), "seed {seed}: {value}"),
                    Err(_) => {}
                }
            }
        }
        assert!(acknowledged > APPENDS, "seed {seed}: {acknowledged} entries");
        producer.close().await;
        assert_eq!(lock(&producer.0.0.state).messages, 0);
    }
}
