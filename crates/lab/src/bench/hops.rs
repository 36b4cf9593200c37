//! The floor of a journal: it appends and reads the records of payments, in their real sizes,
//! without any decisions. The records of a payment are one on `orders`, a task, an outcome on
//! `orders`, a reply and a state.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::task::JoinSet;
use twqr_journal::{Entry, Journal, Partition, Topic};
use twqr_loadgen::latency_histogram;

use super::figures::{Percentiles, Step};

/// The sizes of the records of one payment, in bytes, as the router writes them.
pub(super) const PAY_BYTES: usize = 260;
pub(super) const TASK_BYTES: usize = 260;
pub(super) const OUTCOME_BYTES: usize = 110;
pub(super) const REPLY_BYTES: usize = 330;
pub(super) const STATE_BYTES: usize = 400;
pub(super) const STATE_KEY_BYTES: usize = 32;
const BATCH_RECORDS_MAX: usize = 1_024;

/// The first byte of a record: `PAY` in a payment's request and task, `OUTCOME` in its outcome,
/// reply and state. Eight bytes with the payment's start follow, then four with its shard.
const PAY: u8 = 1;
const OUTCOME: u8 = 2;

pub(super) type Shared = Arc<dyn Journal>;
pub(super) type Latencies = Arc<Mutex<Histogram<u64>>>;

/// All roles of a payment's path, each with its own journal client, like separate processes.
pub(super) struct Hops {
    ingress: Shared,
    begun: Instant,
    latencies: Latencies,
    running: JoinSet<anyhow::Result<()>>,
}

impl Hops {
    /// Starts each role at the present end of its partitions. The routers share the shards evenly,
    /// and the workers the task partitions.
    pub(super) async fn start(
        ingress: Shared,
        routers: Vec<Shared>,
        workers: Vec<Shared>,
        tracker: Shared,
    ) -> anyhow::Result<Self> {
        let latencies: Latencies = Arc::new(Mutex::new(latency_histogram()));
        let begun = Instant::now();
        let mut running = JoinSet::new();
        for index in 0..ingress.partitions(Topic::Orders) {
            let journal = routers[index as usize % routers.len()].clone();
            let from = journal.end(Partition { topic: Topic::Orders, index }).await?;
            running.spawn(router(journal, index, from));
            let states = Partition { topic: Topic::OrderStates, index };
            let from = tracker.end(states).await?;
            running.spawn(follow(tracker.clone(), states, from, None));
        }
        for index in 0..ingress.partitions(Topic::WalletTasks) {
            let journal = workers[index as usize % workers.len()].clone();
            let from = journal.end(Partition { topic: Topic::WalletTasks, index }).await?;
            running.spawn(worker(journal, index, from));
        }
        let replies = Partition { topic: Topic::Replies, index: 0 };
        let from = ingress.end(replies).await?;
        running.spawn(follow(ingress.clone(), replies, from, Some(ReplyTimer { begun, latencies: latencies.clone() })));
        Ok(Self { ingress, begun, latencies, running })
    }

    /// Measures one rate: starts the payments at random times and waits for the last reply.
    pub(super) async fn step(&self, rate: u32, count: usize) -> Step {
        let latencies = || self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        latencies().clear();
        let started = Instant::now();
        let pacer = {
            let (journal, begun) = (self.ingress.clone(), self.begun);
            thread::spawn(move || pace(&journal, rate, count, begun))
        };
        let patience = Duration::from_secs_f64(count as f64 / f64::from(rate) + 20.0);
        while (latencies().len() as usize) < count && started.elapsed() < patience {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        drop(pacer.join());
        let measured = latencies().clone();
        let answered_rate = measured.len() as f64 / started.elapsed().as_secs_f64();
        Step { rate, answered_rate, errors: count - measured.len() as usize, latency: Percentiles::of(&measured) }
    }

    /// Stops all roles.
    pub(super) fn end(mut self) {
        self.running.abort_all();
    }
}

/// Appends the payments' first records at random times.
fn pace(journal: &Shared, rate: u32, count: usize, begun: Instant) {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut intended = Instant::now();
    let shards = journal.partitions(Topic::Orders);
    for _ in 0..count {
        intended += Duration::from_secs_f64(-(1.0 - random.random::<f64>()).ln() / f64::from(rate));
        thread::sleep(intended.saturating_duration_since(Instant::now()));
        let at_us = intended.duration_since(begun).as_micros() as u64;
        let index = random.random_range(0..shards);
        drop(journal.append(
            Partition { topic: Topic::Orders, index },
            vec![record(PAY, Mark { start_us: at_us, shard: index }, PAY_BYTES)],
        ));
    }
}

/// The data of a payment that each of its records contains.
#[derive(Clone, Copy)]
struct Mark {
    /// The payment's intended start, in µs since the start of the measurement.
    start_us: u64,
    shard: u32,
}

fn record(kind: u8, mark: Mark, bytes: usize) -> Entry {
    let mut value = vec![0; bytes];
    value[0] = kind;
    value[1..9].copy_from_slice(&mark.start_us.to_be_bytes());
    value[9..13].copy_from_slice(&mark.shard.to_be_bytes());
    Entry::plain(value)
}

fn parse(entry: &Entry) -> (u8, Mark) {
    let value = entry.value.as_deref().unwrap_or_default();
    let start_us =
        value.get(1..9).and_then(|bytes| bytes.first_chunk::<8>()).map_or(0, |eight| u64::from_be_bytes(*eight));
    let shard = value.get(9..13).and_then(|bytes| bytes.first_chunk::<4>()).map_or(0, |four| u32::from_be_bytes(*four));
    (value.first().copied().unwrap_or_default(), Mark { start_us, shard })
}

/// Turns a payment's record into a task, and an outcome into a reply and a state.
async fn router(journal: Shared, index: u32, from: u64) -> anyhow::Result<()> {
    let mut reader = journal.reader(Partition { topic: Topic::Orders, index }, from).await?;
    let task_partition = index % journal.partitions(Topic::WalletTasks);
    loop {
        let (mut tasks, mut replies, mut states) = (Vec::new(), Vec::new(), Vec::new());
        for read in reader.next(BATCH_RECORDS_MAX).await? {
            let (kind, mark) = parse(&read.entry);
            if kind == PAY {
                tasks.push(record(PAY, mark, TASK_BYTES));
            } else {
                replies.push(record(OUTCOME, mark, REPLY_BYTES));
                let mut key = vec![0; STATE_KEY_BYTES];
                key[..8].copy_from_slice(&mark.start_us.to_be_bytes());
                states.push(Entry { key: key.into(), ..record(OUTCOME, mark, STATE_BYTES) });
            }
        }
        for (topic, index, entries) in [
            (Topic::WalletTasks, task_partition, tasks),
            (Topic::Replies, 0, replies),
            (Topic::OrderStates, index, states),
        ] {
            if !entries.is_empty() {
                drop(journal.append(Partition { topic, index }, entries));
            }
        }
    }
}

/// Turns a task into an outcome.
async fn worker(journal: Shared, index: u32, from: u64) -> anyhow::Result<()> {
    let mut reader = journal.reader(Partition { topic: Topic::WalletTasks, index }, from).await?;
    loop {
        for read in reader.next(BATCH_RECORDS_MAX).await? {
            let (_, mark) = parse(&read.entry);
            let shard = Partition { topic: Topic::Orders, index: mark.shard };
            drop(journal.append(shard, vec![record(OUTCOME, mark, OUTCOME_BYTES)]));
        }
    }
}

/// Measures the latency of replies.
struct ReplyTimer {
    begun: Instant,
    latencies: Latencies,
}

/// Reads a partition, and passes its records to the timer if there is one.
async fn follow(journal: Shared, partition: Partition, from: u64, timer: Option<ReplyTimer>) -> anyhow::Result<()> {
    let mut reader = journal.reader(partition, from).await?;
    loop {
        let read = reader.next(BATCH_RECORDS_MAX).await?;
        let Some(ReplyTimer { begun, latencies }) = &timer else { continue };
        let now_us = begun.elapsed().as_micros() as u64;
        let mut latencies = latencies.lock().unwrap_or_else(PoisonError::into_inner);
        for read in read {
            latencies.saturating_record(now_us.saturating_sub(parse(&read.entry).1.start_us).max(1));
        }
    }
}
