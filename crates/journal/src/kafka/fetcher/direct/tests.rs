//! The fetcher before two brokers that fail in every way (`simulated.rs`): each reader gets every
//! record once and in order, and hears of it if its log lost records.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::Duration;

use kafka_protocol::error::ResponseError;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    super::buffer::{Stop, Taken},
    simulated::{Former, PARTITIONS, SimulatedBrokers},
    *,
};
use crate::Record;

const ORDERS: &str = "test.orders";
const TOPICS: [(Topic, &str); 2] = [(Topic::Orders, ORDERS), (Topic::WalletTasks, "test.wallet-tasks")];
/// How often something happens in a history.
const STEPS: usize = 400;

fn fetcher(brokers: &SimulatedBrokers) -> DirectFetcher {
    let settings = KafkaSettings {
        bootstrap: brokers.bootstrap(),
        prefix: "test.".to_owned(),
        properties: BTreeMap::new(),
        session_timeout_ms: 6_000,
        append_timeout_ms: 60_000,
        queue_kib_max: 65_536,
    };
    DirectFetcher::start(&settings, "test")
}

/// A reader, and what it has read.
struct TestReader {
    buffer: Arc<Buffer>,
    source: Box<dyn Source>,
    read: Vec<Record>,
}

impl TestReader {
    fn open(fetcher: &DirectFetcher, topic: Topic, index: u32, from: Offset) -> Self {
        let (buffer, source) = fetcher.open(Partition { topic, index }, from, Pace::Prompt);
        Self { buffer, source, read: Vec::new() }
    }

    /// Takes what there is.
    fn take(&mut self) -> Option<Stop> {
        loop {
            let (taken, is_resumed) = self.buffer.take(7, || self.source.resume());
            if is_resumed {
                self.source.resumed();
            }
            match taken {
                Taken::Records(records) => self.read.extend(records),
                Taken::Stop(stop) => return Some(stop),
                Taken::Nothing => return None,
            }
        }
    }

    /// Reads until it has so many records or is stopped.
    async fn read(&mut self, count: usize) -> Option<Stop> {
        let reading = async {
            loop {
                if let Some(stop) = self.take() {
                    return Some(stop);
                }
                if self.read.len() >= count {
                    return None;
                }
                self.buffer.changed().await;
            }
        };
        let read = tokio::time::timeout(Duration::from_secs(30), reading).await;
        read.unwrap_or_else(|_| panic!("only {} of {count} records were read", self.read.len()))
    }

    /// Reads until it is stopped.
    async fn read_to_stop(&mut self) -> Stop {
        self.read(usize::MAX).await.unwrap()
    }
}

/// Waits until this is so.
async fn until(mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap();
}

fn append(brokers: &SimulatedBrokers, topic: &str, index: i32, values: &[&str]) {
    let values: Vec<Option<String>> = values.iter().map(|value| Some((*value).to_owned())).collect();
    brokers.log(topic, index, |log| log.append(&values));
}

/// One of the readers of a history, and where it began.
struct Begun {
    topic: usize,
    index: u32,
    from: Offset,
    reader: TestReader,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_brokers_answer_each_reader_gets_every_record_once_and_in_order() {
    for seed in 0..4 {
        let brokers = SimulatedBrokers::start(seed, 25).await;
        let fetcher = fetcher(&brokers);
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut open: Vec<Begun> = Vec::new();
        for step in 0..STEPS {
            let (topic, index) = (random.random_range(0..TOPICS.len()), random.random_range(0..PARTITIONS));
            let count = random.random_range(1..6);
            // Compaction leaves some values, at times none.
            let values: Vec<Option<String>> =
                (0..count).map(|of| random.random_bool(0.8).then(|| format!("{step}-{of}"))).collect();
            brokers.log(TOPICS[topic].1, index, |log| log.append(&values));
            if random.random_bool(0.1) {
                let (topic, index) = (random.random_range(0..TOPICS.len()), random.random_range(0..PARTITIONS));
                let end = brokers.log(TOPICS[topic].1, index, |log| log.end);
                let (index, from) = (index.unsigned_abs(), random.random_range(0..=end));
                let reader = TestReader::open(&fetcher, TOPICS[topic].0, index, from);
                open.push(Begun { topic, index, from, reader });
            }
            if !open.is_empty() && random.random_bool(0.05) {
                drop(open.swap_remove(random.random_range(0..open.len())));
            }
            for begun in &mut open {
                assert_eq!(begun.reader.take(), None, "seed {seed}, step {step}");
            }
            tokio::time::sleep(Duration::from_millis(random.random_range(0..3))).await;
        }
        brokers.with(|cluster| cluster.faults = 0);
        assert!(open.len() > 5, "seed {seed}: {} readers", open.len());
        for Begun { topic, index, from, mut reader } in open {
            let expected = brokers.log(TOPICS[topic].1, index.cast_signed(), |log| {
                log.records.iter().filter(|record| record.offset >= from).cloned().collect::<Vec<_>>()
            });
            assert_eq!(reader.read(expected.len()).await, None, "seed {seed}");
            assert_eq!(reader.read, expected, "seed {seed}: from {from}");
        }
    }
}

#[tokio::test]
async fn readers_of_one_partition_do_not_disturb_each_other() {
    let brokers = SimulatedBrokers::start(1, 0).await;
    let fetcher = fetcher(&brokers);
    append(&brokers, ORDERS, 0, &["a", "b", "c"]);
    let mut readers: Vec<TestReader> =
        [0, 0, 2].map(|from| TestReader::open(&fetcher, Topic::Orders, 0, from)).into_iter().collect();
    let lanes = |fetcher: &DirectFetcher| lock(&fetcher.0.0.state).tasks.len();
    assert_eq!((readers[0].read(3).await, readers[1].read(3).await, readers[2].read(1).await), (None, None, None));
    assert_eq!(lanes(&fetcher), 3);
    // The last reader moves into the lane that was left, and the next one takes its place.
    drop(readers.remove(1));
    let numbers: Vec<u32> = lock(&fetcher.0.0.state).subscriptions.values().map(|of| of.lane.number).collect();
    assert_eq!(numbers, [0, 1]);
    let mut again = TestReader::open(&fetcher, Topic::Orders, 0, 1);
    assert_eq!((again.read(2).await, lanes(&fetcher)), (None, 3));
    append(&brokers, ORDERS, 0, &["d"]);
    for reader in readers.iter_mut().chain([&mut again]) {
        let count = reader.read.len() + 1;
        assert_eq!(reader.read(count).await, None);
    }
}

#[tokio::test]
async fn a_reader_that_is_slow_gets_everything_and_bounds_what_is_kept() {
    let brokers = SimulatedBrokers::start(1, 0).await;
    let fetcher = fetcher(&brokers);
    let value = "x".repeat(512 << 10);
    for _ in 0..40 {
        append(&brokers, ORDERS, 0, &[&value]);
    }
    append(&brokers, ORDERS, 1, &["quick"]);
    let mut slow = TestReader::open(&fetcher, Topic::Orders, 0, 0);
    let mut quick = TestReader::open(&fetcher, Topic::Orders, 1, 0);
    assert_eq!(quick.read(1).await, None);
    until(|| slow.buffer.paused_since().is_some()).await;
    append(&brokers, ORDERS, 1, &["quicker"]);
    assert_eq!(quick.read(2).await, None, "while the other is full");
    let kept = lock(&fetcher.0.0.state).subscriptions[&0].next;
    assert!(kept < 14, "{kept} records of 512 KiB");
    // Now nothing but the reader itself wakes the task.
    drop(quick);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(slow.read(40).await, None);
}

#[tokio::test]
async fn a_log_that_lost_records_is_not_whole() {
    // The broker that leads afterwards, and what it has in place of the records that were lost.
    let cases: [(&str, i32, &[&str]); 3] = [
        ("the log is shorter under a new leader", 1, &[]),
        ("it has grown again", 1, &["x", "y", "z", "new"]),
        ("it has grown again under the same broker", 0, &["x", "y", "z", "new"]),
    ];
    for (case, leader, values) in cases {
        let brokers = SimulatedBrokers::start(1, 0).await;
        let fetcher = fetcher(&brokers);
        append(&brokers, ORDERS, 0, &["a"]);
        append(&brokers, ORDERS, 0, &["b", "c"]);
        let mut reader = TestReader::open(&fetcher, Topic::Orders, 0, 0);
        assert_eq!(reader.read(3).await, None, "{case}");
        brokers.log(ORDERS, 0, |log| {
            (log.leader, log.epoch) = (leader, log.epoch + 1);
            log.truncate(1);
            log.append(&values.iter().map(|value| Some((*value).to_owned())).collect::<Vec<_>>());
        });
        let stop = reader.read_to_stop().await;
        assert!(matches!(&stop, Stop::NotWhole(reason) if reason.contains("ends at offset 1")), "{case}: {stop:?}");
        assert_eq!(reader.read.len(), 3, "{case}");
    }
}

#[tokio::test]
async fn a_former_leader_that_is_behind_is_not_believed() {
    let brokers = SimulatedBrokers::start(1, 0).await;
    append(&brokers, ORDERS, 0, &["a"]);
    brokers.log(ORDERS, 0, |log| (log.leader, log.epoch) = (1, 1));
    append(&brokers, ORDERS, 0, &["b"]);
    // The broker that is asked first is cut off from the other one.
    brokers.log(ORDERS, 0, |log| log.former = Some(Former { leader: 0, epoch: 0, end: 1 }));
    let fetcher = fetcher(&brokers);
    let mut late = TestReader::open(&fetcher, Topic::Orders, 0, 2);
    let mut early = TestReader::open(&fetcher, Topic::Orders, 0, 0);
    assert_eq!(early.read(2).await, None);
    append(&brokers, ORDERS, 0, &["c"]);
    assert_eq!((late.read(1).await, early.read(3).await), (None, None));
}

#[tokio::test]
async fn a_reader_that_begins_after_the_end_or_before_the_start_hears_of_it_or_skips() {
    let brokers = SimulatedBrokers::start(1, 0).await;
    let fetcher = fetcher(&brokers);
    for value in ["a", "b", "c"] {
        append(&brokers, ORDERS, 0, &[value]);
    }
    let stop = TestReader::open(&fetcher, Topic::Orders, 0, 4).read_to_stop().await;
    assert!(matches!(&stop, Stop::NotWhole(reason) if reason.contains("ends before offset 4")), "{stop:?}");
    brokers.log(ORDERS, 0, |log| {
        log.start = 2;
        log.batches.retain(|(last, _, _)| *last >= 2);
    });
    let mut trimmed = TestReader::open(&fetcher, Topic::Orders, 0, 0);
    assert_eq!(trimmed.read(1).await, None);
    assert_eq!(trimmed.read[0].offset, 2);
    // The leader that it meets next knows nothing of what was trimmed.
    brokers.log(ORDERS, 0, |log| (log.leader, log.epoch) = (1, log.epoch + 1));
    append(&brokers, ORDERS, 0, &["d"]);
    assert_eq!(trimmed.read(2).await, None);
}

#[tokio::test]
async fn compressed_records_are_left_to_the_client_library() {
    let brokers = SimulatedBrokers::start(1, 0).await;
    let fetcher = fetcher(&brokers);
    append(&brokers, ORDERS, 0, &["a", "b"]);
    brokers.log(ORDERS, 0, |log| {
        let mut compressed = log.batches[0].2.clone();
        compressed[..8].copy_from_slice(&2_u64.to_be_bytes());
        compressed[22] = 4;
        let checksum = crc32c::crc32c(&compressed[21..]);
        compressed[17..21].copy_from_slice(&checksum.to_be_bytes());
        log.batches.push((3, 0, compressed));
        log.end = 4;
    });
    let mut reader = TestReader::open(&fetcher, Topic::Orders, 0, 0);
    assert_eq!(reader.read_to_stop().await, Stop::Compressed);
    assert_eq!(reader.read.len(), 2);
}

#[tokio::test]
async fn a_reader_hears_at_once_that_it_may_not_read_and_goes_on_when_it_may() {
    let brokers = SimulatedBrokers::start(1, 0).await;
    brokers.with(|cluster| cluster.refused = ResponseError::TopicAuthorizationFailed.code());
    let fetcher = fetcher(&brokers);
    let mut reader = TestReader::open(&fetcher, Topic::Orders, 0, 0);
    let stop = reader.read_to_stop().await;
    assert!(matches!(&stop, Stop::Failed(reason) if reason.contains("uthoriz")), "{stop:?}");
    brokers.with(|cluster| cluster.refused = 0);
    append(&brokers, ORDERS, 0, &["a"]);
    while reader.read(1).await.is_some() {}
    assert_eq!(reader.read.len(), 1);
}

#[tokio::test]
async fn the_tasks_end_with_the_last_reader() {
    let brokers = SimulatedBrokers::start(1, 0).await;
    let fetcher = fetcher(&brokers);
    append(&brokers, ORDERS, 0, &["a"]);
    let mut reader = TestReader::open(&fetcher, Topic::Orders, 0, 0);
    assert_eq!(reader.read(1).await, None);
    let shared = Arc::downgrade(&fetcher.0.0);
    drop(fetcher);
    append(&brokers, ORDERS, 0, &["b"]);
    assert_eq!(reader.read(2).await, None, "a reader may outlive the journal");
    drop(reader);
    until(|| shared.strong_count() == 0).await;
}
