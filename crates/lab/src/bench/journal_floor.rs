//! The floor of the embedded journal: the hops of payments with the same durability, and no product
//! logic.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use twqr_config::Config;
use twqr_journal::embedded::{EmbeddedJournal, EmbeddedSettings};

use super::{
    figures::{Percentiles, highest, payments_of},
    hops::{Hops, Shared},
};
use crate::usage::{Usage, folder_bytes};

/// Which rates, for how long.
#[derive(clap::Args)]
pub struct Options {
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

/// Measures, and prints one JSON line.
#[allow(clippy::print_stdout, reason = "the command's output")]
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let Config { shards, task_partitions, .. } = Config::default();
    let settings = EmbeddedSettings { dir: options.dir.clone(), shards, task_partitions };
    let journal: Shared = EmbeddedJournal::open(settings)?;
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
        let held = step.holds();
        steps.push(step);
        if !held {
            break;
        }
    }
    let latency = steps.first().map(|step| step.latency).unwrap_or_default();
    let floor = Floor { latency, cpu_us_per_payment: costs.0, disk_bytes_per_payment: costs.1, rate: highest(&steps) };
    println!("{}", serde_json::to_string(&floor)?);
    hops.end();
    Ok(())
}
