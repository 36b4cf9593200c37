//! `twqr`, the product's binary. `twqr up` runs every service in one process on the embedded
//! journal; `twqr ingress`, `router`, `wallet-worker`, `fisc-worker` and `tracker` run one service
//! over Apache Kafka; the other commands serve operators and callers.

mod admin;
mod cli;
mod commands;
mod services;

use std::{io::Write, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;
use twqr_config::Config;
use twqr_service::stop_on_signal;

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
    /// Shows and changes the rules by which orders are decided, while everything runs
    #[command(subcommand)]
    Policy(commands::policy::Policy),
    /// Checks or prints the configuration
    #[command(subcommand)]
    Config(cli::Config),
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
    let config = Config::load(cli.config.as_deref())?;
    let threads = config.worker_threads.get() as usize;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let result = runtime.block_on(run(cli.command, config));
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    result
}

async fn run(command: Command, config: Config) -> anyhow::Result<ExitCode> {
    let services: &[Service] = match command {
        Command::Pay(arguments) => return commands::pay::run(arguments).await,
        Command::Query(arguments) => return commands::query::run(arguments).await,
        Command::Settlement(arguments) => return commands::settlement::run(arguments, &config).await,
        Command::Reconcile(arguments) => return commands::reconcile::run(arguments, &config).await,
        Command::Refund(arguments) => return commands::refund::run(arguments).await,
        Command::Cancel(arguments) => return commands::cancel::run(arguments).await,
        Command::Topics(topics) => return commands::topics::run(topics, &config).await,
        Command::Policy(policy) => return commands::policy::run(policy, &config).await,
        Command::Config(config_command) => return check_or_print(&config_command, &config),
        Command::Up => &Service::ALL,
        Command::Ingress => &[Service::Ingress],
        Command::Router => &[Service::Router],
        Command::WalletWorker => &[Service::WalletWorker],
        Command::FiscWorker => &[Service::FiscWorker],
        Command::Tracker => &[Service::Tracker],
    };
    services::run(services, config, stop_on_signal()?).await.map(|()| ExitCode::SUCCESS)
}

fn check_or_print(command: &cli::Config, config: &Config) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout();
    match command {
        cli::Config::Check => {
            services::check_files(config)?;
            writeln!(out, "the configuration is good")?;
        }
        cli::Config::Default => write!(out, "{}", Config::printed_defaults()?)?,
    }
    Ok(ExitCode::SUCCESS)
}
