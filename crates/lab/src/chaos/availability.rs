//! `twqr-lab chaos availability`: measures how long payments wait, and how many of those that the
//! issuers would approve end otherwise, while one process after another is killed or suspended.
//! Two of each service run at the configured times, under an open-loop load.

mod client;
mod faults;
mod figures;
mod load;
mod report;
mod tasks;

use std::{collections::BTreeSet, path::Path, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::ValueEnum;
use twqr_config::Config;
use twqr_journal::{
    Journal,
    kafka::{self, KafkaJournal},
};
use twqr_loadgen::{CallResult, audit_answers, ledger};

use super::ChaosOptions;
use crate::launch::{self, Launch, Listen, Programs, Shape, System, connect};

use faults::{Fault, FaultStage};
pub(super) use figures::otherwise;
use load::{Payment, PaymentLoad};

/// The target of the failures of a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Target {
    /// One of the two ingresses
    Ingress,
    /// One of the two routers
    Router,
    /// One of two workers for the wallet
    WalletWorker,
    /// One of two workers for FISC
    FiscWorker,
    /// One of the two trackers
    Tracker,
    /// A broker of three, which leads some partitions; left out on a single broker
    Leader,
}

/// The simulator's script: it approves every payment of the load.
const SCRIPT: &str = "
seed = 11
[wallet]
latency_ms = 10
balance = 1000000000000
[issuers.389]
latency_ms = 10
balance = 1000000000000
[issuers.004]
latency_ms = 10
balance = 1000000000000
";
/// The default rate, in payments per second.
const RATE: u32 = 200;
/// The time that the system has to become warm, and the calm that the faults are compared with, in
/// ms.
const WARM_UP_MS: u64 = 6_000;
const CALM_MS: u64 = 4_000;
/// The time that orders in progress have to become final, in s.
const RESOLVE_S: u64 = 120;
/// How many of the approved payments are queried too.
const AUDIT_SAMPLE: usize = 1_000;
/// The number of brokers from which one can fail.
const BROKERS_MIN: usize = 3;

/// Runs the measurement and prints a JSON line and a table; the exit code is non-zero if the audit
/// finds a fault or a call has no answer.
pub(super) async fn run(options: &ChaosOptions, config: &Config) -> anyhow::Result<ExitCode> {
    let mut targets: BTreeSet<Target> = match options.services.as_slice() {
        [] => Target::value_variants().iter().copied().collect(),
        chosen => chosen.iter().copied().collect(),
    };
    if config.kafka.bootstrap.split(',').count() < BROKERS_MIN && targets.remove(&Target::Leader) {
        twqr_files::print_error_line("one broker: the failure of a leader is left out (BROKERS=3 deploy/kafka/up)");
    }
    let mut system = start(options, config).await?;
    let journal = KafkaJournal::connect(system.config.kafka.settings()?, "availability").await?;
    let load = PaymentLoad::start(&system.ingresses(), options.rate.unwrap_or(RATE), options.seed)?;
    let every = Duration::from_secs(options.every_s);
    let stage =
        FaultStage { system: &mut system, load: &load, journal: &*journal, scripts: &options.kafka_scripts, every };
    let played = measure(stage, &targets, options.kills).await;
    let payments = load.end().await?;
    journal.close().await;
    let outcome = match played {
        Ok(faults) => audit(&system, &payments, &faults).await,
        Err(error) => Err(error),
    };
    system.end().await;
    outcome
}

async fn start(options: &ChaosOptions, config: &Config) -> anyhow::Result<System> {
    launch::empty(&options.dir)?;
    let script: &Path = &options.dir.with_extension("script.toml");
    std::fs::write(script, SCRIPT).with_context(|| format!("cannot write {}", script.display()))?;
    let launch = Launch {
        programs: Programs::beside_this_one()?,
        dir: &options.dir,
        script: Some(script),
        config: config.clone(),
        listen: Listen::OnFreePorts,
        shape: Shape::TwoOfEach,
        kinds: options.kinds.clone(),
        tls: false,
        log_filter: None,
    };
    launch.start().await
}

async fn measure(mut stage: FaultStage<'_>, targets: &BTreeSet<Target>, kills: u32) -> anyhow::Result<Vec<Fault>> {
    tokio::time::sleep(Duration::from_millis(WARM_UP_MS)).await;
    let calm = stage.load.now_ms();
    tokio::time::sleep(Duration::from_millis(CALM_MS)).await;
    let mut faults = vec![Fault::calm(calm, stage.load.now_ms())];
    faults.extend(stage.play(targets, kills).await?);
    Ok(faults)
}

/// Waits until no order is in progress, audits, and prints the report.
async fn audit(system: &System, payments: &[Payment], faults: &[Fault]) -> anyhow::Result<ExitCode> {
    let pos = system.channel()?;
    let results: Vec<CallResult> = payments.iter().map(|payment| payment.result.clone()).collect();
    let orders = audit_answers::orders(&pos, &results, AUDIT_SAMPLE, Duration::from_secs(RESOLVE_S)).await;
    let entries = ledger(connect(&system.config.wallet).await?).await?;
    let found = audit_answers::audit(&results, &orders, &entries);
    let unanswered = results.iter().filter(|result| result.answer.is_err()).count();
    let layout = kafka::recorded(system.config.kafka.settings()?).await?.context("the topics have no layout")?;
    let phases = figures::phases(payments, &orders, faults, layout.task_partitions);
    report::print(&phases, &found, results.len(), unanswered)?;
    anyhow::ensure!(
        found.is_clean() && unanswered == 0 && !results.is_empty(),
        "the audit found: {found:?}; {unanswered} of {} calls have no answer",
        results.len()
    );
    Ok(ExitCode::SUCCESS)
}
