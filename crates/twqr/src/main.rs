//! `twqr`: the one binary. `twqr up` runs every service in one process on the embedded journal;
//! `twqr simulator` is the wallet and FISC; `twqr run` starts both and takes two sample days
//! through the public API; `twqr run-kafka` does so with every service in processes of its own.

mod admin;
mod bench;
mod chaos;
mod cli;
mod client;
mod commands;
mod config;
mod day_run;
mod fleet;
mod kafka_run;
mod operators;
mod policy;
mod processes;
mod progress;
mod run_dir;
mod services;
mod simulator;
mod usage;
mod whole_run;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;
use twqr_service::CancellationToken;

use services::Service;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Payment router for TWQR.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Configuration file (TOML); without it the defaults hold. `twqr config default` prints them
    #[arg(long, global = true, env = "TWQR_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Every service in one process, on the embedded journal
    Up,
    /// The public gRPC API alone
    Ingress,
    /// The router alone: applies the orders' records
    Router,
    /// The wallet's worker alone
    WalletWorker,
    /// FISC's worker alone
    FiscWorker,
    /// The tracker alone: read model, operators' API, due checks
    Tracker,
    /// The wallet and FISC with its issuers, with a ledger of their own
    Simulator {
        /// What goes wrong (TOML); without it nothing does
        #[arg(long)]
        script: Option<PathBuf>,
    },
    /// Starts simulator and services, takes two sample days, audits them, and goes on serving
    Run(day_run::Options),
    /// Starts every service in processes of its own on a cluster, exercises them, audits, and goes
    /// on serving
    RunKafka(kafka_run::Options),
    /// Kills and stops processes and brokers under load, and audits what came of it
    Chaos(chaos::Options),
    /// Creates and checks the topics on a cluster
    #[command(subcommand)]
    Topics(commands::topics::Topics),
    /// Sends the payments of a file, one JSON object a line in the POS document's field names
    Pay(cli::Pay),
    /// Asks about one payment or one refund
    Query(cli::Query),
    /// Gives back a part of a payment, or all of it
    Refund(cli::Refund),
    /// Takes a payment back; sent again it answers what is true by then
    Cancel(cli::Cancel),
    /// Writes the accounting file of each merchant for a business day, or verifies one
    Settlement(commands::settlement::Settlement),
    /// Holds a business day against the counterparties' files; exit code 0 if both have the same, 2
    /// if not, 1 if it could not
    Reconcile(commands::reconcile::Reconcile),
    /// Writes what the simulated wallet and FISC say that they settled on a day, for `twqr
    /// reconcile`
    CounterpartyFiles(commands::counterparty::Counterparty),
    /// Shows and changes the rules by which orders are decided, while everything runs
    #[command(subcommand)]
    Policy(commands::policy::Policy),
    /// Checks or prints the configuration
    #[command(subcommand)]
    Config(cli::Config),
    /// Measures speed against a floor of the same run
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Prints the sample day: one JSON object a line, the same for the same seed
    SampleDay {
        #[arg(long, default_value_t = 7)]
        seed: u64,
        /// How many lines
        #[arg(long, default_value_t = 1_200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        lines: u32,
        /// The day that uses the whole API instead, of so many chains of calls
        #[arg(long, value_name = "CHAINS", value_parser = clap::value_parser!(u32).range(1..=100_000))]
        whole_api: Option<u32>,
    },
}

/// The command line is wrong (`EX_USAGE`): 2 says "differs" in `reconcile`, `policy diff` and
/// `topics plan`.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(told) => {
            drop(told.print());
            return if told.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let filter = EnvFilter::try_from_env("TWQR_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();
    execute(cli).unwrap_or_else(|error| {
        eprintln!("twqr: {error:#}");
        ExitCode::FAILURE
    })
}

fn execute(cli: Cli) -> anyhow::Result<ExitCode> {
    twqr_service::raise_open_files();
    let config = config::Config::load(cli.config.as_deref())?;
    let threads = config.worker_threads.get() as usize;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let result = runtime.block_on(run(cli.command, config));
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    result
}

#[allow(clippy::print_stdout, reason = "what these commands are for")]
async fn run(command: Command, config: config::Config) -> anyhow::Result<ExitCode> {
    let serve =
        |services: &'static [Service], config| async move { services::run(services, config, stop_on_signal()?).await };
    match command {
        Command::Pay(arguments) => return commands::pay::run(arguments).await,
        Command::Query(arguments) => return commands::query::run(arguments).await,
        Command::Settlement(arguments) => return commands::settlement::run(arguments, &config).await,
        Command::Reconcile(arguments) => return commands::reconcile::run(arguments, &config).await,
        Command::CounterpartyFiles(arguments) => return commands::counterparty::run(arguments, &config).await,
        Command::Refund(arguments) => return commands::refund::run(arguments).await,
        Command::Cancel(arguments) => return commands::cancel::run(arguments).await,
        Command::Bench(bench) => return bench::run(bench, &config, stop_on_signal()?).await,
        Command::Topics(topics) => return commands::topics::run(topics, &config).await,
        Command::Policy(policy) => return commands::policy::run(policy, &config).await,
        Command::Chaos(options) => return chaos::run(&options, &config).await,
        Command::RunKafka(options) => kafka_run::run(&options, &config, stop_on_signal()?).await?,
        Command::Up => serve(&Service::ALL, config).await?,
        Command::Ingress => serve(&[Service::Ingress], config).await?,
        Command::Router => serve(&[Service::Router], config).await?,
        Command::WalletWorker => serve(&[Service::WalletWorker], config).await?,
        Command::FiscWorker => serve(&[Service::FiscWorker], config).await?,
        Command::Tracker => serve(&[Service::Tracker], config).await?,
        Command::Simulator { script } => simulator::run(&config, script.as_deref(), stop_on_signal()?).await?,
        Command::Run(options) => day_run::run(&options, &config, stop_on_signal()?).await?,
        Command::Config(cli::Config::Check) => {
            config.check_files()?;
            println!("the configuration is good");
        }
        Command::Config(cli::Config::Default) => print!("{}", config::Config::printed_defaults()?),
        Command::SampleDay { seed, lines, whole_api } => {
            let lines = match whole_api {
                Some(chains) => twqr_loadgen::whole::whole_sample_day(seed, chains),
                None => twqr_loadgen::sample_day(seed, lines as usize),
            };
            for line in lines {
                println!("{line}");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Fires at SIGINT or SIGTERM.
fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = CancellationToken::new();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let fired = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        fired.cancel();
    });
    Ok(stop)
}
