//! `twqr`, the product's binary. `twqr up` runs every service in one process on the embedded
//! journal; `twqr ingress`, `router`, `wallet-worker`, `fisc-worker` and `tracker` run one service
//! over Apache Kafka; the other commands serve operators and callers.

mod admin;
mod cli;
mod commands;
mod metrics;
mod resources;
mod retention;
mod services;

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;
use twqr_config::Config;
use twqr_files::{print_error_line, print_line};
use twqr_service::{ContainerLimits, stop_on_signal};

use resources::Resources;
use services::Service;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Payment router for TWQR.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Configuration file (TOML), or - for standard input; `twqr config default` prints the
    /// defaults
    #[arg(long, global = true, env = "TWQR_CONFIG")]
    config: Option<PathBuf>,
    /// A file with the API key that commands send, or - for standard input; a key on the command
    /// line would be visible to other users
    #[arg(long, global = true, env = "TWQR_API_KEY_FILE", value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Send the API key to other machines also without TLS, although others on the network could
    /// read it
    #[arg(long, global = true, env = "TWQR_API_KEY_IN_PLAIN_TEXT")]
    api_key_in_plain_text: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs every service in one process, on the embedded journal
    Up,
    /// Runs the ingress: the public gRPC API and the POS HTTP form
    Ingress,
    /// Runs the router, which decides orders
    Router,
    /// Runs the worker that calls the wallet
    WalletWorker,
    /// Runs the worker that calls FISC
    FiscWorker,
    /// Runs the tracker: read model, operators' API, due checks
    Tracker,
    /// Checks and creates the topics on a Kafka cluster
    #[command(subcommand)]
    Topics(commands::topics::Topics),
    /// Shows or trims the embedded journal, while no process uses it
    #[command(subcommand)]
    Journal(commands::journal::Journal),
    /// Sends the payments of a file: one JSON object in each line, with the POS document's field
    /// names; exit code 0 if every line was answered, 130 after SIGINT, 143 after SIGTERM, else 1
    Pay(cli::Pay),
    /// Inquires about one payment or refund
    Query(cli::Query),
    /// Refunds a payment, in part or in full
    Refund(cli::Refund),
    /// Cancels a payment; sending it again returns the current result
    Cancel(cli::Cancel),
    /// Lists orders, for example those that need an operator
    Orders(commands::orders::Orders),
    /// Shows the records that no service could read
    #[command(subcommand)]
    DeadLetters(commands::dead_letters::DeadLetters),
    /// Prints the resources that a load needs: shards, pods, brokers, disk and network
    Capacity(commands::capacity::Capacity),
    /// Writes the accounting file of each merchant for a business day, or verifies one
    Settlement(commands::settlement::Settlement),
    /// Compares a business day with the files of the wallet and FISC; exit code 0 if they agree, 2
    /// if they differ, 1 on an error
    Reconcile(commands::reconcile::Reconcile),
    /// Shows and changes the policy, the rules by which orders are decided, without a restart
    #[command(subcommand)]
    Policy(commands::policy::Policy),
    /// Shows and changes the directory of merchants and stores, without a restart
    #[command(subcommand)]
    Merchants(commands::merchants::Merchants),
    /// Shows and changes who may call, and makes and revokes API keys
    #[command(subcommand)]
    Callers(commands::callers::Callers),
    /// Prints the table of all metrics that the services export, as Markdown
    Metrics,
    /// Makes, renews, lists and destroys the keys that protect card tokens
    #[command(subcommand)]
    Keys(commands::keys::Keys),
    /// Checks or prints the configuration
    #[command(subcommand)]
    Config(cli::Config),
}

/// The exit code of a wrong command line (`EX_USAGE`). It is not 2, which means "differs" in
/// `reconcile`, `policy diff` and `topics plan`.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            drop(error.print());
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let filter = EnvFilter::try_from_env("TWQR_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(twqr_files::stderr).init();
    execute(cli).unwrap_or_else(|error| {
        print_error_line(format_args!("twqr: {error:#}"));
        ExitCode::FAILURE
    })
}

fn execute(cli: Cli) -> anyhow::Result<ExitCode> {
    twqr_service::forbid_core_dumps();
    twqr_service::raise_open_files();
    if let Some(file) = &cli.api_key_file {
        twqr_client::use_api_key(file, cli.api_key_in_plain_text)?;
    }
    let mut config = Config::load(cli.config.as_deref())?;
    twqr_client::use_certificates(config.tls.client_files());
    let resources = Resources::of(&mut config, ContainerLimits::read(Path::new("/")));
    let threads = resources.threads;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let result = runtime.block_on(run(cli.command, config, resources));
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    result
}

async fn run(command: Command, config: Config, resources: Resources) -> anyhow::Result<ExitCode> {
    let services: &[Service] = match command {
        Command::Pay(arguments) => return commands::pay::run(arguments).await,
        Command::Query(arguments) => return commands::query::run(arguments).await,
        Command::Orders(arguments) => return commands::orders::run(arguments, &config).await,
        Command::DeadLetters(command) => return commands::dead_letters::run(command, &config).await,
        Command::Capacity(arguments) => return commands::capacity::run(&arguments),
        Command::Settlement(arguments) => return commands::settlement::run(arguments, &config).await,
        Command::Reconcile(arguments) => return commands::reconcile::run(arguments, &config).await,
        Command::Refund(arguments) => return commands::refund::run(arguments).await,
        Command::Cancel(arguments) => return commands::cancel::run(arguments).await,
        Command::Journal(command) => return commands::journal::run(command, &config).await,
        Command::Keys(command) => return commands::keys::run(command, &config).map(|()| ExitCode::SUCCESS),
        Command::Topics(topics) => return commands::topics::run(topics, &config).await,
        Command::Policy(policy) => return commands::policy::run(policy, &config).await,
        Command::Merchants(merchants) => return commands::merchants::run(merchants, &config).await,
        Command::Callers(callers) => return commands::callers::run(callers, &config).await,
        Command::Metrics => {
            metrics::print()?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Config(config_command) => return check_or_print(&config_command, &config),
        Command::Up => &Service::ALL,
        Command::Ingress => &[Service::Ingress],
        Command::Router => &[Service::Router],
        Command::WalletWorker => &[Service::WalletWorker],
        Command::FiscWorker => &[Service::FiscWorker],
        Command::Tracker => &[Service::Tracker],
    };
    resources.report(services, &config);
    services::run(services, config, stop_on_signal()?).await.map(|()| ExitCode::SUCCESS)
}

fn check_or_print(command: &cli::Config, config: &Config) -> anyhow::Result<ExitCode> {
    match command {
        cli::Config::Check => {
            services::check_files(config)?;
            print_line("the configuration is valid")?;
            if let Some(missing) = services::missing_card_keys(config) {
                print_line(format_args!("but payments would be refused: {missing}; see `twqr keys renew`"))?;
            }
            print_line(Resources::bounds(config))?;
        }
        cli::Config::Default => write!(twqr_files::stdout(), "{}", Config::printed_defaults()?)?,
    }
    Ok(ExitCode::SUCCESS)
}
