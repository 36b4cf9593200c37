//! The floor of the benchmark on Kafka: a bare relay of a payment's hops and bytes on the client
//! library alone. It shares no code with the product's journal, so it does not share its faults. It
//! makes no decisions, waits only for the broker, and uses the settings that gave the highest rate
//! in measurements.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    config::FromClientConfig,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseRecord, DefaultProducerContext, ThreadedProducer},
};
use twqr_journal::kafka::KafkaSettings;
use twqr_loadgen::latency_histogram;

use super::{
    figures::{Percentiles, Step},
    record_sizes::{OUTCOME_BYTES, PAY_BYTES, REPLY_BYTES, STATE_BYTES, STATE_KEY_BYTES, TASK_BYTES},
};

/// Partitions of each topic; more of them only cost latency on one machine.
const PARTITIONS: i32 = 4;
/// How long a thread waits for a record before it looks whether to end.
const POLL: Duration = Duration::from_millis(100);
/// How long new topics may take until each partition has a leader.
const LED_WITHIN: Duration = Duration::from_secs(20);
/// Up to this rate records leave at once, one request at a time; above it they wait for
/// [`LINGER_MS`].
const PROMPT_RATE_MAX: u32 = 2_000;
const LINGER_MS: &str = "5";
/// The first byte of a record: `PAY` in a payment's request and task, `OUTCOME` in the others.
/// Eight bytes with the payment's start follow.
const PAY: u8 = 1;
const OUTCOME: u8 = 2;

type Latencies = Arc<Mutex<Histogram<u64>>>;
type Producer = ThreadedProducer<DefaultProducerContext>;

/// The topics of a relay, under one random prefix.
#[derive(Clone)]
pub(super) struct Topics {
    settings: KafkaSettings,
    orders: String,
    tasks: String,
    replies: String,
    states: String,
}

impl Topics {
    /// Creates the four topics.
    pub(super) async fn create(settings: &KafkaSettings, replication: u32) -> anyhow::Result<Self> {
        let name = |topic: &str| format!("{}{topic}", settings.prefix);
        let topics = Self {
            settings: settings.clone(),
            orders: name("orders"),
            tasks: name("tasks"),
            replies: name("replies"),
            states: name("states"),
        };
        let replication = i32::try_from(replication)?;
        let wanted = topics.names().map(|name| NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(replication)));
        let admin: AdminClient<DefaultClientContext> = topics.client(&[])?;
        for created in admin.create_topics(&wanted, &AdminOptions::new()).await? {
            created.map_err(|(topic, error)| anyhow::anyhow!("{topic} cannot be created: {error}"))?;
        }
        topics.until_led().await?;
        Ok(topics)
    }

    /// Waits until each partition has a leader.
    async fn until_led(&self) -> anyhow::Result<()> {
        let consumer: BaseConsumer = self.client(&[("group.id", &self.orders)])?;
        let deadline = Instant::now() + LED_WITHIN;
        for (name, partition) in self.names().into_iter().flat_map(|name| (0..PARTITIONS).map(move |n| (name, n))) {
            while let Err(error) = consumer.fetch_watermarks(name, partition, POLL) {
                anyhow::ensure!(Instant::now() < deadline, "{name} has no leader: {error}");
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(())
    }

    /// Deletes the four topics.
    pub(super) async fn delete(&self) -> anyhow::Result<()> {
        let admin: AdminClient<DefaultClientContext> = self.client(&[])?;
        admin.delete_topics(&self.names(), &AdminOptions::new()).await?;
        Ok(())
    }

    fn names(&self) -> [&str; 4] {
        [&self.orders, &self.tasks, &self.replies, &self.states]
    }

    fn client<T: FromClientConfig>(&self, properties: &[(&str, &str)]) -> anyhow::Result<T> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.settings.bootstrap);
        for (name, value) in &self.settings.properties {
            config.set(name, value);
        }
        for (name, value) in properties {
            config.set(*name, *value);
        }
        Ok(config.create()?)
    }

    fn producer(&self, rate: u32) -> anyhow::Result<Producer> {
        let (linger, in_flight) = if rate <= PROMPT_RATE_MAX { ("0", "1") } else { (LINGER_MS, "5") };
        self.client(&[
            ("acks", "all"),
            ("enable.idempotence", "true"),
            ("linger.ms", linger),
            ("max.in.flight.requests.per.connection", in_flight),
            ("queue.buffering.max.messages", "1000000"),
        ])
    }

    /// A consumer of all partitions of a topic, from their present ends on.
    fn consumer(&self, topic: &str) -> anyhow::Result<BaseConsumer> {
        let consumer: BaseConsumer = self.client(&[("group.id", topic), ("enable.auto.commit", "false")])?;
        let mut list = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            let (_, end) = consumer.fetch_watermarks(topic, partition, Duration::from_secs(10))?;
            list.add_partition_offset(topic, partition, Offset::Offset(end))?;
        }
        consumer.assign(&list)?;
        Ok(consumer)
    }
}

/// All roles of a payment's path, each with its own clients and thread, with the settings for one
/// rate.
pub(super) struct BareRelay {
    topics: Topics,
    rate: u32,
    begun: Instant,
    latencies: Latencies,
    /// Sends the payments; of the warm-up, too, so that it is connected.
    sender: Arc<Producer>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<anyhow::Result<()>>>,
}

impl BareRelay {
    /// Starts each role at the present end of its topic.
    pub(super) fn start(topics: &Topics, rate: u32) -> anyhow::Result<Self> {
        let mut relay = Self {
            topics: topics.clone(),
            rate,
            begun: Instant::now(),
            latencies: Arc::new(Mutex::new(latency_histogram())),
            sender: Arc::new(topics.producer(rate)?),
            stop: Arc::default(),
            threads: Vec::new(),
        };
        let (tasks, replies, states) = (topics.tasks.clone(), topics.replies.clone(), topics.states.clone());
        relay.role(&topics.orders, move |to, mark, partition| {
            if mark[0] == PAY {
                send(to, &tasks, partition, record::<TASK_BYTES>(PAY, mark), &[])
            } else {
                send(to, &replies, partition, record::<REPLY_BYTES>(OUTCOME, mark), &[])?;
                send(to, &states, partition, record::<STATE_BYTES>(OUTCOME, mark), &key(mark))
            }
        })?;
        let orders = topics.orders.clone();
        relay.role(&topics.tasks, move |to, mark, partition| {
            send(to, &orders, partition, record::<OUTCOME_BYTES>(OUTCOME, mark), &[])
        })?;
        let (begun, latencies) = (relay.begun, relay.latencies.clone());
        relay.role(&topics.replies, move |_, mark, _| {
            let taken_us = (begun.elapsed().as_micros() as u64).saturating_sub(start_us(mark));
            latencies.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(taken_us.max(1));
            Ok(())
        })?;
        relay.role(&topics.states, |_, _, _| Ok(()))?;
        Ok(relay)
    }

    /// Starts a thread that gives each record of a topic to `act`, with a producer.
    fn role(
        &mut self,
        topic: &str,
        act: impl Fn(&Producer, &[u8], i32) -> anyhow::Result<()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let (consumer, producer) = (self.topics.consumer(topic)?, self.topics.producer(self.rate)?);
        let stop = self.stop.clone();
        self.threads.push(thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let Some(read) = consumer.poll(POLL) else { continue };
                let read = read?;
                act(&producer, read.payload().context("a record has no value")?, read.partition())?;
            }
            Ok(())
        }));
        Ok(())
    }

    /// Starts the payments at random times and waits for the last reply.
    pub(super) async fn step(&self, count: usize) -> anyhow::Result<Step> {
        let latencies = || self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        latencies().clear();
        let started = Instant::now();
        let (producer, orders) = (self.sender.clone(), self.topics.orders.clone());
        let (rate, begun) = (self.rate, self.begun);
        let pacer = thread::spawn(move || pace(&producer, &orders, rate, count, begun));
        let patience = Duration::from_secs_f64(count as f64 / f64::from(rate) + 20.0);
        while (latencies().len() as usize) < count && started.elapsed() < patience {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        pacer.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
        let measured = latencies().clone();
        let answered_rate = measured.len() as f64 / started.elapsed().as_secs_f64();
        let errors = count - measured.len() as usize;
        Ok(Step { rate, answered_rate, errors, latency: Percentiles::of(&measured) })
    }

    /// Stops all roles.
    pub(super) fn end(self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().map_err(|_| anyhow::anyhow!("a role of the relay panicked"))??;
        }
        Ok(())
    }
}

/// Sends the payments' first records at random times; returns once all are acknowledged.
fn pace(producer: &Producer, orders: &str, rate: u32, count: usize, begun: Instant) -> anyhow::Result<()> {
    use rdkafka::producer::Producer as _;
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut intended = Instant::now();
    for _ in 0..count {
        intended += Duration::from_secs_f64(-(1.0 - random.random::<f64>()).ln() / f64::from(rate));
        thread::sleep(intended.saturating_duration_since(Instant::now()));
        let mut mark = [PAY; 9];
        mark[1..].copy_from_slice(&(intended.duration_since(begun).as_micros() as u64).to_be_bytes());
        send(producer, orders, random.random_range(0..PARTITIONS), record::<PAY_BYTES>(PAY, &mark), &[])?;
    }
    producer.flush(Duration::from_secs(20))?;
    Ok(())
}

fn record<const BYTES: usize>(kind: u8, mark: &[u8]) -> [u8; BYTES] {
    let mut value = [0; BYTES];
    value[0] = kind;
    for (to, from) in value.iter_mut().zip(mark).skip(1).take(8) {
        *to = *from;
    }
    value
}

/// The key of the state of a payment.
fn key(mark: &[u8]) -> [u8; STATE_KEY_BYTES] {
    let mut key = [0; STATE_KEY_BYTES];
    key[..8].copy_from_slice(&start_us(mark).to_be_bytes());
    key
}

fn start_us(mark: &[u8]) -> u64 {
    mark.get(1..9).and_then(|bytes| bytes.first_chunk::<8>()).map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// Sends a record, and waits while the queue to the broker is full.
fn send(producer: &Producer, topic: &str, partition: i32, value: impl AsRef<[u8]>, key: &[u8]) -> anyhow::Result<()> {
    let mut record = BaseRecord::to(topic).partition(partition).payload(value.as_ref()).key(key);
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => record = back,
            Err((error, _)) => return Err(error.into()),
        }
        thread::sleep(Duration::from_micros(100));
    }
}
