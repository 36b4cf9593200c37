//! `twqr-lab bench quick`: simulator, services and generator as processes on one machine. It
//! measures the floors, the sample day (memory), 1,000 payments per second, and two ladders of
//! rates, one of calls and one over streams, each up to the first that the system does not keep up
//! with. Then it audits all payments.

mod floors;

use std::{collections::BTreeMap, path::Path, process::ExitCode, time::Duration};

use anyhow::Context as _;
use serde::Serialize;
use serde_json::{Value, json};
use tonic::transport::Channel;
use twqr_client::{ProgressBar, parse};
use twqr_config::Config;
use twqr_loadgen::{CallResult, Load, Measurement, Over, audit_answers, ledger, open_loop, payments, send_each};

use super::{
    confirmed::{Confirmation, confirm, held},
    figures::{P99_MS_MAX, Percentiles, Step, highest_rate_kept_up, payments_of, ratio},
};
use crate::{
    launch::{Launch, Listen, Programs, Shape, System, connect},
    quantile::quantile_ms,
    simulator::Kinds,
    usage::{Usage, folder_bytes},
};

use floors::{Floors, floors};

/// The rate whose latency is reported, in payments per second, and its duration in ms.
const STEADY_RATE: u32 = 1_000;
const STEADY_MS: u32 = 10_000;
/// The default rates of the ladders of calls and over streams, in payments per second, and the
/// duration of each in ms.
pub(super) const LADDER_RATES: [u32; 8] = [2_000, 4_000, 6_000, 8_000, 10_000, 12_000, 14_000, 16_000];
pub(super) const STREAM_RATES: [u32; 6] = [4_000, 8_000, 12_000, 16_000, 20_000, 24_000];
pub(super) const LADDER_MS: u32 = 3_000;
/// The number of payments that warm up pools, caches and connections before a measurement.
const WARM_UP_PAYMENTS: usize = 2_000;
/// The number of the generator's connections.
const CONNECTIONS: usize = 8;
/// The sample day, and the number of its requests in flight at once.
const DAY: &str = "load-tests/samples/day.jsonl";
const DAY_IN_FLIGHT: usize = 200;
/// The number of successful orders that the audit queries, besides every other order.
const AUDIT_SAMPLE: usize = 1_000;
/// The time that orders in progress have to become final, in s.
const RESOLVE_S: u64 = 30;
/// The limit for the services' resident memory after the sample day, in bytes.
const RESIDENT_BYTES_MAX: u64 = 300 << 20;

/// The two ladders of rates.
pub(crate) struct Ladders {
    /// Payments per second as single calls, ascending.
    pub(crate) rates: Vec<u32>,
    /// Payments per second over streams, ascending.
    pub(crate) stream_rates: Vec<u32>,
    /// The duration of each rate, in ms.
    pub(crate) hold_ms: u32,
    /// How many further tries must sustain the highest rate.
    pub(crate) tries: usize,
}

/// Measures and prints one JSON line. The exit code is non-zero if the audit finds a fault.
pub(crate) async fn run(
    dir: &Path,
    seed: u64,
    ladders: &Ladders,
    tls: bool,
    config: &Config,
) -> anyhow::Result<ExitCode> {
    let begun = std::time::Instant::now();
    let mut progress = ProgressBar::start("phases", 8);
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let Floors { echo, echo_over_streams, journal } = &floors(seed, &dir.join("floor"), &mut progress).await?;
    progress.step("sample day");
    let folder = dir.join("system");
    let mut launched = Launch {
        programs: Programs::beside_this_one()?,
        dir: &folder,
        script: None,
        config: config.clone(),
        listen: Listen::OnFreePorts,
        shape: Shape::AllInOne,
        kinds: Kinds::default(),
        tls,
        log_filter: None,
    }
    .start()
    .await?;
    let mut load = UnderLoad::connect(&launched, seed).await?;
    let resident = load.sample_day().await?;
    progress.step("1,000 payments per second");
    let steady = load.steady().await;
    progress.step("highest rate");
    let unary = load.climb(ladders, Over::Calls).await;
    progress.step("highest rate over streams");
    let streams = load.climb(ladders, Over::Streams).await;
    let resident_at_end = load.services().resident_bytes;
    progress.step("audit");
    let found = load.audit().await?;
    launched.end().await;
    progress.finish(&format!("{:.0} s", begun.elapsed().as_secs_f64()));
    let (rate, disk_per_payment) = (unary.rate, steady.disk_bytes);
    let report = json!({
        "bench": "quick",
        "machine": machine(),
        "load": "open loop, Poisson, latency from the intended start, nothing trimmed; simulator and generator on the same machine",
        "tls": tls,
        "durability": "one fdatasync for each group commit; an effect leaves only after its cause is on disk",
        "steady": {
            "rate": STEADY_RATE, "seconds": STEADY_MS / 1_000, "latency": steady.latency, "start_lag_p99_ms": steady.start_lag_ms,
            "errors": steady.errors,
            "cpu_us_per_payment": steady.cpu_us,
            "disk_bytes_per_payment": disk_per_payment, "written_bytes_per_payment": steady.written_bytes,
        },
        "highest_rate": unary,
        "highest_rate_over_streams": streams,
        "resident_mib": { "after_sample_day": resident >> 20, "at_end": resident_at_end >> 20, "limit": RESIDENT_BYTES_MAX >> 20 },
        "floor": { "echo": echo, "echo_over_streams": echo_over_streams, "journal": journal },
        "ratio": {
            "latency_to_echo": steady.latency.over(echo.latency),
            "latency_to_journal": steady.latency.over(journal.latency),
            "rate_to_journal": ratio(f64::from(rate), f64::from(journal.rate)),
            "stream_rate_to_journal": ratio(f64::from(streams.rate), f64::from(journal.rate)),
            "rate_to_echo": ratio(f64::from(rate), f64::from(echo.rate)),
            "stream_rate_to_echo": ratio(f64::from(streams.rate), f64::from(echo_over_streams.rate)),
            "cpu_to_journal": ratio(steady.cpu_us.services, journal.cpu_us_per_payment),
            "cpu_to_echo": ratio(steady.cpu_us.services, echo.cpu_us_per_payment),
            "disk_to_journal": ratio(disk_per_payment, journal.disk_bytes_per_payment),
        },
        "audit": found.report,
        "seed": seed,
        "took_s": begun.elapsed().as_secs(),
    });
    twqr_files::print_line(report)?;
    Ok(if found.is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The number of cores and the processor's name, as far as the system shows them.
pub(super) fn machine() -> Value {
    let about = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = about.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    json!({ "cores": cores, "processor": name.trim_start_matches([' ', '\t', ':']) })
}

pub(super) async fn channels(address: std::net::SocketAddr) -> anyhow::Result<Vec<Channel>> {
    let mut channels = Vec::new();
    for _ in 0..CONNECTIONS {
        channels.push(connect(address).await?);
    }
    Ok(channels)
}

/// A load that attempts each request once, so that every error is counted.
pub(super) fn once(rate: u32, seed: u64, over: Over) -> Load {
    Load { rate: f64::from(rate), seed, attempts: 1, over }
}

/// The figures of a rate.
pub(super) fn step(rate: u32, measured: &Measurement) -> Step {
    Step {
        rate,
        answered_rate: measured.results.len() as f64 / measured.took.as_secs_f64(),
        errors: errors_of(&measured.results),
        latency: Percentiles::of(&measured.latencies),
    }
}

/// The number of calls without an answer.
pub(super) fn errors_of(results: &[CallResult]) -> usize {
    results.iter().filter(|result| result.answer.is_err()).count()
}

/// The system under load, with the results of all its calls.
struct UnderLoad<'a> {
    system: &'a System,
    channels: Vec<Channel>,
    results: Vec<CallResult>,
    seed: u64,
}

/// The figures of a ladder.
#[derive(Serialize)]
struct Climb {
    /// The limit for the p99 of a sustained rate.
    p99_ms_max: f64,
    /// The highest sustained rate, in payments per second.
    rate: u32,
    /// The highest rate with which the system kept up, whatever the latency.
    kept_up: u32,
    steps: Vec<Step>,
    /// The tries of the highest rate.
    tries: Vec<Step>,
    /// The cost of each step and try, in that order.
    costs: Vec<RateCost>,
}

/// The CPU time of each process in µs: in all, or per payment.
#[derive(Clone, Copy, Serialize)]
struct CpuUs {
    services: f64,
    simulator: f64,
    generator: f64,
}

impl CpuUs {
    /// The time for each of `payments` payments since `earlier`.
    fn since(self, earlier: Self, payments: usize) -> Self {
        let each = |now: f64, then: f64| (now - then) / payments as f64;
        Self {
            services: each(self.services, earlier.services),
            simulator: each(self.simulator, earlier.simulator),
            generator: each(self.generator, earlier.generator),
        }
    }
}

/// The cost of a rate.
#[derive(Serialize)]
struct RateCost {
    rate: u32,
    cpu_us_per_payment: CpuUs,
}

/// The figures at the steady rate; costs are per payment.
struct Steady {
    latency: Percentiles,
    start_lag_ms: f64,
    errors: usize,
    cpu_us: CpuUs,
    disk_bytes: f64,
    written_bytes: f64,
}

/// The result of the audit.
struct AuditOutcome {
    is_clean: bool,
    report: Value,
}

impl<'a> UnderLoad<'a> {
    async fn connect(system: &'a System, seed: u64) -> anyhow::Result<Self> {
        let channels = channels(system.config.grpc).await?;
        Ok(Self { system, channels, results: Vec::new(), seed })
    }

    fn services(&self) -> Usage {
        self.system.ids().first().copied().map(Usage::of).unwrap_or_default()
    }

    fn simulator(&self) -> Usage {
        self.system.simulator_id().map(Usage::of).unwrap_or_default()
    }

    fn usage(&self) -> CpuUs {
        let of = |usage: Usage| usage.cpu_us as f64;
        CpuUs {
            services: of(self.services()),
            simulator: of(self.simulator()),
            generator: of(Usage::of(std::process::id())),
        }
    }

    /// Sends the sample day, and returns the services' resident memory after it, in bytes.
    async fn sample_day(&mut self) -> anyhow::Result<u64> {
        let text = std::fs::read(DAY).with_context(|| format!("{DAY}; run this in the project's folder"))?;
        let requests = text.split(|byte| *byte == b'\n').filter_map(|line| parse(line).ok()).collect();
        let results = send_each(&self.channels[0], requests, DAY_IN_FLIGHT, || ()).await;
        self.results.extend(results);
        let warm = payments(self.seed, "warm", WARM_UP_PAYMENTS);
        let resident = self.services().resident_bytes;
        self.results.extend(send_each(&self.channels[0], warm, DAY_IN_FLIGHT, || ()).await);
        Ok(resident)
    }

    async fn steady(&mut self) -> Steady {
        let requests = payments(self.seed, "steady", payments_of(STEADY_RATE, STEADY_MS));
        let requests_count = requests.len();
        let count = requests_count as f64;
        let data = &self.system.config.data_dir;
        let (before, written_before) = (self.usage(), self.services().written_bytes);
        let disk_before = folder_bytes(data);
        let measured = open_loop(&self.channels, requests, once(STEADY_RATE, self.seed, Over::Calls)).await;
        let (cpu_us, written) =
            (self.usage().since(before, requests_count), self.services().written_bytes - written_before);
        let disk = folder_bytes(data).saturating_sub(disk_before);
        let steady = Steady {
            latency: Percentiles::of(&measured.latencies),
            start_lag_ms: quantile_ms(&measured.start_lag, 0.99),
            errors: errors_of(&measured.results),
            cpu_us,
            disk_bytes: disk as f64 / count,
            written_bytes: written as f64 / count,
        };
        self.results.extend(measured.results);
        steady
    }

    /// Climbs a ladder while the system keeps up, then tries the highest sustained rate again.
    async fn climb(&mut self, ladders: &Ladders, over: Over) -> Climb {
        let (rates, name) = match over {
            Over::Calls => (&ladders.rates, "r"),
            Over::Streams => (&ladders.stream_rates, "s"),
        };
        let mut climb =
            Climb { p99_ms_max: P99_MS_MAX, rate: 0, kept_up: 0, steps: vec![], tries: vec![], costs: vec![] };
        for (number, rate) in rates.iter().copied().enumerate() {
            let (step, cost) = self.hold(rate, over, ladders.hold_ms, &format!("{name}{number}")).await;
            climb.steps.push(step);
            climb.costs.push(cost);
            if !step.is_kept_up() {
                break;
            }
        }
        climb.kept_up = highest_rate_kept_up(&climb.steps);
        while let Confirmation::Try(rate) = confirm(&climb.steps, &climb.tries, ladders.tries, P99_MS_MAX) {
            let number = climb.tries.len();
            let (step, cost) = self.hold(rate, over, ladders.hold_ms, &format!("{name}t{number}")).await;
            climb.tries.push(step);
            climb.costs.push(cost);
        }
        climb.rate = held(&climb.steps, &climb.tries, ladders.tries, P99_MS_MAX);
        climb
    }

    /// Measures one rate; `name` begins the MerchantTradeNos.
    async fn hold(&mut self, rate: u32, over: Over, hold_ms: u32, name: &str) -> (Step, RateCost) {
        let requests = payments(self.seed, name, payments_of(rate, hold_ms));
        let (count, before) = (requests.len(), self.usage());
        let measured = open_loop(&self.channels, requests, once(rate, self.seed, over)).await;
        let cpu_us_per_payment = self.usage().since(before, count);
        let step = step(rate, &measured);
        self.results.extend(measured.results);
        (step, RateCost { rate, cpu_us_per_payment })
    }

    /// Audits every answer against the ledger, and queries the orders of all answers that are not a
    /// success and of a sample of the successes.
    async fn audit(&mut self) -> anyhow::Result<AuditOutcome> {
        let patience = Duration::from_secs(RESOLVE_S);
        let orders = audit_answers::orders(&self.channels[0], &self.results, AUDIT_SAMPLE, patience).await;
        let entries = ledger(connect(&self.system.config.wallet).await?).await.context("the simulator's ledger")?;
        let found = audit_answers::audit(&self.results, &orders, &entries);
        let mut by_code: BTreeMap<String, usize> = BTreeMap::new();
        for result in &self.results {
            let code =
                result.answer.as_ref().map_or_else(|code| format!("{code:?}"), |answer| answer.status_code.clone());
            *by_code.entry(code).or_default() += 1;
        }
        let report = json!({
            "answers": self.results.len(), "answers_by_code": by_code, "ledger_entries": entries.len(),
            "asked_about": orders.len(), "charged_twice": found.charged_twice.len(), "lost": found.lost.len(),
            "contradicted": found.contradicted.len(),
        });
        Ok(AuditOutcome { is_clean: found.is_clean(), report })
    }
}
