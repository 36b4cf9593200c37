//! The floor of the embedded journal, which shares no code with it: one thread appends the bytes of
//! payments to a plain file and syncs it. What is queued during a sync forms the next batch. A
//! payment takes one batch for each record that must be on disk before the next one exists: its
//! request, its task, and its outcome with its state.

use std::{
    fs::File,
    io::Write,
    path::PathBuf,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use twqr_loadgen::latency_histogram;

use super::{
    figures::{Percentiles, Step, highest_rate, payments_of},
    record_sizes::{OUTCOME_BYTES, PAY_BYTES, STATE_BYTES, STATE_KEY_BYTES, TASK_BYTES},
};
use crate::usage::{Usage, folder_bytes};

/// The bytes that a payment appends, one batch after the other.
const BATCHES: [usize; 3] = [PAY_BYTES, TASK_BYTES, OUTCOME_BYTES + STATE_KEY_BYTES + STATE_BYTES];

/// The arguments of the hidden command `twqr-lab bench journal`.
#[derive(clap::Args)]
pub struct JournalFloorOptions {
    /// The folder of the file.
    #[arg(long)]
    dir: PathBuf,
    /// The rates in payments per second, ascending; costs are reported for the first one.
    #[arg(long, value_delimiter = ',')]
    rates: Vec<u32>,
    /// The duration of each rate, in ms.
    #[arg(long)]
    hold_ms: u32,
}

/// The figures of a floor.
#[derive(Serialize, Deserialize)]
pub(crate) struct Floor {
    /// The latency at the first rate.
    pub(crate) latency: Percentiles,
    /// CPU time per payment at the first rate in µs; for the journal with the generator.
    pub(crate) cpu_us_per_payment: f64,
    /// Disk space per payment at the first rate, in bytes.
    pub(crate) disk_bytes_per_payment: f64,
    /// The highest sustained rate, in payments per second.
    pub(crate) rate: u32,
}

/// Measures and prints one JSON line.
pub(crate) fn run(options: &JournalFloorOptions) -> anyhow::Result<()> {
    std::fs::create_dir_all(&options.dir).with_context(|| format!("cannot create {}", options.dir.display()))?;
    let mut file = File::create(options.dir.join("records"))?;
    let mut steps = Vec::new();
    let mut costs = (0.0, 0.0);
    for (number, rate) in options.rates.iter().enumerate() {
        let before = (Usage::of(std::process::id()), folder_bytes(&options.dir));
        let count = payments_of(*rate, options.hold_ms);
        let step = measure(&mut file, *rate, count)?;
        if number == 0 {
            let used = Usage::of(std::process::id()).since(before.0);
            let bytes = folder_bytes(&options.dir).saturating_sub(before.1);
            costs = (used.cpu_us as f64 / count as f64, bytes as f64 / count as f64);
        }
        steps.push(step);
        if !step.is_sustained() {
            break;
        }
    }
    let latency = steps.first().map(|step| step.latency).unwrap_or_default();
    let floor =
        Floor { latency, cpu_us_per_payment: costs.0, disk_bytes_per_payment: costs.1, rate: highest_rate(&steps) };
    Ok(twqr_files::print_line(serde_json::to_string(&floor)?)?)
}

/// Starts the payments at random times, and appends until the last one has ended.
fn measure(file: &mut File, rate: u32, count: usize) -> std::io::Result<Step> {
    let (starts, started) = mpsc::channel();
    let pacer = thread::spawn(move || pace(&starts, rate, count));
    let (began, mut latencies) = (Instant::now(), latency_histogram());
    let bytes = vec![1; BATCHES.into_iter().max().unwrap_or_default()];
    // By batch: the intended starts of the payments whose next bytes belong to it.
    let mut waiting: [Vec<Instant>; BATCHES.len()] = Default::default();
    let mut buffer = Vec::new();
    loop {
        if waiting.iter().all(Vec::is_empty) {
            match started.recv() {
                Ok(intended) => waiting[0].push(intended),
                Err(_) => break,
            }
        }
        waiting[0].extend(started.try_iter());
        buffer.clear();
        for (payments, size) in waiting.iter().zip(BATCHES) {
            for _ in payments {
                buffer.extend_from_slice(&bytes[..size]);
            }
        }
        file.write_all(&buffer)?;
        file.sync_data()?;
        for ended in waiting[BATCHES.len() - 1].drain(..) {
            latencies.saturating_record(u64::try_from(ended.elapsed().as_micros()).unwrap_or(u64::MAX));
        }
        waiting.rotate_right(1);
    }
    drop(pacer.join());
    let answered_rate = latencies.len() as f64 / began.elapsed().as_secs_f64();
    Ok(Step { rate, answered_rate, errors: count - latencies.len() as usize, latency: Percentiles::of(&latencies) })
}

/// Sends each payment's intended start at that time.
fn pace(starts: &mpsc::Sender<Instant>, rate: u32, count: usize) {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut intended = Instant::now();
    for _ in 0..count {
        intended += Duration::from_secs_f64(-(1.0 - random.random::<f64>()).ln() / f64::from(rate));
        thread::sleep(intended.saturating_duration_since(Instant::now()));
        if starts.send(intended).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_payment_appends_all_of_its_bytes_and_ends_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records");
        let step = measure(&mut File::create(&path).unwrap(), 100_000, 50).unwrap();
        assert_eq!(step.errors, 0);
        let bytes: usize = BATCHES.iter().sum();
        assert_eq!(std::fs::metadata(path).unwrap().len(), 50 * bytes as u64);
    }
}
