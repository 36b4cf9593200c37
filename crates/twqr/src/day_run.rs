//! `twqr run`: starts the simulator and every service as processes of their own, takes a day of payments through the public API, waits
//! until nothing is in progress, audits, and goes on serving.

use std::{collections::BTreeMap, path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context as _, bail};
use indicatif::ProgressBar;
use tokio::process::{Child, Command};
use tonic::transport::{Channel, Endpoint};
use twqr_loadgen::{ISSUERS, Told, audit, day, ledger, resolve, send};
use twqr_service::CancellationToken;
use twqr_wire::pos::PayRequest;

use crate::config::Config;

/// What `twqr run` may be told.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The simulator's fault script.
    #[arg(long, default_value = "load-tests/samples/simulator.toml")]
    script: PathBuf,
    /// Where data and report go; emptied first.
    #[arg(long, default_value = "target/run")]
    dir: PathBuf,
    /// The seed of the day.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// How many requests the day has.
    #[arg(long, default_value_t = 1_200)]
    requests: usize,
    /// Exit after the audit; non-zero if it finds anything.
    #[arg(long)]
    once: bool,
}

/// How many requests are in flight at once.
const IN_FLIGHT: usize = 200;
/// How long orders in progress may take to end, in s.
const RESOLVE_S: u64 = 90;

pub(crate) async fn run(options: &Options, config: &Config, stop: CancellationToken) -> anyhow::Result<()> {
    let mut children = Children::start(options, config).await?;
    let result = tokio::select! {
        result = take_day(options, config) => result,
        () = stop.cancelled() => Err(anyhow::anyhow!("stopped before the day was over")),
    };
    if result.is_ok() && !options.once {
        say(&format!("serving gRPC on {} until Ctrl-C", config.grpc));
        stop.cancelled().await;
    }
    children.end().await;
    result
}

#[allow(clippy::print_stdout, reason = "the command's output")]
fn say(text: &str) {
    println!("{text}");
}

async fn take_day(options: &Options, config: &Config) -> anyhow::Result<()> {
    let requests = day(options.seed, "day", options.requests);
    let bar = ProgressBar::new(requests.len() as u64);
    let pos = connect(&format!("http://{}", config.grpc)).await?;
    let progress = bar.clone();
    let told = send(&pos, requests.clone(), IN_FLIGHT, move || progress.inc(1)).await;
    bar.finish();
    say("waiting until nothing is in progress");
    let orders = resolve(&pos, &told, Duration::from_secs(RESOLVE_S)).await;
    let entries =
        ledger(connect(&format!("http://{}", config.wallet)).await?).await.context("the simulator's ledger")?;
    let found = audit(&told, &orders, &entries);
    let table = table(&requests, &told);
    say(&format!(
        "{:<8}{:>6}{:>6}{:>10}{:>13}{:>10}{:>10}",
        "issuer", "sent", "paid", "not paid", "refused", "p50 ms", "p99 ms"
    ));
    for (issuer, row) in &table {
        let (p50, p99) = (percentile(&row.latencies, 50), percentile(&row.latencies, 99));
        say(&format!(
            "{issuer:<8}{:>6}{:>6}{:>10}{:>13}{p50:>10.1}{p99:>10.1}",
            row.sent, row.paid, row.not_paid, row.refused
        ));
    }
    let (twice, lost, contradicted) = (found.charged_twice.len(), found.lost.len(), found.contradicted.len());
    say(&format!("audit of {} orders: charged twice {twice}, lost {lost}, contradicted {contradicted}", orders.len()));
    let rows: BTreeMap<_, _> = table
        .iter()
        .map(|(issuer, row)| {
            let row = serde_json::json!({
                "sent": row.sent, "paid": row.paid, "not_paid": row.not_paid, "refused": row.refused,
                "p50_ms": percentile(&row.latencies, 50), "p99_ms": percentile(&row.latencies, 99),
            });
            (issuer, row)
        })
        .collect();
    let report = serde_json::json!({ "seed": options.seed, "issuers": rows, "orders": orders.len(), "audit": found });
    std::fs::write(options.dir.join("report.json"), serde_json::to_vec_pretty(&report)?)?;
    if !found.is_clean() {
        bail!("the audit found: {found:?}");
    }
    Ok(())
}

#[derive(Default)]
struct Row {
    sent: usize,
    paid: usize,
    not_paid: usize,
    refused: usize,
    latencies: Vec<u64>,
}

/// By issuer, what callers were told.
fn table(requests: &[PayRequest], told: &[Told]) -> BTreeMap<&'static str, Row> {
    let issuer_of: BTreeMap<(&str, &str), &'static str> = requests
        .iter()
        .filter_map(|request| {
            let issuer = ISSUERS.iter().find(|issuer| request.card_token.starts_with(issuer.prefix))?;
            let name = if issuer.institution.is_empty() { "wallet" } else { issuer.institution };
            Some(((request.merchant_id.as_str(), request.merchant_trade_no.as_str()), name))
        })
        .collect();
    let mut table: BTreeMap<&'static str, Row> = BTreeMap::new();
    for Told { key, latency_us, answer } in told {
        let issuer = issuer_of.get(&(key.0.as_str(), key.1.as_str())).copied().unwrap_or("none");
        let row = table.entry(issuer).or_default();
        row.sent += 1;
        row.latencies.push(*latency_us);
        match answer {
            Ok(answer) if answer.status_code == "000" => row.paid += 1,
            Ok(_) => row.not_paid += 1,
            Err(_) => row.refused += 1,
        }
    }
    for row in table.values_mut() {
        row.latencies.sort_unstable();
    }
    table
}

/// In ms, of sorted µs.
fn percentile(sorted: &[u64], percent: usize) -> f64 {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).map_or(0.0, |us| *us as f64 / 1_000.0)
}

/// How long a process may take until it serves, in attempts of 50 ms.
const CONNECT_ATTEMPTS_MAX: u32 = 600;

async fn connect(address: &str) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(address.to_owned())?.tcp_nodelay(true);
    for _ in 0..CONNECT_ATTEMPTS_MAX {
        if let Ok(channel) = endpoint.connect().await {
            return Ok(channel);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("nobody serves at {address}")
}

/// The processes that were started; ended when this is dropped, whatever happens.
struct Children(Vec<Child>);

impl Children {
    async fn start(options: &Options, config: &Config) -> anyhow::Result<Self> {
        for address in [config.grpc, config.admin, config.wallet, config.fisc] {
            let free = tokio::net::TcpListener::bind(address).await;
            free.map_err(|error| {
                anyhow::anyhow!("{address} is not free ({error}); end what listens there, or configure another")
            })?;
        }
        if options.dir.exists() {
            std::fs::remove_dir_all(&options.dir).with_context(|| format!("cannot empty {}", options.dir.display()))?;
        }
        std::fs::create_dir_all(&options.dir)?;
        let own = Config {
            data_dir: options.dir.join("data"),
            simulator_data_dir: options.dir.join("simulator"),
            ..config.clone()
        };
        let file = options.dir.join("twqr.toml");
        std::fs::write(&file, toml::to_string(&own)?)?;
        let binary = std::env::current_exe()?;
        let child = |arguments: &[&std::ffi::OsStr]| {
            let mut command = Command::new(&binary);
            command.arg("--config").arg(&file).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
            command.spawn().context("cannot start a process of the own binary")
        };
        let simulator = child(&["simulator".as_ref(), "--script".as_ref(), options.script.as_os_str()])?;
        connect(&format!("http://{}", config.wallet)).await?;
        let services = child(&["up".as_ref()])?;
        connect(&format!("http://{}", config.grpc)).await?;
        Ok(Self(vec![services, simulator]))
    }

    /// SIGTERM to each, and a bounded wait.
    async fn end(&mut self) {
        for child in &mut self.0 {
            if let Some(id) = child.id() {
                drop(Command::new("kill").arg(id.to_string()).status().await);
            }
            if tokio::time::timeout(Duration::from_secs(15), child.wait()).await.is_err() {
                drop(child.kill().await);
            }
        }
    }
}
