//! `twqr-lab load`: plays a load scenario, reconciles every payment, and writes a report. It starts
//! the system that the scenario names, or sends to one that runs already.

mod callers;
mod compare;
mod conditions;
mod faults;
mod flood;
mod live;
mod processes;
mod prove_compare;
mod results;
mod run;
mod system;
mod targets;
mod tool;
mod written;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, str::FromStr};

use anyhow::{Context as _, bail};
use clap::Subcommand;
use twqr_config::Config;
use twqr_loadgen::{
    report::LoadSummary,
    scenario::{Scenario, explain},
};
use twqr_service::CancellationToken;

/// The exit code of a run that missed a threshold, and of a comparison that found a regression.
const MISSED: u8 = 2;
/// The exit code of an invalid run.
const INVALID: u8 = 3;
/// The folder in which scenarios are looked up by name.
const SCENARIOS: &str = "load-tests/scenarios";

/// The arguments of `twqr-lab load`.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct LoadOptions {
    #[command(subcommand)]
    action: Option<LoadAction>,
    #[command(flatten)]
    run: LoadRunOptions,
}

/// The commands of `twqr-lab load` beside a single run.
#[derive(Subcommand)]
enum LoadAction {
    /// Compares two builds by paired runs in the order A B B A; exit code 2 if B is worse
    Compare(compare::CompareOptions),
    /// Counts false alarms and found slowdowns of many comparisons, in virtual time or with runs
    /// that were measured before
    ProveCompare(prove_compare::ProveCompareOptions),
    /// Writes the README of a release's results from the files of its runs
    Results(results::ResultsOptions),
    /// Prints signed requests of the HTTP form for other load generators, in vegeta's JSON format
    Targets(targets::TargetsOptions),
    /// Starts a system, runs another load generator against it, and audits every payment
    Tool(tool::ToolOptions),
}

/// The arguments of one run.
#[derive(clap::Args)]
struct LoadRunOptions {
    /// A scenario file, or the name of one in load-tests/scenarios
    scenario: Option<String>,
    /// Explain every key of a scenario file, and every figure that a threshold may name
    #[arg(long)]
    explain: bool,
    /// Send to a system that runs already, at these addresses of its public gRPC API; nothing is
    /// started and no fault is caused
    #[arg(long, value_name = "URI", value_delimiter = ',')]
    endpoints: Vec<String>,
    /// The address of its HTTP form
    #[arg(long, value_name = "ADDRESS")]
    http: Option<SocketAddr>,
    /// The simulator's wallet, where its ledger is read: with it, answers are compared with the
    /// ledger too
    #[arg(long, value_name = "URI")]
    ledger: Option<String>,
    /// A process whose CPU and memory are measured, as NAME=PID; may be repeated
    #[arg(long = "process", value_name = "NAME=PID")]
    processes: Vec<NamedProcess>,
    /// Start the system with TLS, with certificates on both sides, on gRPC, the operators' API,
    /// wallet and FISC
    #[arg(long, conflicts_with = "endpoints")]
    tls: bool,
    /// Multiply every rate of the scenario
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = factor)]
    rate_scale: f64,
    /// Multiply every duration of the scenario
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = factor)]
    time_scale: f64,
    /// How many orders the system holds before the run, instead of what the scenario says
    #[arg(long, value_name = "ORDERS", conflicts_with = "endpoints")]
    orders_held: Option<u64>,
    /// The folder of the report; it is emptied first. Without it target/load and the scenario's
    /// name
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// A process by name and id.
#[derive(Clone, Debug, PartialEq, Eq)]
struct NamedProcess {
    name: String,
    id: u32,
}

impl FromStr for NamedProcess {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('=').and_then(|(name, id)| Some((name.to_owned(), id.parse().ok()?)));
        let (name, id) = parts.ok_or_else(|| format!("{text:?} is not NAME=PID, such as router=4711"))?;
        Ok(Self { name, id })
    }
}

fn factor(text: &str) -> Result<f64, String> {
    let factor = text.parse::<f64>().ok().filter(|factor| (0.001..=1_000.0).contains(factor));
    factor.ok_or_else(|| format!("{text:?} is not a factor: a number from 0.001 to 1000"))
}

/// A scenario with its name and its text.
struct NamedScenario {
    name: String,
    text: String,
    scenario: Scenario,
}

impl NamedScenario {
    /// Reads a file, or the scenario of this name.
    fn read(name: &str) -> anyhow::Result<Self> {
        let given = PathBuf::from(name);
        let known = PathBuf::from(SCENARIOS).join(format!("{name}.toml"));
        let file = if !given.exists() && known.exists() { known } else { given };
        let text = twqr_files::read_text(&file).with_context(|| {
            format!("scenario {} cannot be read; name a file, or one of {SCENARIOS}", file.display())
        })?;
        let scenario = Scenario::parse(&text).map_err(|faults| {
            let faults: Vec<String> = faults.iter().map(|fault| format!("{}: {fault}", file.display())).collect();
            anyhow::anyhow!("{}", faults.join("\n"))
        })?;
        let name = file.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        Ok(Self { name, text, scenario })
    }
}

/// Runs the command. The exit code is 0 if the run is valid and meets its thresholds, 2 if it
/// misses one, and 3 if it is invalid.
pub async fn run(options: &LoadOptions, config: &Config, stop: CancellationToken) -> anyhow::Result<ExitCode> {
    match &options.action {
        None => run_scenario(&options.run, config, stop).await,
        Some(LoadAction::Compare(options)) => compare::run(options, config, stop).await,
        Some(LoadAction::ProveCompare(options)) => prove_compare::run(options),
        Some(LoadAction::Results(options)) => results::run(options),
        Some(LoadAction::Targets(options)) => targets::run(options).map(|()| ExitCode::SUCCESS),
        Some(LoadAction::Tool(options)) => tool::run(options, config, stop).await,
    }
}

async fn run_scenario(options: &LoadRunOptions, config: &Config, stop: CancellationToken) -> anyhow::Result<ExitCode> {
    if options.explain {
        twqr_files::print_line(explain().trim_end())?;
        return Ok(ExitCode::SUCCESS);
    }
    let Some(name) = &options.scenario else {
        bail!("no scenario is named; name a file or one of {SCENARIOS}, such as baseline");
    };
    let mut named = NamedScenario::read(name)?;
    named.scenario = named.scenario.scaled(options.rate_scale, options.time_scale);
    if let Some(orders) = options.orders_held {
        named.scenario.system.orders_held = orders;
    }
    let dir = options.dir.clone().unwrap_or_else(|| PathBuf::from("target/load").join(&named.name));
    let target = if options.endpoints.is_empty() {
        run::LoadTarget::Started { build: None, tls: options.tls }
    } else {
        run::LoadTarget::Running {
            grpc: options.endpoints.clone(),
            http: options.http,
            ledger: options.ledger.clone(),
            processes: options.processes.clone(),
        }
    };
    let summary = run::play(&named, &target, &dir, config, stop).await?;
    written::print(&summary, &dir)?;
    Ok(exit_code(&summary))
}

/// The exit code of a run.
fn exit_code(summary: &LoadSummary) -> ExitCode {
    match (summary.validity.is_valid, summary.meets_thresholds()) {
        (false, _) => ExitCode::from(INVALID),
        (true, false) => ExitCode::from(MISSED),
        (true, true) => ExitCode::SUCCESS,
    }
}

#[cfg(test)]
mod tests;
