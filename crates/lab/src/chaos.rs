//! `twqr-lab chaos`: the whole system in processes of its own on a real broker, under load, while
//! processes and brokers are killed, stopped and brought back at seeded moments; then the audit of
//! every answer and every order against the simulator's ledger.

mod scenarios;
mod signals;

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use tokio::{process::Command, sync::watch, task::JoinHandle};
use tonic::transport::Channel;
use twqr_config::Config;
use twqr_loadgen::{
    CallResult, Load, audit,
    full_api::{Line, PlayedCall, audit_full_api, full_api_day, play, settle},
    ledger, open_loop, payments, resolve,
};

use crate::{
    launch::{self, Launch, Programs, Shape, System, connect, on_free_ports},
    short_times::with_short_times,
};
pub use scenarios::Scenario;

/// The arguments of `twqr-lab chaos`.
#[derive(clap::Args)]
pub struct Options {
    /// What goes wrong
    scenario: Scenario,
    /// Another seed gives other moments, other victims and other payments
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Payments a second
    #[arg(long, default_value_t = 100)]
    rate: u32,
    /// Where data and logs go; emptied first
    #[arg(long, default_value = "target/chaos")]
    dir: PathBuf,
    /// The scripts that start and stop brokers, for scenarios that kill one
    #[arg(long, default_value = "deploy/kafka")]
    kafka_scripts: PathBuf,
}

/// What goes wrong at the issuers meanwhile.
const SCRIPT: &str = "
seed = 11
[wallet]
latency_ms = 10
[issuers.392]
answer_late = 0.2
late_ms = 1200
land_after_inquiry = 0.1
window_ms = 1500
[issuers.390]
latency_ms = 10
lose_answers = 0.1
refuse_reversals = 1.0
[issuers.812]
lose_requests = 0.1
[issuers.389]
refuse_reversals_once = 1.0
";
/// Chains of calls of the full API that begin each second: one of each kind.
const CHAINS_A_SECOND: u32 = 14;
/// How the MerchantIDs of those chains begin.
const CHAIN_MERCHANTS: &str = "W";
/// How often a call is tried, and how long the orders in progress may take to end, in s.
const ATTEMPTS: u32 = 2_000;
const RESOLVE_S: u64 = 120;
/// Longer than a charge may be sent and take effect after that, in ms.
const LATE_MS: u64 = 8_000;
/// A movement of money is sent within this or not at all, in ms.
const SEND_WITHIN_MS: i64 = 4_000;
/// How long the load runs before anything happens and after everything is back, in ms.
const CALM_MS: u64 = 2_000;

/// The system under load while a scenario runs.
pub(crate) struct Stage {
    pub(crate) system: System,
    pub(crate) random: ChaCha8Rng,
    scripts: PathBuf,
    recoveries: Vec<Duration>,
}

/// Runs one scenario; non-zero if the audit finds anything.
#[allow(clippy::print_stdout, reason = "the command's output")]
pub async fn run(options: &Options, config: &Config) -> anyhow::Result<ExitCode> {
    println!("chaos {:?}, seed {} (--seed for another)", options.scenario, options.seed);
    launch::empty(&options.dir)?;
    let script = options.dir.with_extension("script.toml");
    std::fs::write(&script, SCRIPT)?;
    let system = Launch {
        programs: Programs::beside_this_one()?,
        dir: &options.dir,
        script: Some(&script),
        config: on_free_ports(with_short_times(config.clone(), SEND_WITHIN_MS)?)?,
        shape: Shape::ProcessForEach,
        log_filter: None,
    }
    .start()
    .await?;
    let random = ChaCha8Rng::seed_from_u64(options.seed);
    let mut stage = Stage { system, random, scripts: options.kafka_scripts.clone(), recoveries: Vec::new() };
    let pos = stage.system.channel()?;
    let load = UnderLoad::start(&pos, options);
    tokio::time::sleep(Duration::from_millis(CALM_MS)).await;
    let happened = options.scenario.play(&mut stage).await;
    let ready = stage.system.until_ready().await;
    tokio::time::sleep(Duration::from_millis(CALM_MS)).await;
    let (told, played) = load.end().await?;
    let checked = match happened.and(ready) {
        Ok(_) => check(&stage, &pos, &told, &played).await,
        Err(error) => Err(error),
    };
    stage.system.end().await;
    checked
}

/// Payments, and chains of calls of the full API, that come in until they are told to end.
struct UnderLoad {
    over: watch::Sender<bool>,
    running: JoinHandle<(Vec<CallResult>, Vec<PlayedCall>)>,
}

/// One of each kind of chain. What it comes to is not certain while everything fails; what it was
/// told must hold.
fn chains(seed: u64, round: u64) -> Vec<Line> {
    let lines = full_api_day(seed.wrapping_mul(1_000).wrapping_add(round), &format!("w{round}"), CHAINS_A_SECOND);
    lines.into_iter().map(|line| Line { expect: None, ..line }).collect()
}

impl UnderLoad {
    fn start(pos: &Channel, options: &Options) -> Self {
        let (over, is_over) = watch::channel(false);
        let (pos, rate, seed) = (pos.clone(), options.rate, options.seed);
        let running = tokio::spawn(async move {
            let mut rounds = Vec::new();
            let mut chains_of_rounds = Vec::new();
            let mut round = 0;
            while !*is_over.borrow() {
                let load = Load { rate: f64::from(rate), seed: seed ^ round, attempts: ATTEMPTS };
                let requests =
                    payments(seed.wrapping_mul(1_000).wrapping_add(round), &format!("c{round}"), rate as usize);
                let (channel, lines) = (pos.clone(), chains(seed, round));
                chains_of_rounds.push(tokio::spawn(async move { play(&channel, lines, || ()).await }));
                let pos = pos.clone();
                rounds.push(tokio::spawn(
                    async move { open_loop(std::slice::from_ref(&pos), requests, load).await.results },
                ));
                round += 1;
                // The next second's payments start whether or not these are answered.
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            let mut told = Vec::new();
            for round in rounds {
                told.extend(round.await.unwrap_or_default());
            }
            let mut played = Vec::new();
            for round in chains_of_rounds {
                played.extend(round.await.unwrap_or_default());
            }
            (told, played)
        });
        Self { over, running }
    }

    async fn end(self) -> anyhow::Result<(Vec<CallResult>, Vec<PlayedCall>)> {
        self.over.send_replace(true);
        Ok(self.running.await?)
    }
}

/// Everything that anybody was told, against every order and the ledger.
#[allow(clippy::print_stdout, reason = "the command's output")]
async fn check(stage: &Stage, pos: &Channel, told: &[CallResult], played: &[PlayedCall]) -> anyhow::Result<ExitCode> {
    drop(resolve(pos, told, Duration::from_secs(RESOLVE_S)).await);
    drop(settle(pos, played).await);
    // Whatever could still take effect late has done so after this; then nothing that was final may
    // have changed.
    tokio::time::sleep(Duration::from_millis(LATE_MS)).await;
    let orders = resolve(pos, told, Duration::from_secs(RESOLVE_S)).await;
    let chain_orders = settle(pos, played).await;
    let entries = ledger(connect(stage.system.config.wallet).await?).await?;
    let (chain_entries, entries): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|entry| entry.merchant_id.starts_with(CHAIN_MERCHANTS));
    let found = audit(told, &orders, &entries);
    let chain_faults = audit_full_api(played, &chain_orders, &chain_entries);
    let unanswered = told.iter().filter(|told| told.answer.is_err()).count();
    let recoveries: Vec<u128> = stage.recoveries.iter().map(Duration::as_millis).collect();
    let mut latencies: Vec<u64> = told.iter().map(|told| told.latency_us / 1_000).collect();
    latencies.sort_unstable();
    println!(
        "{}",
        json!({
            "answers": told.len(), "without_an_answer": unanswered, "orders": orders.len(), "ledger_entries": entries.len(),
            "charged_twice": found.charged_twice.len(), "lost": found.lost.len(), "contradicted": found.contradicted.len(),
            "whole_api": {
                "calls": played.len(), "orders": chain_orders.len(), "ledger_entries": chain_entries.len(),
                "twice": chain_faults.twice.len(), "over_refunded": chain_faults.over_refunded.len(), "lost": chain_faults.lost.len(),
                "contradicted": chain_faults.contradicted.len(), "malformed": chain_faults.malformed.len(),
            },
            "ready_again_ms": recoveries, "slowest_answer_ms": latencies.last(),
        })
    );
    if !found.is_clean() || unanswered > 0 || told.is_empty() {
        bail!("the audit found: {found:?}; {unanswered} of {} calls have no answer", told.len());
    }
    if !chain_faults.is_clean() || played.is_empty() {
        bail!("the audit of {} calls of the full API found: {chain_faults:#?}", played.len());
    }
    Ok(ExitCode::SUCCESS)
}

impl Stage {
    /// Waits until everything is ready again, and notes how long that took since `began`.
    pub(crate) async fn recover(&mut self, began: Instant) -> anyhow::Result<()> {
        self.system.until_ready().await?;
        self.recoveries.push(began.elapsed());
        Ok(())
    }

    /// Runs a script of the brokers.
    pub(crate) async fn broker(&self, script: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let path = self.scripts.join(script);
        let status = Command::new(&path).args(arguments).env_remove("KAFKA_BOOTSTRAP").status().await;
        let status = status.with_context(|| format!("{} cannot be run", path.display()))?;
        anyhow::ensure!(status.success(), "{} {arguments:?} failed ({status})", path.display());
        Ok(())
    }

    /// Removes what a process has on its disk.
    pub(crate) fn lose_disk(&self, name: &str) {
        drop(std::fs::remove_dir_all(self.system.data_dir(name)));
    }
}
