//! `twqr-lab run-kafka`: runs every service as processes of its own on a Kafka cluster. It measures
//! the first payments after the start, restarts every process in turn under load, plays both sample
//! days, and audits all payments. Then the system continues to serve.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde_json::{Value, json};
use tonic::transport::Channel;
use twqr_config::Config;
use twqr_loadgen::{CallResult, Load, Over, TradeKey, audit_answers, latencies, ledger, open_loop, steady_payments};
use twqr_service::CancellationToken;
use twqr_types::StatusCode;
use twqr_wire::pos::PayRequest;

use crate::{
    full_api_run::{FullApiDay, take_full_api_day},
    launch::{Launch, Listen, Programs, Shape, System, connect},
    payments_run::{Day, Serving, say, take_day},
    quantile::quantile_ms,
    simulator::Kinds,
};

/// The arguments of `twqr-lab run-kafka`.
#[derive(clap::Args)]
pub struct RunKafkaOptions {
    /// The day of payments: one JSON object a line, with the POS document's field names
    #[arg(long, default_value = "load-tests/samples/day.jsonl")]
    file: PathBuf,
    /// The day that uses the full API
    #[arg(long, default_value = "load-tests/samples/day-full-api.jsonl")]
    whole_api_file: PathBuf,
    /// The simulator's fault script, or - for standard input
    #[arg(long, default_value = "load-tests/samples/simulator.toml")]
    script: PathBuf,
    /// The folder for data, logs and reports; it is emptied first
    #[arg(long, default_value = "target/run-kafka")]
    dir: PathBuf,
    /// Exit after the audit, with a non-zero code if it found a fault
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    kinds: Kinds,
}

/// The number of payments right after the start, the number of those that they are compared with,
/// and the rate of both in payments per second.
const FIRST: usize = 1_000;
const NEXT: usize = 10_000;
const RATE: f64 = 500.0;
/// Payments per second during the rolling restart, and the pause between two restarts, in ms.
const ROLLING_RATE: u32 = 300;
const SETTLE_MS: u64 = 500;
/// The largest number of attempts for a call. An ingress that shuts down refuses calls without
/// accepting them, so they are sent again.
const ATTEMPTS: u32 = 50;
/// The time that orders in progress have to become final, in s.
const RESOLVE_S: u64 = 60;
/// The number of successful orders that the audit queries, besides every other order.
const AUDIT_SAMPLE: usize = 1_000;

/// Plays both days and then serves until `stop` fires.
pub async fn run(options: &RunKafkaOptions, config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    let (day, full_api_day) = (Day::read(&options.file)?, FullApiDay::read(&options.whole_api_file)?);
    say("starting nine processes and the simulator");
    let mut system = Launch {
        programs: Programs::beside_this_one()?,
        dir: &options.dir,
        script: Some(&options.script),
        config,
        listen: Listen::AsConfigured,
        shape: Shape::ProcessForEach,
        kinds: options.kinds.clone(),
        tls: false,
        log_filter: None,
    }
    .start()
    .await?;
    let result = tokio::select! {
        result = exercise(day, full_api_day, options, &mut system) => result,
        () = stop.cancelled() => Err(anyhow::anyhow!("stopped before both sample days were played")),
    };
    if result.is_ok() && !options.once {
        let addresses: Vec<String> = system.ingresses().iter().map(ToString::to_string).collect();
        say(&format!("serving gRPC on {} until Ctrl-C", addresses.join(" and ")));
        stop.cancelled().await;
    }
    system.end().await;
    result
}

async fn exercise(
    day: Day,
    full_api_day: FullApiDay,
    options: &RunKafkaOptions,
    system: &mut System,
) -> anyhow::Result<()> {
    let pos = system.channel()?;
    let (warmth, first) = first_payments(&pos).await;
    say(&format!("first payments after ready: {warmth}"));
    let (rolling, second) = rolling_restart(system, &pos).await?;
    say(&format!("rolling restart of every process under load: {rolling}"));
    let results: Vec<CallResult> = first.into_iter().chain(second).collect();
    audit(system, &pos, &results).await?;
    let serving = Serving { pos, wallet: system.config.wallet.clone(), services: system.ids() };
    let more = json!({ "first_payments": warmth, "rolling_restart": rolling });
    take_day(day, &options.dir, &serving, more).await?;
    say("the day that uses the full API: payments, refunds, cancels, inquiries");
    take_full_api_day(full_api_day, &options.dir, &serving, &system.config).await
}

/// Compares the latency of the first payments with that of the next ones, since a service should be
/// as fast when it becomes ready as it is later.
async fn first_payments(pos: &Channel) -> (Value, Vec<CallResult>) {
    let requests = steady_payments(11, "first", FIRST + NEXT);
    let order: BTreeMap<TradeKey, usize> = requests.iter().map(key).zip(0..).collect();
    let load = Load { rate: RATE, seed: 11, attempts: ATTEMPTS, over: Over::Calls };
    let mut results = open_loop(std::slice::from_ref(pos), requests, load).await.results;
    results.sort_by_key(|result| order.get(&result.key).copied());
    let (first, next) = results.split_at(FIRST.min(results.len()));
    let (first, next) = (quantile_ms(&latencies(first), 0.99), quantile_ms(&latencies(next), 0.99));
    let ratio = if next > 0.0 { (first / next * 100.0).round() / 100.0 } else { 0.0 };
    (json!({ "rate": RATE, "p99_ms_of_first_1000": first, "p99_ms_of_next_10000": next, "ratio": ratio }), results)
}

fn key(request: &PayRequest) -> TradeKey {
    (request.merchant_id.clone(), request.merchant_trade_no.clone())
}

/// Restarts each process in turn under load. A payment that fails shows a fault of the product.
async fn rolling_restart(system: &mut System, pos: &Channel) -> anyhow::Result<(Value, Vec<CallResult>)> {
    let names = system.names();
    let (done, mut is_done) = tokio::sync::watch::channel(false);
    let load = tokio::spawn({
        let pos = pos.clone();
        async move {
            let mut results = Vec::new();
            for round in 0.. {
                let load = Load { rate: f64::from(ROLLING_RATE), seed: round, attempts: ATTEMPTS, over: Over::Calls };
                let requests = steady_payments(round, &format!("roll{round}"), ROLLING_RATE as usize);
                results.extend(open_loop(std::slice::from_ref(&pos), requests, load).await.results);
                if *is_done.borrow_and_update() {
                    break;
                }
            }
            results
        }
    });
    let mut slowest = Duration::ZERO;
    for name in &names {
        tokio::time::sleep(Duration::from_millis(SETTLE_MS)).await;
        system.restart(name).await?;
        slowest = slowest.max(system.until_ready().await?);
    }
    done.send_replace(true);
    let results = load.await?;
    let mut not_paid: BTreeMap<String, usize> = BTreeMap::new();
    for result in &results {
        let code = result.answer.as_ref().map_or_else(|code| format!("{code:?}"), |answer| answer.status_code.clone());
        if code != StatusCode::SUCCESS {
            *not_paid.entry(code).or_default() += 1;
        }
    }
    let latencies = latencies(&results);
    let report = json!({
        "processes": names.len(), "rate": ROLLING_RATE, "payments": results.len(), "not_paid_by_code": not_paid,
        "p50_ms": quantile_ms(&latencies, 0.5), "p99_ms": quantile_ms(&latencies, 0.99),
        "max_ms": quantile_ms(&latencies, 1.0),
        "ready_again_within_ms": slowest.as_millis() as u64,
    });
    Ok((report, results))
}

async fn audit(system: &System, pos: &Channel, results: &[CallResult]) -> anyhow::Result<()> {
    let orders = audit_answers::orders(pos, results, AUDIT_SAMPLE, Duration::from_secs(RESOLVE_S)).await;
    let entries = ledger(connect(&system.config.wallet).await?).await?;
    let found = audit_answers::audit(results, &orders, &entries);
    say(&format!(
        "audit of {} answers: {} findings",
        results.len(),
        found.charged_twice.len() + found.lost.len() + found.contradicted.len()
    ));
    let unanswered = results.iter().filter(|result| result.answer.is_err()).count();
    anyhow::ensure!(
        found.is_clean() && unanswered == 0,
        "the audit found: {found:?}; {unanswered} calls have no answer"
    );
    Ok(())
}
