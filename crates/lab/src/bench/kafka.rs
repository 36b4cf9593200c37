//! `twqr-lab bench kafka`: measures the system on Apache Kafka, every service in its own processes.
//! The floor is measured on the same broker in the same run: the same hops and bytes, each role
//! with its own clients, and no product logic.

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use serde_json::{Value, json};
use tonic::transport::Channel;
use twqr_client::ProgressBar;
use twqr_config::Config;
use twqr_journal::kafka::{self, KafkaJournal};
use twqr_loadgen::{CallResult, Load, audit_answers, ledger, open_loop, payments};

use super::{
    confirmed::{Confirmation, confirm, held},
    figures::{Percentiles, Step, highest_rate_below, payments_of, ratio},
    hops::{Hops, Shared},
    quick::{errors_of, machine, step},
};
use crate::{
    launch::{Launch, Listen, Programs, Shape, System, connect},
    simulator::Kinds,
    usage::Usage,
};

/// The arguments of `twqr-lab bench kafka`.
#[derive(clap::Args)]
pub struct KafkaBenchOptions {
    /// The folder for data; it is emptied first
    #[arg(long, default_value = "target/bench-kafka")]
    dir: PathBuf,
    /// The process id of the broker, for its costs; 0 if it is not on this machine
    #[arg(long, default_value_t = 0)]
    broker_pid: u32,
    /// Rates whose latency and costs are reported, in payments per second
    #[arg(long, value_delimiter = ',', default_value = "200,500,1000")]
    rates: Vec<u32>,
    /// Further rates of the ladder, measured in turn up to the first that is not sustained
    #[arg(long, value_delimiter = ',', default_value = "1500,2000,2500,3000,3500,4000")]
    ladder: Vec<u32>,
    /// The rates of the floor's ladder
    #[arg(long, value_delimiter = ',', default_value = "4000,8000,12000,16000,20000")]
    floor_ladder: Vec<u32>,
    /// The duration of each rate, in ms
    #[arg(long, default_value_t = 6_000)]
    hold_ms: u32,
    /// How many further tries must sustain the highest rate; where one does not, a lower rate takes
    /// its place
    #[arg(long, default_value_t = 0)]
    tries: usize,
    /// The seed of the payments and their start times
    #[arg(long, default_value_t = 7)]
    seed: u64,
}

/// The limit for the p99 latency of a sustained rate, in ms.
const P99_MS_MAX: f64 = 100.0;
/// The warm-up of the system and then of the floor, in payments per second and ms. Brokers are slow
/// until the JVM has compiled their hot code.
const WARM_RATE: u32 = 1_000;
const WARM_MS: u32 = 30_000;
const FLOOR_WARM_MS: u32 = 10_000;
/// The numbers of routers and workers of the floor, the same as the system's.
const ROUTERS: usize = 2;
const WORKERS: usize = 4;
/// The number of successful orders that the audit queries besides all others, and the time that
/// orders in progress have to become final, in s.
const AUDIT_SAMPLE: usize = 1_000;
const RESOLVE_S: u64 = 60;
/// The number of the generator's connections.
const CONNECTIONS: usize = 4;

/// The figures of one rate; costs are per payment.
struct RateFigures {
    step: Step,
    costs: Value,
}

/// Everything that was measured of the system.
struct MeasuredSystem {
    rates: Vec<RateFigures>,
    /// The tries of the highest rate.
    tries: Vec<Step>,
    /// The results of all calls.
    results: Vec<CallResult>,
}

impl MeasuredSystem {
    fn steps(&self) -> Vec<Step> {
        self.rates.iter().map(|measured| measured.step).collect()
    }
}

/// Measures and prints one JSON line. The exit code is non-zero if the audit finds a fault.
pub(crate) async fn run(options: &KafkaBenchOptions, config: &Config) -> anyhow::Result<ExitCode> {
    let begun = std::time::Instant::now();
    let mut progress = ProgressBar::start("phases", 0);
    progress.step("starting the system");
    let mut launched = Launch {
        programs: Programs::beside_this_one()?,
        dir: &options.dir,
        script: None,
        config: config.clone(),
        listen: Listen::OnFreePorts,
        shape: Shape::ProcessForEach,
        kinds: Kinds::default(),
        log_filter: None,
    }
    .start()
    .await?;
    let measured = system(options, &launched, &mut progress).await;
    let audited = match &measured {
        Ok(measured) => Some(audit(&launched, &measured.results).await),
        Err(_) => None,
    };
    launched.end().await;
    let measured = measured?;
    progress.step("floor");
    let floor = floor(options, config).await?;
    let (clean, audit) = audited.context("the payments were not audited")??;
    progress.finish(&format!("{:.0} s", begun.elapsed().as_secs_f64()));
    let steps = measured.steps();
    let rate = held(&steps, &measured.tries, options.tries, P99_MS_MAX);
    let floor_rate = highest_rate_below(&floor, P99_MS_MAX);
    let at = |wanted: u32| {
        let own = measured.rates.iter().find(|measured| measured.step.rate == wanted)?;
        let bare = floor.iter().find(|step| step.rate == wanted)?;
        Some(
            json!({ "rate": wanted, "latency": own.step.latency, "errors": own.step.errors, "costs_per_payment": own.costs,
            "floor": bare.latency, "ratio": own.step.latency.over(bare.latency) }),
        )
    };
    twqr_files::print_line(json!({
        "bench": "kafka", "machine": machine(),
        "load": "open loop, Poisson, latency from the intended start, nothing trimmed; broker, simulator and generator on the same machine",
        "durability": "acks=all, idempotent; the broker writes to its page cache",
        "warm_up": format!("{WARM_RATE} payments/s for {} s, and the floor after it for {} s", WARM_MS / 1_000, FLOOR_WARM_MS / 1_000),
        "rates": options.rates.iter().filter_map(|rate| at(*rate)).collect::<Vec<_>>(),
        "highest_rate": { "p99_ms_max": P99_MS_MAX, "rate": rate, "floor": floor_rate,
            "ratio": ratio(f64::from(rate), f64::from(floor_rate)), "steps": steps, "tries": measured.tries, "floor_steps": floor },
        "audit": audit, "answers": measured.results.len(), "seed": options.seed, "took_s": begun.elapsed().as_secs(),
    }))?;
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Measures the floor: the warm-up, the reported rates, and its own ladder.
async fn floor(options: &KafkaBenchOptions, config: &Config) -> anyhow::Result<Vec<Step>> {
    let mut settings = config.kafka.settings()?;
    settings.prefix = format!("{}floor-{:016x}.", settings.prefix, rand::random::<u64>());
    let layout = config.layout();
    let plan = kafka::plan(settings.clone(), &layout).await?;
    kafka::apply(settings.clone(), &layout, &plan).await?;
    let mut roles: Vec<Shared> = Vec::new();
    for role in 0..ROUTERS + WORKERS + 2 {
        let journal: Arc<KafkaJournal> = KafkaJournal::connect(settings.clone(), &format!("floor-{role}")).await?;
        roles.push(journal);
    }
    let (ingress, tracker) = (roles.remove(0), roles.remove(0));
    let workers = roles.split_off(ROUTERS);
    let hops = Hops::start(ingress, roles, workers, tracker).await?;
    hops.step(WARM_RATE, payments_of(WARM_RATE, FLOOR_WARM_MS)).await;
    let mut steps = Vec::new();
    for rate in options.rates.iter().chain(&options.floor_ladder) {
        let step = hops.step(*rate, payments_of(*rate, options.hold_ms)).await;
        steps.push(step);
        if !step.is_sustained_below(P99_MS_MAX) {
            break;
        }
    }
    hops.end();
    Ok(steps)
}

/// The resources that the system has used so far.
struct Costs {
    services: u64,
    broker: u64,
    records: u64,
    broker_written: u64,
}

impl Costs {
    async fn now(system: &System, options: &KafkaBenchOptions) -> anyhow::Result<Self> {
        let broker = Usage::of(options.broker_pid);
        Ok(Self {
            services: system.ids().into_iter().map(|id| Usage::of(id).cpu_us).sum(),
            broker: broker.cpu_us,
            records: system.records().await?,
            broker_written: broker.written_bytes,
        })
    }

    fn per_payment(&self, before: &Self, payments: usize) -> Value {
        let each = |now: u64, before: u64| (now.saturating_sub(before) as f64 / payments as f64 * 10.0).round() / 10.0;
        json!({
            "cpu_us_services": each(self.services, before.services), "cpu_us_broker": each(self.broker, before.broker),
            "records": each(self.records, before.records), "broker_written_bytes": each(self.broker_written, before.broker_written),
        })
    }
}

/// Measures the system: the warm-up, the reported rates, and the ladder.
async fn system(
    options: &KafkaBenchOptions,
    system: &System,
    progress: &mut ProgressBar,
) -> anyhow::Result<MeasuredSystem> {
    let mut channels: Vec<Channel> = Vec::new();
    for address in system.ingresses().into_iter().cycle().take(CONNECTIONS) {
        channels.push(connect(address).await?);
    }
    let once = |rate: u32| Load { rate: f64::from(rate), seed: options.seed, attempts: 1 };
    progress.step("warm-up");
    let warm = payments(options.seed, "warm", payments_of(WARM_RATE, WARM_MS));
    let results = open_loop(&channels, warm, once(WARM_RATE)).await.results;
    let mut all = MeasuredSystem { rates: Vec::new(), tries: Vec::new(), results };
    for (number, rate) in options.rates.iter().chain(&options.ladder).enumerate() {
        progress.step(&format!("{rate} payments per second"));
        let requests = payments(options.seed, &format!("r{number}"), payments_of(*rate, options.hold_ms));
        let count = requests.len();
        let before = Costs::now(system, options).await?;
        let measured = open_loop(&channels, requests, once(*rate)).await;
        let costs = Costs::now(system, options).await?.per_payment(&before, count);
        let step = Step {
            rate: *rate,
            answered_rate: measured.results.len() as f64 / measured.took.as_secs_f64(),
            errors: errors_of(&measured.results),
            latency: Percentiles::of(&measured.latencies),
        };
        all.results.extend(measured.results);
        all.rates.push(RateFigures { step, costs });
        if number >= options.rates.len() && !step.is_sustained_below(P99_MS_MAX) {
            break;
        }
    }
    let steps = all.steps();
    while let Confirmation::Try(rate) = confirm(&steps, &all.tries, options.tries, P99_MS_MAX) {
        progress.step(&format!("{rate} payments per second again"));
        let name = format!("t{}", all.tries.len());
        let requests = payments(options.seed, &name, payments_of(rate, options.hold_ms));
        let measured = open_loop(&channels, requests, once(rate)).await;
        all.tries.push(step(rate, &measured));
        all.results.extend(measured.results);
    }
    Ok(all)
}

async fn audit(system: &System, results: &[CallResult]) -> anyhow::Result<(bool, Value)> {
    let pos = system.channel()?;
    let orders = audit_answers::orders(&pos, results, AUDIT_SAMPLE, Duration::from_secs(RESOLVE_S)).await;
    let entries = ledger(connect(system.config.wallet).await?).await?;
    let found = audit_answers::audit(results, &orders, &entries);
    let report = json!({
        "charged_twice": found.charged_twice.len(), "lost": found.lost.len(), "contradicted": found.contradicted.len(),
        "ledger_entries": entries.len(), "asked_about": orders.len(),
    });
    Ok((found.is_clean(), report))
}
