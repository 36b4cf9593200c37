//! The floor of the embedded journal: the records of payments with the same durability, without
//! product logic.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use twqr_config::Config;
use twqr_journal::embedded::EmbeddedJournal;

use super::{
    figures::{Percentiles, highest_rate, payments_of},
    hops::{Hops, Shared},
};
use crate::usage::{Usage, folder_bytes};

/// The arguments of the hidden command `twqr-lab bench journal`.
#[derive(clap::Args)]
pub struct JournalFloorOptions {
    /// The folder of the journal.
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
    /// CPU time per payment at the first rate in µs, including the generator.
    pub(crate) cpu_us_per_payment: f64,
    /// Disk space per payment at the first rate, in bytes.
    pub(crate) disk_bytes_per_payment: f64,
    /// The highest sustained rate, in payments per second.
    pub(crate) rate: u32,
}

/// Measures and prints one JSON line.
pub(crate) async fn run(options: &JournalFloorOptions) -> anyhow::Result<()> {
    let journal: Shared = EmbeddedJournal::open(Config::default().embedded(options.dir.clone()))?;
    let each = || vec![journal.clone()];
    let hops = Hops::start(journal.clone(), each(), each(), journal.clone()).await?;
    let mut steps = Vec::new();
    let mut costs = (0.0, 0.0);
    for (number, rate) in options.rates.iter().enumerate() {
        let before = (Usage::of(std::process::id()), folder_bytes(&options.dir));
        let count = payments_of(*rate, options.hold_ms);
        let step = hops.step(*rate, count).await;
        if number == 0 {
            let used = Usage::of(std::process::id()).since(before.0);
            let bytes = folder_bytes(&options.dir).saturating_sub(before.1);
            costs = (used.cpu_us as f64 / count as f64, bytes as f64 / count as f64);
        }
        let is_sustained = step.is_sustained();
        steps.push(step);
        if !is_sustained {
            break;
        }
    }
    let latency = steps.first().map(|step| step.latency).unwrap_or_default();
    let floor =
        Floor { latency, cpu_us_per_payment: costs.0, disk_bytes_per_payment: costs.1, rate: highest_rate(&steps) };
    twqr_files::print_line(serde_json::to_string(&floor)?)?;
    hops.end();
    Ok(())
}
