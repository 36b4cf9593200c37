//! `twqr-lab chaos`: runs every service in its own processes on a Kafka cluster, under load. It
//! kills, suspends and restarts processes and brokers at times drawn from a seed. Then it audits
//! every answer and every order against the simulator's ledger.

mod availability;
mod broker_clocks;
mod certificates;
mod clocks;
mod moves;
mod older;
mod restore;
mod scenarios;
pub(crate) mod signals;

use std::{
    num::NonZeroU32,
    path::{Path, PathBuf},
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
use twqr_files::print_line;
use twqr_journal::{Journal, kafka::KafkaJournal};
use twqr_loadgen::{
    CallResult, Load, Over, audit,
    full_api::{Line, PlayedCall, audit_full_api, full_api_day, play, settle},
    ledger, open_loop, payments, resolve, steady_payments,
};
use twqr_wire::pos::PayRequest;

use crate::{
    launch::{self, Launch, Listen, Programs, SecureBroker, Shape, System, connect},
    short_times::with_short_times,
    simulator::Kinds,
    token_search::TokenSearch,
};
pub use scenarios::Scenario;

/// The arguments of `twqr-lab chaos`.
#[derive(clap::Args)]
pub struct ChaosOptions {
    /// The failures to cause
    scenario: Scenario,
    /// The seed of the payments, and of which processes fail when
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Payments per second; without it 100, and 200 for availability
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: Option<u32>,
    /// How often each service is killed, and how often it is suspended; for availability alone
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    kills: u32,
    /// Seconds from one failure to the next, over which p99 is taken; for availability alone
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=600))]
    every_s: u64,
    /// What fails, separated by commas; by default everything; for availability alone
    #[arg(long, value_delimiter = ',')]
    services: Vec<availability::Target>,
    /// The folder for data and logs; it is emptied first
    #[arg(long, default_value = "target/chaos")]
    dir: PathBuf,
    /// The folder of the scripts that start and stop brokers
    #[arg(long, default_value = "deploy/kafka")]
    kafka_scripts: PathBuf,
    #[command(flatten)]
    kinds: Kinds,
    /// The `twqr` of an older build, from which the system is upgraded
    #[arg(long, value_name = "PATH")]
    older: Option<PathBuf>,
    /// Replace a process of each service at the same time, and each only as often as it takes to
    /// play every phase; for older alone
    #[arg(long)]
    short: bool,
    /// The library libfaketime, by which the clock of a process jumps or that of a broker is wrong;
    /// for clock-jump and broker-clocks alone
    #[arg(long, value_name = "PATH")]
    faketime: Option<PathBuf>,
}

impl ChaosOptions {
    /// The library libfaketime.
    fn faketime(&self) -> anyhow::Result<PathBuf> {
        let library =
            std::path::absolute(self.faketime.as_ref().context("--faketime must name the library libfaketime")?)?;
        anyhow::ensure!(library.is_file(), "{} is not the library libfaketime", library.display());
        Ok(library)
    }
}

/// The simulator's fault script during the scenario.
const SCRIPT: &str = "
seed = 11
[wallet]
latency_ms = 10
[issuers.392]
answer_late = 0.2
late_ms = 4200
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
/// The numbers of partitions of `orders` and of the task topics, unless configured.
const SHARDS: u32 = 8;
const TASK_PARTITIONS: u32 = 2;
/// The default rate, in payments per second.
const RATE: u32 = 100;
/// Chains of calls of the full API that start per second: one of each of the 14 kinds.
const CHAINS_A_SECOND: u32 = 14;
/// The rounds of a steady load, one a second, of which one has such chains: they would be most of
/// that load.
const STEADY_ROUNDS: u64 = 5;
/// The first letter of the MerchantIDs of those chains.
const CHAIN_MERCHANTS: &str = "W";
/// The largest number of attempts for a call, and the time that orders in progress have to become
/// final, in s.
const ATTEMPTS: u32 = 60;
const RESOLVE_S: u64 = 120;
/// Longer than `SEND_WITHIN_MS` and an issuer's window together, in ms: after this pause no
/// movement can take effect any more.
const LATE_MS: u64 = 9_500;
/// A movement of money is sent within this time or not at all, in ms.
const SEND_WITHIN_MS: i64 = 4_000;
/// The time that the load runs before the first failure and after the last recovery, in ms.
const CALM_MS: u64 = 2_000;

/// The system under load while a scenario runs.
pub(crate) struct Stage {
    pub(crate) system: System,
    pub(crate) random: ChaCha8Rng,
    scripts: PathBuf,
    /// The broker, if it lets in only users.
    broker: Option<SecureBroker>,
    recoveries: Vec<Duration>,
}

/// The folder of the brokers.
fn broker_dir() -> PathBuf {
    std::env::var_os("KAFKA_DIR").map_or_else(|| "target/kafka".into(), PathBuf::from)
}

/// Gives each of two processes of a service a part of the work, so that a fault of either shows.
fn spread(mut config: Config) -> Config {
    config.shards = config.shards.or(NonZeroU32::new(SHARDS));
    config.task_partitions = config.task_partitions.or(NonZeroU32::new(TASK_PARTITIONS));
    config
}

/// Runs one scenario; the exit code is non-zero if the audit finds a fault.
pub async fn run(options: &ChaosOptions, config: &Config) -> anyhow::Result<ExitCode> {
    let config = &spread(config.clone());
    if options.scenario == Scenario::Availability {
        return availability::run(options, config).await;
    }
    print_line(format_args!("chaos {:?}, seed {} (choose another with --seed)", options.scenario, options.seed))?;
    if matches!(options.scenario, Scenario::Older | Scenario::OlderEmbedded) {
        return older::run(options, config).await;
    }
    if options.scenario == Scenario::Certificates {
        return certificates::run(options, config).await;
    }
    if options.scenario == Scenario::Restore {
        return restore::run(options, config).await;
    }
    let has_clocks = matches!(options.scenario, Scenario::ClockJump | Scenario::BrokerClocks);
    let library = has_clocks.then(|| options.faketime()).transpose()?;
    let mut stage = Stage::set(options, Programs::beside_this_one()?, Shape::ProcessForEach, config).await?;
    let pos = stage.system.channel()?;
    let load = RunningLoad::start(&pos, options, 0);
    tokio::time::sleep(Duration::from_millis(CALM_MS)).await;
    let happened = match (options.scenario, &library) {
        (Scenario::ClockJump, Some(library)) => clocks::jump(&mut stage, library).await,
        (Scenario::BrokerClocks, Some(library)) => broker_clocks::set_wrong(&mut stage, library).await,
        _ => options.scenario.play(&mut stage).await,
    };
    let ready = stage.system.until_ready().await;
    tokio::time::sleep(Duration::from_millis(CALM_MS)).await;
    let outcomes = load.end().await?;
    let checked = match happened.and(ready) {
        Ok(_) => check(&stage, &pos, &outcomes).await,
        Err(error) => Err(error),
    };
    stage.system.end().await;
    checked
}

/// The load on the system: payments and chains of calls of the full API, until `end` is called.
struct RunningLoad {
    end: watch::Sender<bool>,
    task: JoinHandle<LoadOutcomes>,
}

/// The results of the load's calls.
#[derive(Default)]
struct LoadOutcomes {
    payments: Vec<CallResult>,
    chains: Vec<PlayedCall>,
    /// The card tokens of these payments.
    card_tokens: Vec<String>,
}

impl LoadOutcomes {
    fn add(&mut self, further: Self) {
        self.payments.extend(further.payments);
        self.chains.extend(further.chains);
        self.card_tokens.extend(further.card_tokens);
    }
}

/// Makes the payments of a round, from a seed, a part of their numbers, and how many there are.
type Generator = fn(u64, &str, usize) -> Vec<PayRequest>;

/// One chain of each kind. The expected results are removed, since they are not certain while
/// processes fail; the answers must still agree with the orders and the ledger.
fn chains(seed: u64, round: u64) -> Vec<Line> {
    let lines = full_api_day(seed.wrapping_mul(1_000).wrapping_add(round), &format!("w{round}"), CHAINS_A_SECOND);
    lines.into_iter().map(|line| Line { expect: None, ..line }).collect()
}

impl RunningLoad {
    /// Starts the load; the first round of two loads on one system must differ by more than the
    /// seconds that the first one runs.
    fn start(pos: &Channel, options: &ChaosOptions, first_round: u64) -> Self {
        let (end, is_ended) = watch::channel(false);
        let (pos, rate, seed) = (pos.clone(), options.rate.unwrap_or(RATE), options.seed);
        let steady: (Generator, u64) = (steady_payments, STEADY_ROUNDS);
        let (generate, rounds) = if options.scenario.has_steady_load() { steady } else { (payments as Generator, 1) };
        let task = tokio::spawn(async move {
            let mut payment_rounds = Vec::new();
            let mut chain_rounds = Vec::new();
            let mut card_tokens = Vec::new();
            let mut round = first_round;
            while !*is_ended.borrow() {
                let load = Load { rate: f64::from(rate), seed: seed ^ round, attempts: ATTEMPTS, over: Over::Calls };
                let requests =
                    generate(seed.wrapping_mul(1_000).wrapping_add(round), &format!("c{round}"), rate as usize);
                card_tokens.extend(requests.iter().map(|request| request.card_token.clone()));
                if round.is_multiple_of(rounds) {
                    let (channel, lines) = (pos.clone(), chains(seed, round));
                    chain_rounds.push(tokio::spawn(async move { play(&channel, lines, || ()).await }));
                }
                let pos = pos.clone();
                payment_rounds.push(tokio::spawn(async move {
                    open_loop(std::slice::from_ref(&pos), requests, load).await.results
                }));
                round += 1;
                // The next second's calls start whether or not these are answered.
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            let mut outcomes = LoadOutcomes { card_tokens, ..LoadOutcomes::default() };
            for round in payment_rounds {
                outcomes.payments.extend(round.await.unwrap_or_default());
            }
            for round in chain_rounds {
                outcomes.chains.extend(round.await.unwrap_or_default());
            }
            outcomes
        });
        Self { end, task }
    }

    /// Starts no further calls. Those that wait for an answer go on.
    fn stop(&self) {
        self.end.send_replace(true);
    }

    async fn end(self) -> anyhow::Result<LoadOutcomes> {
        self.stop();
        Ok(self.task.await?)
    }
}

/// Audits every answer against its order and the ledger.
async fn check(stage: &Stage, pos: &Channel, outcomes: &LoadOutcomes) -> anyhow::Result<ExitCode> {
    let LoadOutcomes { payments, chains, card_tokens } = outcomes;
    drop(resolve(pos, payments, Duration::from_secs(RESOLVE_S)).await);
    drop(settle(pos, chains).await);
    // After this pause no movement can take effect late any more: a second query must find the same
    // final states.
    tokio::time::sleep(Duration::from_millis(LATE_MS)).await;
    let orders = resolve(pos, payments, Duration::from_secs(RESOLVE_S)).await;
    let chain_orders = settle(pos, chains).await;
    let entries = ledger(connect(&stage.system.config.wallet).await?).await?;
    let (chain_entries, entries): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|entry| entry.merchant_id.starts_with(CHAIN_MERCHANTS));
    let found = audit(payments, &orders, &entries);
    let chain_faults = audit_full_api(chains, &chain_orders, &chain_entries);
    let unanswered = payments.iter().filter(|result| result.answer.is_err()).count();
    let recoveries: Vec<u128> = stage.recoveries.iter().map(Duration::as_millis).collect();
    let slowest_ms = payments.iter().map(|result| result.latency_us / 1_000).max();
    print_line(json!({
        "answers": payments.len(), "without_an_answer": unanswered, "orders": orders.len(), "ledger_entries": entries.len(),
        "charged_twice": found.charged_twice.len(), "lost": found.lost.len(), "contradicted": found.contradicted.len(),
        "whole_api": {
            "calls": chains.len(), "orders": chain_orders.len(), "ledger_entries": chain_entries.len(),
            "twice": chain_faults.twice.len(), "over_refunded": chain_faults.over_refunded.len(), "lost": chain_faults.lost.len(),
            "contradicted": chain_faults.contradicted.len(), "malformed": chain_faults.malformed.len(),
        },
        "ready_again_ms": recoveries, "slowest_answer_ms": slowest_ms,
    }))?;
    if !found.is_clean() || unanswered > 0 || payments.is_empty() {
        bail!("the audit found: {found:?}; {unanswered} of {} calls have no answer", payments.len());
    }
    if !chain_faults.is_clean() || chains.is_empty() {
        bail!("the audit of {} calls of the full API found: {chain_faults:#?}", chains.len());
    }
    stage.search_card_tokens(card_tokens).await?;
    Ok(ExitCode::SUCCESS)
}

impl Stage {
    /// Starts the system of a scenario.
    async fn set(options: &ChaosOptions, programs: Programs, shape: Shape, config: &Config) -> anyhow::Result<Self> {
        launch::empty(&options.dir)?;
        let script = options.dir.with_extension("script.toml");
        std::fs::write(&script, SCRIPT)?;
        let launch = Launch {
            programs,
            dir: &options.dir,
            script: Some(&script),
            config: with_short_times(config.clone(), SEND_WITHIN_MS)?,
            listen: Listen::OnFreePorts,
            shape,
            kinds: options.kinds.clone(),
            tls: false,
            log_filter: None,
        };
        let random = ChaCha8Rng::seed_from_u64(options.seed);
        let broker = SecureBroker::in_folder(&broker_dir())?;
        let (system, scripts) = (launch.start_on(broker.clone()).await?, options.kafka_scripts.clone());
        Ok(Self { system, random, scripts, broker, recoveries: Vec::new() })
    }

    /// Waits until every process is ready again, and records the time since `began`.
    pub(crate) async fn recover(&mut self, began: Instant) -> anyhow::Result<()> {
        self.system.until_ready().await?;
        self.recoveries.push(began.elapsed());
        Ok(())
    }

    /// Looks for the card tokens of the load, and for the passwords of the brokers' users, in what
    /// the processes have written. If everyone may read the topics, looks in every record and in
    /// the files of this system's topics in the folder of the brokers, too.
    async fn search_card_tokens(&self, tokens: &[String]) -> anyhow::Result<()> {
        if self.system.config.kafka.bootstrap.is_empty() {
            return Ok(());
        }
        let passwords = self.broker.as_ref().map(SecureBroker::passwords).transpose()?.unwrap_or_default();
        let mut search = TokenSearch::new(tokens.iter().cloned().chain(passwords));
        search.search_files(self.system.dir(), "");
        let (mut records, mut files) = (0, 0);
        if self.broker.is_none() {
            let journal = KafkaJournal::connect(self.system.config.kafka.settings()?, "token-search").await?;
            records = search.search_topics(&*journal).await?;
            journal.close().await;
            files = search.search_files(&broker_dir(), &self.system.config.kafka.prefix);
        }
        let (found, searched) = search.finish();
        print_line(json!({ "card_tokens": {
            "tokens": tokens.len(), "found": found.len(), "records": records, "broker_files": files, "bytes": searched,
        }}))?;
        anyhow::ensure!(found.is_empty(), "card tokens are in plain text: {found:#?}");
        Ok(())
    }

    /// Runs one of the broker scripts.
    pub(crate) async fn broker(&self, script: &str, arguments: &[&str]) -> anyhow::Result<()> {
        self.broker_with(script, arguments, &[]).await
    }

    /// The same with further variables.
    async fn broker_with(&self, script: &str, arguments: &[&str], variables: &[(&str, &Path)]) -> anyhow::Result<()> {
        let path = self.scripts.join(script);
        let mut command = Command::new(&path);
        command.args(arguments).env_remove("KAFKA_BOOTSTRAP").envs(variables.iter().copied());
        let status = command.status().await;
        let status = status.with_context(|| format!("{} cannot be run", path.display()))?;
        anyhow::ensure!(status.success(), "{} {arguments:?} failed ({status})", path.display());
        Ok(())
    }

    /// Runs a command-line tool of Kafka at the brokers, by its name; returns what it prints.
    async fn kafka_tool(&self, tool: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(self.scripts.join("tool"));
        command.args([tool, "--bootstrap-server", &self.system.config.kafka.bootstrap]).args(arguments);
        let output = command.output().await.with_context(|| format!("{tool} cannot be run"))?;
        let [said, errors] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        anyhow::ensure!(output.status.success(), "{tool} {arguments:?} failed: {said}{errors}");
        Ok(said)
    }

    /// The number of brokers.
    fn brokers(&self) -> usize {
        self.system.config.kafka.bootstrap.split(',').count()
    }

    /// Removes the data folder of a process.
    pub(crate) fn lose_disk(&self, name: &str) {
        drop(std::fs::remove_dir_all(self.system.data_dir(name)));
    }
}
