//! `twqr-lab`: the simulator of the wallet and FISC, whole systems on this machine, sample days,
//! fault tests and benchmarks. It is not used in production.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;
use twqr_config::Config;
use twqr_files::print_error_line;
use twqr_lab::{
    backend_check, bench, chaos, client_drill, counterparty_files, load, run, run_kafka, sample_day, simulator, smoke,
};
use twqr_service::stop_on_signal;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The laboratory of twqr.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Configuration file (TOML) of the system under test, or - for standard input; without it the
    /// defaults apply
    #[arg(long, global = true, env = "TWQR_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Starts simulator and services, plays two sample days, audits them, and continues to serve
    Run(run::RunOptions),
    /// Does the same with every service in its own processes on a Kafka cluster, and restarts each
    /// of them under load
    RunKafka(run_kafka::RunKafkaOptions),
    /// Kills or suspends processes and brokers under load, then audits every order
    Chaos(chaos::ChaosOptions),
    /// Measures speed as a ratio to a floor: the same traffic without the product's logic
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Plays a load scenario, reconciles every payment, and writes a report
    Load(load::LoadOptions),
    /// Kills the ingress under clients of any language, and checks that each is charged once
    ClientDrill(client_drill::ClientDrillOptions),
    /// Prints a sample day: one JSON object a line, the same for the same seed
    SampleDay(sample_day::SampleDayOptions),
    /// Serves a simulated wallet and FISC with its issuers, with a durable ledger
    Simulator(simulator::SimulatorOptions),
    /// Pays, inquires and refunds once through the public API of a running system
    Smoke(smoke::SmokeOptions),
    /// Writes the settlement files of the simulated wallet and FISC for a day, for `twqr reconcile`
    CounterpartyFiles(counterparty_files::CounterpartyFilesOptions),
    /// Checks adapters to the wallet and FISC
    #[command(subcommand)]
    Backend(backend_check::BackendCommand),
}

/// The keys that a command chooses itself when it starts a system of its own. What the caller's
/// environment says of them is ignored. The first three are those of every such command; `run` and
/// `run-kafka` listen where the caller says.
const CHOSEN_KEYS: [&str; 9] =
    ["data_dir", "member", "kafka.prefix", "grpc", "pos_http", "admin", "operators", "wallet", "fisc"];

/// The exit code of a wrong command line (`EX_USAGE`).
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
        print_error_line(format_args!("twqr-lab: {error:#}"));
        ExitCode::FAILURE
    })
}

fn execute(cli: Cli) -> anyhow::Result<ExitCode> {
    twqr_service::raise_open_files();
    // The simulator and the load have card tokens in memory.
    twqr_service::forbid_core_dumps();
    let chosen: &[&str] = match &cli.command {
        Command::Chaos(_) | Command::Bench(_) | Command::Load(_) | Command::ClientDrill(_) => &CHOSEN_KEYS,
        Command::Run(_) | Command::RunKafka(_) => &CHOSEN_KEYS[..3],
        Command::SampleDay(_)
        | Command::Simulator(_)
        | Command::Smoke(_)
        | Command::CounterpartyFiles(_)
        | Command::Backend(_) => &[],
    };
    let config = Config::load_except(cli.config.as_deref(), chosen)?;
    twqr_client::use_certificates(config.tls.client_files());
    let threads = twqr_service::ContainerLimits::read(std::path::Path::new("/")).threads();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let result = runtime.block_on(run(cli.command, config));
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    result
}

async fn run(command: Command, config: Config) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(options) => run::run(&options, config, stop_on_signal()?).await.map(|()| ExitCode::SUCCESS),
        Command::RunKafka(options) => {
            run_kafka::run(&options, config, stop_on_signal()?).await.map(|()| ExitCode::SUCCESS)
        }
        Command::Chaos(options) => chaos::run(&options, &config).await,
        Command::Bench(bench) => bench::run(bench, &config, stop_on_signal()?).await,
        Command::Load(options) => load::run(&options, &config, stop_on_signal()?).await,
        Command::ClientDrill(options) => client_drill::run(&options, config).await.map(|()| ExitCode::SUCCESS),
        Command::SampleDay(options) => sample_day::run(&options).map(|()| ExitCode::SUCCESS),
        Command::Simulator(options) => {
            simulator::run(&options, &config, stop_on_signal()?).await.map(|()| ExitCode::SUCCESS)
        }
        Command::Smoke(options) => smoke::run(&options).await.map(|()| ExitCode::SUCCESS),
        Command::CounterpartyFiles(options) => counterparty_files::run(options, &config).await,
        Command::Backend(command) => backend_check::run(command).await,
    }
}
