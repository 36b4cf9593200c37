//! The floor of the journal: what one payment appends and reads, hop by hop, with the same sizes and the same durability, and nothing
//! decided in between. A payment is a record on `orders`, a task, an outcome on `orders`, a reply and a state.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use twqr_journal::{
    Entry, Journal, Partition, Topic,
    embedded::{EmbeddedJournal, Settings},
};

use super::figures::{Percentiles, Step, highest, payments_of};
use crate::{
    config::Config,
    usage::{Usage, folder_bytes},
};

/// Which rates, for how long.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where the journal goes.
    #[arg(long)]
    dir: PathBuf,
    /// Payments a second, one after the other; the first is the one whose costs are reported.
    #[arg(long, value_delimiter = ',')]
    rates: Vec<u32>,
    /// How long each is held, in ms.
    #[arg(long)]
    hold_ms: u32,
}

/// What was measured.
#[derive(Serialize, Deserialize)]
pub(crate) struct Floor {
    /// At the first rate.
    pub(crate) latency: Percentiles,
    /// At the first rate, the generator included.
    pub(crate) cpu_us_per_payment: f64,
    /// At the first rate.
    pub(crate) disk_bytes_per_payment: f64,
    /// The highest rate that held p99.
    pub(crate) rate: u32,
}

/// The sizes of the records of one payment, in bytes, as the router writes them.
const PAY_BYTES: usize = 260;
const TASK_BYTES: usize = 260;
const OUTCOME_BYTES: usize = 110;
const REPLY_BYTES: usize = 330;
const STATE_BYTES: usize = 400;
const STATE_KEY_BYTES: usize = 32;
const BATCH_RECORDS_MAX: usize = 1_024;

/// The first byte of a record tells which hop wrote it; the next eight are the payment's number.
const PAY: u8 = 1;
const OUTCOME: u8 = 2;

type Shared = Arc<dyn Journal>;
type Latencies = Arc<Mutex<Histogram<u64>>>;

/// Measures, and prints one JSON line.
#[allow(clippy::print_stdout, reason = "the command's output")]
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let shards = Config::default().shards;
    let settings = Settings { dir: options.dir.clone(), shards, task_partitions: shards };
    let journal: Shared = EmbeddedJournal::open(settings)?;
    let begun = Instant::now();
    let latencies: Latencies = Arc::new(Mutex::new(Histogram::new_with_bounds(1, 120_000_000, 3)?));
    let mut hops = JoinSet::new();
    for index in 0..shards.get() {
        hops.spawn(router(journal.clone(), index));
        hops.spawn(worker(journal.clone(), index));
        hops.spawn(follow(journal.clone(), Partition { topic: Topic::OrderStates, index }, None));
    }
    let replies = Partition { topic: Topic::Replies, index: 0 };
    hops.spawn(follow(journal.clone(), replies, Some((begun, latencies.clone()))));
    let mut steps = Vec::new();
    let mut costs = (0.0, 0.0);
    for (number, rate) in options.rates.iter().enumerate() {
        let before = (Usage::of(std::process::id()), folder_bytes(&options.dir));
        let count = payments_of(*rate, options.hold_ms);
        let step = step(&journal, *rate, count, begun, &latencies).await?;
        if number == 0 {
            let used = Usage::of(std::process::id()).since(before.0);
            let bytes = folder_bytes(&options.dir).saturating_sub(before.1);
            costs = (used.cpu_us as f64 / count as f64, bytes as f64 / count as f64);
        }
        let held = step.holds();
        steps.push(step);
        if !held {
            break;
        }
    }
    let latency = steps.first().map(|step| step.latency).unwrap_or_default();
    let floor = Floor { latency, cpu_us_per_payment: costs.0, disk_bytes_per_payment: costs.1, rate: highest(&steps) };
    println!("{}", serde_json::to_string(&floor)?);
    hops.abort_all();
    Ok(())
}

/// One rate: starts the payments at random times, waits for the last reply.
async fn step(
    journal: &Shared,
    rate: u32,
    count: usize,
    begun: Instant,
    latencies: &Latencies,
) -> anyhow::Result<Step> {
    latencies.lock().unwrap_or_else(PoisonError::into_inner).clear();
    let started = Instant::now();
    let pacer = {
        let journal = journal.clone();
        thread::spawn(move || pace(&journal, rate, count, begun))
    };
    let patience = Duration::from_secs_f64(count as f64 / f64::from(rate) + 20.0);
    let answered = || latencies.lock().unwrap_or_else(PoisonError::into_inner).len();
    while (answered() as usize) < count && started.elapsed() < patience {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    drop(pacer.join());
    let measured = latencies.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let answered_rate = measured.len() as f64 / started.elapsed().as_secs_f64();
    Ok(Step { rate, answered_rate, errors: count - measured.len() as usize, latency: Percentiles::of(&measured) })
}

fn pace(journal: &Shared, rate: u32, count: usize, begun: Instant) {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut intended = Instant::now();
    let shards = journal.partitions(Topic::Orders);
    for _ in 0..count {
        intended += Duration::from_secs_f64(-(1.0 - random.random::<f64>()).ln() / f64::from(rate));
        thread::sleep(intended.saturating_duration_since(Instant::now()));
        let at_us = intended.duration_since(begun).as_micros() as u64;
        let shard = Partition { topic: Topic::Orders, index: random.random_range(0..shards) };
        drop(journal.append(shard, vec![record(PAY, at_us, PAY_BYTES)]));
    }
}

fn record(kind: u8, at_us: u64, bytes: usize) -> Entry {
    let mut value = vec![0; bytes];
    value[0] = kind;
    value[1..9].copy_from_slice(&at_us.to_be_bytes());
    Entry::plain(value)
}

fn parse(entry: &Entry) -> (u8, u64) {
    let value = entry.value.as_deref().unwrap_or_default();
    let at_us =
        value.get(1..9).and_then(|bytes| bytes.first_chunk::<8>()).map_or(0, |eight| u64::from_be_bytes(*eight));
    (value.first().copied().unwrap_or_default(), at_us)
}

/// A payment's record becomes a task; an outcome becomes a reply and a state.
async fn router(journal: Shared, index: u32) -> anyhow::Result<()> {
    let mut reader = journal.reader(Partition { topic: Topic::Orders, index }, 0).await?;
    loop {
        let (mut tasks, mut replies, mut states) = (Vec::new(), Vec::new(), Vec::new());
        for read in reader.next(BATCH_RECORDS_MAX).await? {
            let (kind, at_us) = parse(&read.entry);
            if kind == PAY {
                tasks.push(record(PAY, at_us, TASK_BYTES));
            } else {
                replies.push(record(OUTCOME, at_us, REPLY_BYTES));
                let mut state = record(OUTCOME, at_us, STATE_BYTES);
                let mut key = vec![0; STATE_KEY_BYTES];
                key[..8].copy_from_slice(&at_us.to_be_bytes());
                state.key = key.into();
                states.push(state);
            }
        }
        for (topic, index, entries) in
            [(Topic::WalletTasks, index, tasks), (Topic::Replies, 0, replies), (Topic::OrderStates, index, states)]
        {
            if !entries.is_empty() {
                drop(journal.append(Partition { topic, index }, entries));
            }
        }
    }
}

/// A task becomes an outcome.
async fn worker(journal: Shared, index: u32) -> anyhow::Result<()> {
    let mut reader = journal.reader(Partition { topic: Topic::WalletTasks, index }, 0).await?;
    loop {
        let read = reader.next(BATCH_RECORDS_MAX).await?;
        let outcomes = read.iter().map(|read| record(OUTCOME, parse(&read.entry).1, OUTCOME_BYTES)).collect();
        drop(journal.append(Partition { topic: Topic::Orders, index }, outcomes));
    }
}

/// Reads to the end; of replies, the latency is counted.
async fn follow(journal: Shared, from: Partition, count: Option<(Instant, Latencies)>) -> anyhow::Result<()> {
    let mut reader = journal.reader(from, 0).await?;
    loop {
        let read = reader.next(BATCH_RECORDS_MAX).await?;
        let Some((begun, latencies)) = &count else { continue };
        let now_us = begun.elapsed().as_micros() as u64;
        let mut latencies = latencies.lock().unwrap_or_else(PoisonError::into_inner);
        for read in read {
            latencies.saturating_record(now_us.saturating_sub(parse(&read.entry).1).max(1));
        }
    }
}
