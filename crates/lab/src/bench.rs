//! `twqr-lab bench`: the speed of the payment path, as ratios to a floor that is measured in the same
//! run on the same machine. Load is open loop, latency counts from the intended start, every effect
//! is durable, and what was charged is audited.

mod echo;
mod figures;
mod hops;
mod journal_floor;
mod kafka;
mod quick;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::Subcommand;
use twqr_config::Config;
use twqr_service::CancellationToken;

/// What is measured.
#[derive(Subcommand)]
pub enum Bench {
    /// Latency at 500 payments a second, the highest rate that holds, memory, CPU and disk; one
    /// JSON line, in less than 90 s.
    Quick {
        /// Where data goes; emptied first.
        #[arg(long, default_value = "target/bench")]
        dir: PathBuf,
        /// Another seed gives other payments at other moments.
        #[arg(long, default_value_t = 7)]
        seed: u64,
        /// The rates of the ladder, payments a second; it ends at the first that does not hold
        #[arg(long, value_delimiter = ',', default_values_t = quick::LADDER)]
        rates: Vec<u32>,
        /// How long each rate is held, in ms
        #[arg(long, default_value_t = quick::LADDER_MS)]
        hold_ms: u32,
    },
    /// Latency, highest rate and costs on Apache Kafka, every service in processes of its own; one
    /// JSON line
    Kafka(kafka::Options),
    /// Floor: answers payments at once, and does nothing else.
    #[command(hide = true)]
    Echo {
        /// Where it listens
        #[arg(long)]
        listen: SocketAddr,
    },
    /// Floor: the appends and reads of payments on a bare journal.
    #[command(hide = true)]
    Journal(journal_floor::Options),
}

/// Runs until it is measured, or `stop` fires.
pub async fn run(bench: Bench, config: &Config, stop: CancellationToken) -> anyhow::Result<ExitCode> {
    match bench {
        Bench::Quick { dir, seed, rates, hold_ms } => tokio::select! {
            result = quick::run(&dir, seed, (&rates, hold_ms), config) => result,
            () = stop.cancelled() => anyhow::bail!("stopped before everything was measured"),
        },
        Bench::Kafka(options) => tokio::select! {
            result = kafka::run(&options, config) => result,
            () = stop.cancelled() => anyhow::bail!("stopped before everything was measured"),
        },
        Bench::Echo { listen } => echo::serve(listen, stop).await.map(|()| ExitCode::SUCCESS),
        Bench::Journal(options) => journal_floor::run(&options).await.map(|()| ExitCode::SUCCESS),
    }
}
