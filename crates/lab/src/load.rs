//! `twqr-lab load`: sends payments to a running system at a steady average rate, and prints the
//! latency counted from each payment's intended start. It starts no process and audits no payment.

use std::{collections::BTreeMap, process::ExitCode};

use serde_json::json;
use twqr_loadgen::{Load, open_loop, steady_payments};

use crate::{bench::Percentiles, quantile::quantile_ms};

/// The arguments of `twqr-lab load`.
#[derive(clap::Args)]
pub struct LoadOptions {
    /// Where the public gRPC API is served; several endpoints share the load
    #[arg(long, value_name = "URI", value_delimiter = ',', default_value = "http://127.0.0.1:50051")]
    endpoints: Vec<String>,
    /// Payments per second on average, at random times (a Poisson process)
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// How long payments are sent, in s
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    seconds: u32,
    /// Connections to each endpoint
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    connections: u16,
    /// The seed of amounts, card tokens and start times; every run uses new MerchantTradeNos
    #[arg(long, default_value_t = 7)]
    seed: u64,
}

/// Sends the load and prints one JSON line; exit code 1 if a call had no answer.
pub async fn run(options: &LoadOptions) -> anyhow::Result<ExitCode> {
    let mut channels = Vec::new();
    for _ in 0..options.connections {
        for endpoint in &options.endpoints {
            channels.push(twqr_client::channel(endpoint).await?);
        }
    }
    let count = options.rate as usize * options.seconds as usize;
    // Two runs with one seed must not repeat each other's payments.
    let run = format!("load-{:08x}", rand::random::<u32>());
    let load = Load { rate: f64::from(options.rate), seed: options.seed, attempts: 1 };
    let measured = open_loop(&channels, steady_payments(options.seed, &run, count), load).await;
    let mut by_result: BTreeMap<String, usize> = BTreeMap::new();
    for result in &measured.results {
        let code = result.answer.as_ref().map_or_else(|code| format!("{code:?}"), |answer| answer.status_code.clone());
        *by_result.entry(code).or_default() += 1;
    }
    let unanswered = measured.results.iter().filter(|result| result.answer.is_err()).count();
    let report = json!({
        "load": "open loop, Poisson, latency from the intended start, nothing trimmed",
        "rate": options.rate, "seconds": options.seconds, "payments": count, "run": run, "seed": options.seed,
        "latency": Percentiles::of(&measured.latencies),
        "start_lag_p99_ms": quantile_ms(&measured.start_lag, 0.99),
        "results": by_result, "without_an_answer": unanswered,
    });
    twqr_files::print_line(report)?;
    Ok(if unanswered == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
