//! `twqr-lab bench kafka`: measures the system on Apache Kafka, every service in its own processes,
//! or all of them in each of two. The floor is measured on the same broker in the same run: a bare
//! relay of the same hops and bytes, which shares no code with the product.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use serde_json::{Value, json};
use tonic::transport::Channel;
use twqr_client::ProgressBar;
use twqr_config::Config;
use twqr_loadgen::{CallResult, Load, Over, audit_answers, ledger, open_loop, payments};

use super::{
    bare_relay::{BareRelay, Topics},
    confirmed::{Confirmation, confirm, held},
    figures::{Step, highest_rate_below, highest_rate_kept_up, payments_of, ratio},
    quick::{machine, step},
};
use crate::{
    launch::{Launch, Listen, Programs, Shape, System, connect},
    simulator::Kinds,
    usage::{Usage, java_compilers_cpu_us},
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
    /// How the services are divided into processes
    #[arg(long, value_enum, default_value_t = Division::OneService)]
    processes: Division,
    /// Rates that are measured in any case, in payments per second
    #[arg(long, value_delimiter = ',', default_value = "500,1000")]
    rates: Vec<u32>,
    /// Further rates of the ladder, measured in turn while the system keeps up with them
    #[arg(long, value_delimiter = ',', default_value = "2000,3000,4000,5000,6000,7000,8000")]
    ladder: Vec<u32>,
    /// The rates of the floor's ladder
    #[arg(long, value_delimiter = ',', default_value = "4000,10000,15000,20000,25000,30000,40000")]
    floor_ladder: Vec<u32>,
    /// Rates that are measured over streams (PayStream) too, in payments per second
    #[arg(long, value_delimiter = ',', default_value = "1000")]
    stream_rates: Vec<u32>,
    /// Omit the floor and the ratios to it
    #[arg(long)]
    without_floor: bool,
    /// The duration of each rate, in ms
    #[arg(long, default_value_t = 6_000)]
    hold_ms: u32,
    /// The duration of each rate of the floor, in ms
    #[arg(long, default_value_t = 6_000)]
    floor_ms: u32,
    /// How long the system is under load before it is measured, in s. Where the costs show that the
    /// broker still compiles, measure again with a longer time
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=600))]
    warm_up_s: u32,
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
/// The warm-up of the system, in payments per second, and then of the floor, in ms. Brokers are
/// slow until the JVM has compiled their hot code.
const WARM_RATE: u32 = 1_000;
const FLOOR_WARM_MS: u32 = 10_000;
/// The warm-up of the floor's clients at each further rate, in ms.
const CLIENTS_WARM_MS: u32 = 2_000;
/// The number of successful orders that the audit queries besides all others, and the time that
/// orders in progress have to become final, in s.
const AUDIT_SAMPLE: usize = 1_000;
const RESOLVE_S: u64 = 60;
/// The number of the generator's connections.
const CONNECTIONS: usize = 4;

/// Which services a process has.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Division {
    /// One service in each: two routers, two ingresses, two of each worker, one tracker
    OneService,
    /// All services in each of two processes, `twqr up`
    AllServices,
}

impl Division {
    fn shape(self) -> Shape {
        match self {
            Self::OneService => Shape::ProcessForEach,
            Self::AllServices => Shape::TwoUp,
        }
    }
}

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
    /// The same payments over streams.
    streams: Vec<RateFigures>,
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
        shape: options.processes.shape(),
        kinds: Kinds::default(),
        tls: false,
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
    let floor = if options.without_floor { Vec::new() } else { floor(options, config).await? };
    let (clean, audit) = audited.context("the payments were not audited")??;
    progress.finish(&format!("{:.0} s", begun.elapsed().as_secs_f64()));
    let steps = measured.steps();
    let rate = held(&steps, &measured.tries, options.tries, P99_MS_MAX);
    let floor_steps: Vec<Step> = floor.iter().map(|measured| measured.step).collect();
    let floor_rate = highest_rate_below(&floor_steps, P99_MS_MAX);
    let report = |own: &RateFigures| {
        let bare = floor.iter().find(|bare| bare.step.rate == own.step.rate);
        json!({
            "rate": own.step.rate, "latency": own.step.latency, "errors": own.step.errors, "costs_per_payment": own.costs,
            "floor": bare.map(|bare| json!({ "latency": bare.step.latency, "costs_per_payment": bare.costs })),
            "ratio": bare.map(|bare| own.step.latency.over(bare.step.latency)),
        })
    };
    twqr_files::print_line(json!({
        "bench": "kafka", "machine": machine(),
        "load": "open loop, Poisson, latency from the intended start, nothing trimmed; broker, simulator and generator on the same machine",
        "durability": "acks=all, idempotent; the broker writes to its page cache",
        "warm_up": format!("{WARM_RATE} payments/s for {} s, and the floor after it for {} s", options.warm_up_s, FLOOR_WARM_MS / 1_000),
        "rates": measured.rates.iter().map(report).collect::<Vec<_>>(),
        "over_streams": measured.streams.iter().map(report).collect::<Vec<_>>(),
        "highest_rate": { "p99_ms_max": P99_MS_MAX, "rate": rate, "floor": floor_rate,
            "ratio": ratio(f64::from(rate), f64::from(floor_rate)),
            "kept_up": highest_rate_kept_up(&steps), "floor_kept_up": highest_rate_kept_up(&floor_steps), "steps": steps, "tries": measured.tries, "floor_steps": floor_steps },
        "audit": audit, "answers": measured.results.len(), "seed": options.seed, "took_s": begun.elapsed().as_secs(),
    }))?;
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Measures the floor: the reported rates, and its own ladder, each after a warm-up of its clients.
async fn floor(options: &KafkaBenchOptions, config: &Config) -> anyhow::Result<Vec<RateFigures>> {
    let mut settings = config.kafka.settings()?;
    settings.prefix = format!("{}floor-{:016x}.", settings.prefix, rand::random::<u64>());
    let topics = Topics::create(&settings, config.kafka.replication).await?;
    let mut all: Vec<RateFigures> = Vec::new();
    for (number, rate) in options.rates.iter().chain(&options.floor_ladder).enumerate() {
        let relay = BareRelay::start(&topics, *rate)?;
        let warm_ms = if number == 0 { FLOOR_WARM_MS } else { CLIENTS_WARM_MS };
        relay.step(payments_of(*rate, warm_ms)).await?;
        let count = payments_of(*rate, options.floor_ms);
        let before = Costs::of(&[std::process::id()], options.broker_pid);
        let step = relay.step(count).await?;
        let costs = Costs::of(&[std::process::id()], options.broker_pid).per_payment(&before, count);
        relay.end()?;
        all.push(RateFigures { step, costs });
        if number >= options.rates.len() && !step.is_kept_up() {
            break;
        }
    }
    topics.delete().await?;
    Ok(all)
}

/// The resources that the system has used so far.
struct Costs {
    services: u64,
    broker: u64,
    /// What the compilers of its JVM took of that.
    broker_compiling: u64,
    broker_written: u64,
}

impl Costs {
    /// Of these processes, and of the broker.
    fn of(services: &[u32], broker: u32) -> Self {
        let (broker, broker_compiling) = (Usage::of(broker), java_compilers_cpu_us(broker));
        Self {
            services: services.iter().map(|id| Usage::of(*id).cpu_us).sum(),
            broker: broker.cpu_us,
            broker_compiling,
            broker_written: broker.written_bytes,
        }
    }

    fn per_payment(&self, before: &Self, payments: usize) -> Value {
        let each = |now: u64, before: u64| (now.saturating_sub(before) as f64 / payments as f64 * 10.0).round() / 10.0;
        json!({
            "cpu_us_services": each(self.services, before.services), "cpu_us_broker": each(self.broker, before.broker),
            "cpu_us_broker_compiling": each(self.broker_compiling, before.broker_compiling),
            "broker_written_bytes": each(self.broker_written, before.broker_written),
        })
    }
}

/// Measures the system: the warm-up, the reported rates, the ladder, and streams.
async fn system(
    options: &KafkaBenchOptions,
    system: &System,
    progress: &mut ProgressBar,
) -> anyhow::Result<MeasuredSystem> {
    let mut load = KafkaLoad { options, system, channels: Vec::new(), results: Vec::new() };
    for address in system.ingresses().into_iter().cycle().take(CONNECTIONS) {
        load.channels.push(connect(address).await?);
    }
    progress.step("warm-up");
    load.hold(WARM_RATE, options.warm_up_s * 1_000, "warm", Over::Calls).await?;
    let (mut rates, mut tries, mut streams) = (Vec::new(), Vec::new(), Vec::new());
    for (number, rate) in options.rates.iter().chain(&options.ladder).enumerate() {
        progress.step(&format!("{rate} payments per second"));
        let figures = load.hold(*rate, options.hold_ms, &format!("r{number}"), Over::Calls).await?;
        let is_kept_up = figures.step.is_kept_up();
        rates.push(figures);
        if number >= options.rates.len() && !is_kept_up {
            break;
        }
    }
    let steps: Vec<Step> = rates.iter().map(|measured: &RateFigures| measured.step).collect();
    while let Confirmation::Try(rate) = confirm(&steps, &tries, options.tries, P99_MS_MAX) {
        progress.step(&format!("{rate} payments per second again"));
        let name = format!("t{}", tries.len());
        tries.push(load.hold(rate, options.hold_ms, &name, Over::Calls).await?.step);
    }
    for (number, rate) in options.stream_rates.iter().enumerate() {
        progress.step(&format!("{rate} payments per second over streams"));
        streams.push(load.hold(*rate, options.hold_ms, &format!("s{number}"), Over::Streams).await?);
    }
    Ok(MeasuredSystem { rates, tries, streams, results: load.results })
}

/// The system under load, with the results of all calls so far.
struct KafkaLoad<'a> {
    options: &'a KafkaBenchOptions,
    system: &'a System,
    channels: Vec<Channel>,
    results: Vec<CallResult>,
}

impl KafkaLoad<'_> {
    /// Measures one rate; `name` begins the MerchantTradeNos.
    async fn hold(&mut self, rate: u32, ms: u32, name: &str, over: Over) -> anyhow::Result<RateFigures> {
        let requests = payments(self.options.seed, name, payments_of(rate, ms));
        let count = requests.len();
        let costs = || Costs::of(&self.system.ids(), self.options.broker_pid);
        let before = (costs(), self.system.records().await?);
        let load = Load { rate: f64::from(rate), seed: self.options.seed, attempts: 1, over };
        let measured = open_loop(&self.channels, requests, load).await;
        let mut costs = costs().per_payment(&before.0, count);
        costs["records"] = json!(ratio((self.system.records().await? - before.1) as f64, count as f64));
        let step = step(rate, &measured);
        self.results.extend(measured.results);
        Ok(RateFigures { step, costs })
    }
}

/// Audits the answers against the ledger and inquiries.
pub(super) async fn audit(system: &System, results: &[CallResult]) -> anyhow::Result<(bool, Value)> {
    let pos = system.channel()?;
    let orders = audit_answers::orders(&pos, results, AUDIT_SAMPLE, Duration::from_secs(RESOLVE_S)).await;
    let entries = ledger(connect(&system.config.wallet).await?).await?;
    let found = audit_answers::audit(results, &orders, &entries);
    let report = json!({
        "charged_twice": found.charged_twice.len(), "lost": found.lost.len(), "contradicted": found.contradicted.len(),
        "ledger_entries": entries.len(), "asked_about": orders.len(),
    });
    Ok((found.is_clean(), report))
}
