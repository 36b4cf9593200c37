//! `twqr-lab bench orders`: measures the cost of a payment in systems that hold few or many orders,
//! and how soon such a system is ready after a restart. One system for each number of orders runs
//! during the whole benchmark, and they take turns under the same load, so that a drift of the
//! machine affects all of them.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::ensure;
use serde::Serialize;
use serde_json::json;
use tonic::transport::Channel;
use twqr_client::ProgressBar;
use twqr_config::Config;
use twqr_loadgen::{CallResult, CallerKey, Over, open_loop, payments};

use super::{
    figures::{payments_of, ratio},
    kafka::audit,
    quick::{channels, errors_of, machine, once},
};
use crate::{
    launch::{Launch, Listen, Programs, Shape, System, held_orders},
    quantile::quantile_ms,
    simulator::Kinds,
    usage::{Usage, until_calm},
};

/// The costs of a payment may differ by this factor.
const FLAT_RATIO_MAX: f64 = 1.1;
/// How long a system may work off the orders that it holds, after it is ready.
const CALM_WITHIN: Duration = Duration::from_mins(30);
/// The warm-up of each system: payments per second at most, and ms.
const WARM_RATE_MAX: u32 = 500;
const WARM_MS: u32 = 4_000;

/// The arguments of `twqr-lab bench orders`.
#[derive(clap::Args)]
pub struct OrdersOptions {
    /// The numbers of orders held, the smallest first; each is a system of its own
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 100_000, 1_000_000, 10_000_000])]
    orders: Vec<u64>,
    /// Payments per second
    #[arg(long, default_value_t = 2_000)]
    rate: u32,
    /// The duration of each turn of a system, in ms
    #[arg(long, default_value_t = 8_000)]
    hold_ms: u32,
    /// How many turns each system has; the figures are medians
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// The folder for data; it is emptied first
    #[arg(long, default_value = "target/bench-orders")]
    dir: PathBuf,
    /// The seed of the payments and their start times
    #[arg(long, default_value_t = 7)]
    seed: u64,
}

/// A system that holds orders.
struct Holding {
    orders: u64,
    system: System,
    channels: Vec<Channel>,
    results: Vec<CallResult>,
    turns: Vec<Turn>,
}

/// The figures of one turn.
#[derive(Clone, Copy, Serialize)]
struct Turn {
    cpu_us_per_payment: f64,
    written_bytes_per_payment: f64,
    p50_ms: f64,
    p99_ms: f64,
}

/// Measures and prints one JSON line. The exit code is non-zero if the audit finds a fault.
pub(crate) async fn run(options: &OrdersOptions, config: &Config) -> anyhow::Result<ExitCode> {
    let begun = std::time::Instant::now();
    ensure!(!options.orders.is_empty() && options.rounds > 0, "--orders and --rounds must name at least one");
    let mut progress = ProgressBar::start("phases", options.orders.len() as u64 * 3 + options.rounds as u64);
    let mut all = Vec::new();
    for orders in &options.orders {
        progress.step(&format!("a system with {orders} orders"));
        let dir = options.dir.join(format!("orders-{orders}"));
        all.push(Holding::start(*orders, &dir, config).await?);
    }
    // One that works off its orders would slow down the others.
    for holding in &all {
        progress.step(&format!("the system with {} orders works them off", holding.orders));
        until_calm(&holding.system.ids(), CALM_WITHIN).await?;
    }
    for holding in &mut all {
        let client = CallerKey::default().client(holding.system.channel()?);
        held_orders::check(client, holding.orders).await?;
        holding.turn(options, "warm", options.rate.min(WARM_RATE_MAX), WARM_MS).await?;
    }
    for round in 1..=options.rounds {
        progress.step(&format!("round {round} of {}", options.rounds));
        // Every other round goes back, so that a drift cancels out.
        let forth: Vec<usize> = (0..all.len()).collect();
        let order = if round % 2 == 0 { forth.into_iter().rev().collect() } else { forth };
        for place in order {
            let turn = all[place].turn(options, &format!("r{round}"), options.rate, options.hold_ms).await?;
            all[place].turns.push(turn);
        }
    }
    let mut held = Vec::new();
    let mut is_clean = true;
    for mut holding in all {
        progress.step(&format!("audit and restart with {} orders", holding.orders));
        let (clean, figures) = holding.end().await?;
        is_clean &= clean;
        held.push(figures);
    }
    progress.finish(&format!("{:.0} s", begun.elapsed().as_secs_f64()));
    let costs: Vec<f64> = held.iter().filter_map(|figures| figures["cpu_us_per_payment"].as_f64()).collect();
    let most_to_fewest = spread(&costs);
    twqr_files::print_line(json!({
        "bench": "orders", "machine": machine(),
        "load": "open loop, Poisson, latency from the intended start, nothing trimmed; the systems take turns",
        "rate": options.rate, "hold_ms": options.hold_ms, "rounds": options.rounds, "held": held,
        "cpu_ratio_of_dearest_to_cheapest": most_to_fewest,
        "is_flat_within_10_percent": most_to_fewest <= FLAT_RATIO_MAX,
        "seed": options.seed, "took_s": begun.elapsed().as_secs(),
    }))?;
    Ok(if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The highest cost as a multiple of the lowest.
fn spread(costs: &[f64]) -> f64 {
    let highest = costs.iter().copied().fold(0.0, f64::max);
    ratio(highest, costs.iter().copied().fold(f64::INFINITY, f64::min))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.get(values.len() / 2).copied().unwrap_or_default();
    (middle * 1_000.0).round() / 1_000.0
}

impl Holding {
    async fn start(orders: u64, dir: &Path, config: &Config) -> anyhow::Result<Self> {
        let launch = Launch {
            programs: Programs::beside_this_one()?,
            dir,
            script: None,
            config: config.clone(),
            listen: Listen::OnFreePorts,
            shape: Shape::AllInOne,
            kinds: Kinds::default(),
            tls: false,
            log_filter: None,
        };
        let system = launch.start_holding(orders).await?;
        let channels = channels(system.config.grpc).await?;
        Ok(Self { orders, system, channels, results: Vec::new(), turns: Vec::new() })
    }

    fn usage(&self) -> Usage {
        self.system.ids().first().copied().map(Usage::of).unwrap_or_default()
    }

    /// Puts the system under load once; `name` begins the MerchantTradeNos.
    async fn turn(&mut self, options: &OrdersOptions, name: &str, rate: u32, ms: u32) -> anyhow::Result<Turn> {
        let requests = payments(options.seed, name, payments_of(rate, ms));
        let (count, before) = (requests.len(), self.usage());
        let load = open_loop(&self.channels, requests, once(rate, options.seed, Over::Calls)).await;
        let used = self.usage().since(before);
        let errors = errors_of(&load.results);
        ensure!(errors == 0, "{errors} of {count} payments had no answer: choose a lower --rate");
        self.results.extend(load.results);
        Ok(Turn {
            cpu_us_per_payment: used.cpu_us as f64 / count as f64,
            written_bytes_per_payment: used.written_bytes as f64 / count as f64,
            p50_ms: quantile_ms(&load.latencies, 0.5),
            p99_ms: quantile_ms(&load.latencies, 0.99),
        })
    }

    /// Audits the payments, restarts the services, and stops everything. Returns whether the audit
    /// found nothing, and the figures.
    async fn end(&mut self) -> anyhow::Result<(bool, serde_json::Value)> {
        let (is_clean, audit) = audit(&self.system, &self.results).await?;
        let resident = self.usage().resident_bytes;
        for name in self.system.names() {
            self.system.restart(&name).await?;
        }
        let kept = self.system.until_ready().await?;
        self.system.end().await;
        let empty = self.system.first_ready_after;
        let median = |of: fn(&Turn) -> f64| median(self.turns.iter().map(of));
        let figures = json!({
            "orders": self.orders,
            "cpu_us_per_payment": median(|turn| turn.cpu_us_per_payment),
            "written_bytes_per_payment": median(|turn| turn.written_bytes_per_payment),
            "p50_ms": median(|turn| turn.p50_ms), "p99_ms": median(|turn| turn.p99_ms),
            "resident_mib": resident >> 20,
            "ready_ms_with_empty_store": empty.as_millis(),
            "ready_us_with_empty_store_per_order": ratio(empty.as_micros() as f64, self.orders as f64),
            "ready_ms_with_kept_store": kept.as_millis(),
            "turns": self.turns, "audit": audit,
        });
        Ok((is_clean, figures))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_flat_if_the_dearest_is_at_most_a_tenth_above_the_cheapest() {
        for (costs, is_flat) in
            [(&[100.0, 104.0, 110.0][..], true), (&[100.0, 112.0], false), (&[120.0, 100.0], false), (&[90.0], true)]
        {
            assert_eq!(spread(costs) <= FLAT_RATIO_MAX, is_flat, "{costs:?}");
        }
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()).to_bits(), 2.0_f64.to_bits());
    }
}
