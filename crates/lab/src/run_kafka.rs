//! `twqr-lab run-kafka`: the whole system in processes of its own on a cluster, the first payments
//! after ready, the sample day, a rolling restart of every service under load, the audit; then it
//! goes on serving.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde_json::{Value, json};
use tonic::transport::Channel;
use twqr_config::Config;
use twqr_loadgen::{CallResult, Load, TradeKey, audit_answers, ledger, open_loop, steady_payments};
use twqr_service::CancellationToken;
use twqr_types::StatusCode;
use twqr_wire::pos::PayRequest;

use crate::{
    full_api_run::{FullApiDay, take_full_api_day},
    launch::{Launch, Programs, Shape, System, connect},
    payments_run::{Day, Serving, say, take_day},
};

/// The arguments of `twqr-lab run-kafka`.
#[derive(clap::Args)]
pub struct Options {
    /// The requests, one JSON object a line in the POS document's field names
    #[arg(long, default_value = "load-tests/samples/day.jsonl")]
    file: PathBuf,
    /// The day that uses the full API
    #[arg(long, default_value = "load-tests/samples/day-full-api.jsonl")]
    whole_api_file: PathBuf,
    /// The simulator's fault script
    #[arg(long, default_value = "load-tests/samples/simulator.toml")]
    script: PathBuf,
    /// Where data, logs and report go; emptied first
    #[arg(long, default_value = "target/run-kafka")]
    dir: PathBuf,
    /// Exit after the audit; non-zero if it finds anything
    #[arg(long)]
    once: bool,
}

/// The payments right after ready: so many are compared with so many that follow, at this rate a
/// second.
const FIRST: usize = 1_000;
const NEXT: usize = 10_000;
const RATE: f64 = 500.0;
/// Payments a second while processes are restarted, and how long after each restart the next one
/// begins, in ms.
const ROLLING_RATE: u32 = 300;
const SETTLE_MS: u64 = 500;
/// How often a call is tried: an ingress that goes away says that nothing was accepted.
const ATTEMPTS: u32 = 50;
/// How long orders in progress may take to end, in s.
const RESOLVE_S: u64 = 60;
/// Orders that the audit asks about beyond those whose answer was no success.
const AUDIT_SAMPLE: usize = 1_000;

/// Takes the day and goes on serving until `stop` fires.
pub async fn run(options: &Options, config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    let (day, full_api_day) = (Day::read(&options.file)?, FullApiDay::read(&options.whole_api_file)?);
    say("starting nine processes and the simulator");
    let mut system = Launch {
        programs: Programs::beside_this_one()?,
        dir: &options.dir,
        script: Some(&options.script),
        config,
        shape: Shape::ProcessForEach,
        log_filter: None,
    }
    .start()
    .await?;
    let result = tokio::select! {
        result = exercise(day, full_api_day, options, &mut system) => result,
        () = stop.cancelled() => Err(anyhow::anyhow!("stopped before the day was over")),
    };
    if result.is_ok() && !options.once {
        let addresses: Vec<String> = system.ingresses().iter().map(ToString::to_string).collect();
        say(&format!("serving gRPC on {} until Ctrl-C", addresses.join(" and ")));
        stop.cancelled().await;
    }
    system.end().await;
    result
}

async fn exercise(day: Day, full_api_day: FullApiDay, options: &Options, system: &mut System) -> anyhow::Result<()> {
    let pos = system.channel()?;
    let (warmth, first) = first_payments(&pos).await;
    say(&format!("first payments after ready: {warmth}"));
    let (rolling, second) = rolling_restart(system, &pos).await?;
    say(&format!("rolling restart of every process under load: {rolling}"));
    let told: Vec<CallResult> = first.into_iter().chain(second).collect();
    audit(system, &pos, &told).await?;
    let serving = Serving { pos, wallet: system.config.wallet, services: system.ids() };
    let more = json!({ "first_payments": warmth, "rolling_restart": rolling });
    take_day(day, &options.dir, &serving, more).await?;
    say("the second day: payments, refunds, cancels, inquiries");
    take_full_api_day(full_api_day, &options.dir, &serving, &system.config).await
}

/// Ready means warm: the first payments against those that follow.
async fn first_payments(pos: &Channel) -> (Value, Vec<CallResult>) {
    let requests = steady_payments(11, "first", FIRST + NEXT);
    let order: BTreeMap<TradeKey, usize> = requests.iter().map(key).zip(0..).collect();
    let load = Load { rate: RATE, seed: 11, attempts: ATTEMPTS };
    let mut told = open_loop(std::slice::from_ref(pos), requests, load).await.results;
    told.sort_by_key(|told| order.get(&told.key).copied());
    let (first, next) = told.split_at(FIRST.min(told.len()));
    let (first, next) = (percentile_ms(first, 990), percentile_ms(next, 990));
    let ratio = if next > 0.0 { (first / next * 100.0).round() / 100.0 } else { 0.0 };
    (json!({ "rate": RATE, "p99_ms_of_first_1000": first, "p99_ms_of_next_10000": next, "ratio": ratio }), told)
}

fn key(request: &PayRequest) -> TradeKey {
    (request.merchant_id.clone(), request.merchant_trade_no.clone())
}

/// In ms, of so many in a thousand.
fn percentile_ms(told: &[CallResult], per_mille: usize) -> f64 {
    let mut latencies: Vec<u64> = told.iter().map(|told| told.latency_us).collect();
    latencies.sort_unstable();
    let at = (latencies.len() * per_mille).div_ceil(1_000);
    latencies.get(at.saturating_sub(1)).map_or(0.0, |us| *us as f64 / 1_000.0)
}

/// Each process in turn, while payments come in that nothing but the router could fail.
async fn rolling_restart(system: &mut System, pos: &Channel) -> anyhow::Result<(Value, Vec<CallResult>)> {
    let names = system.names();
    let (done, mut over) = tokio::sync::watch::channel(false);
    let load = tokio::spawn({
        let pos = pos.clone();
        async move {
            let mut told = Vec::new();
            for round in 0.. {
                let load = Load { rate: f64::from(ROLLING_RATE), seed: round, attempts: ATTEMPTS };
                let requests = steady_payments(round, &format!("roll{round}"), ROLLING_RATE as usize);
                told.extend(open_loop(std::slice::from_ref(&pos), requests, load).await.results);
                if *over.borrow_and_update() {
                    break;
                }
            }
            told
        }
    });
    let mut slowest = Duration::ZERO;
    for name in &names {
        tokio::time::sleep(Duration::from_millis(SETTLE_MS)).await;
        system.restart(name).await?;
        slowest = slowest.max(system.until_ready().await?);
    }
    done.send_replace(true);
    let told = load.await?;
    let mut not_paid: BTreeMap<String, usize> = BTreeMap::new();
    for told in &told {
        let code = told.answer.as_ref().map_or_else(|code| format!("{code:?}"), |answer| answer.status_code.clone());
        if code != StatusCode::SUCCESS {
            *not_paid.entry(code).or_default() += 1;
        }
    }
    let report = json!({
        "processes": names.len(), "rate": ROLLING_RATE, "payments": told.len(), "not_paid_by_code": not_paid,
        "p50_ms": percentile_ms(&told, 500), "p99_ms": percentile_ms(&told, 990), "max_ms": percentile_ms(&told, 1_000),
        "ready_again_within_ms": slowest.as_millis() as u64,
    });
    Ok((report, told))
}

async fn audit(system: &System, pos: &Channel, told: &[CallResult]) -> anyhow::Result<()> {
    let orders = audit_answers::orders(pos, told, AUDIT_SAMPLE, Duration::from_secs(RESOLVE_S)).await;
    let entries = ledger(connect(system.config.wallet).await?).await?;
    let found = audit_answers::audit(told, &orders, &entries);
    say(&format!(
        "audit of {} answers: {} findings",
        told.len(),
        found.charged_twice.len() + found.lost.len() + found.contradicted.len()
    ));
    let unanswered = told.iter().filter(|told| told.answer.is_err()).count();
    anyhow::ensure!(
        found.is_clean() && unanswered == 0,
        "the audit found: {found:?}; {unanswered} calls have no answer"
    );
    Ok(())
}
