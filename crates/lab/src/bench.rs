//! `twqr-lab bench`: measures the speed of the payment path. The figures are ratios to a floor: an
//! echo server or a plain file, measured in the same run on the same machine. The load is an open
//! loop, latency counts from the intended start, every effect is durable, and all charges are
//! audited.

mod bare_relay;
mod confirmed;
mod echo;
mod figures;
mod journal_floor;
mod kafka;
mod orders;
mod quick;
mod record_sizes;
mod restore;
mod tracing;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::Subcommand;
use twqr_config::Config;
use twqr_service::CancellationToken;

/// The benchmarks of `twqr-lab bench`.
#[derive(Subcommand)]
pub enum Bench {
    /// Measures latency at 1,000 payments per second, the highest sustained rates of calls and over
    /// streams, memory, CPU and disk; prints one JSON line after less than 90 s.
    Quick {
        /// The folder for data; it is emptied first.
        #[arg(long, default_value = "target/bench")]
        dir: PathBuf,
        /// The seed of the payments and their start times.
        #[arg(long, default_value_t = 7)]
        seed: u64,
        /// The rates of the ladder in payments per second; it ends at the first that the system
        /// does not keep up with
        #[arg(long, value_delimiter = ',', default_values_t = quick::LADDER_RATES)]
        rates: Vec<u32>,
        /// The rates of the ladder over streams (PayStream)
        #[arg(long, value_delimiter = ',', default_values_t = quick::STREAM_RATES)]
        stream_rates: Vec<u32>,
        /// The duration of each rate, in ms
        #[arg(long, default_value_t = quick::LADDER_MS)]
        hold_ms: u32,
        /// How many further tries must sustain the highest rate; where one does not, a lower rate
        /// takes its place
        #[arg(long, default_value_t = 0)]
        tries: usize,
        /// Use TLS with certificates on both sides on gRPC, wallet and FISC, not for the floors
        #[arg(long)]
        tls: bool,
    },
    /// Measures latency, the highest sustained rate and costs on Apache Kafka, with every service
    /// in its own processes; prints one JSON line
    Kafka(kafka::KafkaBenchOptions),
    /// Measures how soon a router is ready again after a restart, with its local store and with an
    /// empty one; prints one JSON line
    Restore(restore::RestoreOptions),
    /// Measures what a payment costs while few or many orders are held, and how soon such a system
    /// is ready again; prints one JSON line
    Orders(orders::OrdersOptions),
    /// Measures what traces cost in CPU time: off, 1 % and all calls in turns; prints one JSON line
    Tracing(tracing::TracingOptions),
    /// The floor of gRPC: a server that answers payments without deciding them
    #[command(hide = true)]
    Echo {
        /// The address to listen on
        #[arg(long)]
        listen: SocketAddr,
    },
    /// The floor of the journal: appends the bytes of payments to a plain file and syncs it
    #[command(hide = true)]
    Journal(journal_floor::JournalFloorOptions),
}

/// Runs a benchmark until its end, or until `stop` fires.
pub async fn run(bench: Bench, config: &Config, stop: CancellationToken) -> anyhow::Result<ExitCode> {
    match bench {
        Bench::Quick { dir, seed, rates, stream_rates, hold_ms, tries, tls } => {
            let ladders = quick::Ladders { rates, stream_rates, hold_ms, tries };
            tokio::select! {
                result = quick::run(&dir, seed, &ladders, tls, config) => result,
                () = stop.cancelled() => anyhow::bail!("stopped before the end of the benchmark"),
            }
        }
        Bench::Kafka(options) => tokio::select! {
            result = kafka::run(&options, config) => result,
            () = stop.cancelled() => anyhow::bail!("stopped before the end of the benchmark"),
        },
        Bench::Restore(options) => tokio::select! {
            result = restore::run(&options, config) => result,
            () = stop.cancelled() => anyhow::bail!("stopped before the end of the benchmark"),
        },
        Bench::Orders(options) => tokio::select! {
            result = orders::run(&options, config) => result,
            () = stop.cancelled() => anyhow::bail!("stopped before the end of the benchmark"),
        },
        Bench::Tracing(options) => tokio::select! {
            result = tracing::run(&options, config) => result,
            () = stop.cancelled() => anyhow::bail!("stopped before the end of the benchmark"),
        },
        Bench::Echo { listen } => echo::serve(listen, stop).await.map(|()| ExitCode::SUCCESS),
        Bench::Journal(options) => journal_floor::run(&options).map(|()| ExitCode::SUCCESS),
    }
}
