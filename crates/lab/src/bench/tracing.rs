//! `twqr-lab bench tracing`: measures the CPU time that traces cost. Systems without traces, with a
//! share and with all calls traced run side by side and take turns under the same load, so that
//! each figure is compared with one of the same time.

mod collector;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde_json::{Value, json};
use tonic::transport::Channel;
use twqr_client::ProgressBar;
use twqr_config::{Config, TelemetryConfig, TelemetryProtocol};
use twqr_loadgen::{Over, open_loop, payments};

use super::{
    figures::payments_of,
    quick::{channels, errors_of, machine, once},
};
use crate::{
    launch::{Launch, Listen, Programs, Shape, System},
    simulator::Kinds,
    usage::Usage,
};
use collector::Collector;

/// The systems: the share of calls that each traces; absent: telemetry is off.
const SHARES: [Option<f64>; 3] = [None, Some(0.01), Some(1.0)];

/// The arguments of `twqr-lab bench tracing`.
#[derive(clap::Args)]
pub struct TracingOptions {
    /// Payments per second
    #[arg(long, default_value_t = 1_000)]
    rate: u32,
    /// The duration of each turn, in ms
    #[arg(long, default_value_t = 4_000)]
    hold_ms: u32,
    /// How often each system takes its turn
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// The folder for data; it is emptied first
    #[arg(long, default_value = "target/bench-tracing")]
    dir: PathBuf,
    /// The seed of the payments and their start times
    #[arg(long, default_value_t = 7)]
    seed: u64,
}

/// A running system, with what each of its turns cost.
struct Measured {
    share: Option<f64>,
    system: System,
    channels: Vec<Channel>,
    /// CPU time of the services for each payment, by turn, in µs.
    cpu_us: Vec<f64>,
}

/// Measures and prints one JSON line.
pub(crate) async fn run(options: &TracingOptions, config: &Config) -> anyhow::Result<ExitCode> {
    let collector = Collector::start().await?;
    let mut systems = Vec::new();
    for (number, share) in SHARES.into_iter().enumerate() {
        let dir = options.dir.join(format!("system-{number}"));
        systems.push(start(&dir, config, share, &collector).await?);
    }
    // Pools, caches and connections are warm after a turn that does not count.
    for measured in &mut systems {
        turn(measured, options, "warm").await?;
        measured.cpu_us.clear();
    }
    let mut progress = ProgressBar::start("rounds", options.rounds.into());
    for round in 0..options.rounds {
        progress.step(&(round + 1).to_string());
        for place in 0..systems.len() {
            let next = (round as usize + place) % systems.len();
            turn(&mut systems[next], options, &format!("r{round}")).await?;
        }
    }
    progress.finish("done");
    let report = report(options, &systems, &collector.received());
    for measured in &mut systems {
        measured.system.end().await;
    }
    twqr_files::print_line(report)?;
    Ok(ExitCode::SUCCESS)
}

async fn start(dir: &Path, config: &Config, share: Option<f64>, collector: &Collector) -> anyhow::Result<Measured> {
    let endpoint = share.map_or_else(String::new, |_| collector.endpoint());
    let telemetry = TelemetryConfig {
        endpoint,
        protocol: TelemetryProtocol::Http,
        sample_ratio: share.unwrap_or_default(),
        ..TelemetryConfig::default()
    };
    let system = Launch {
        programs: Programs::beside_this_one()?,
        dir,
        script: None,
        config: Config { telemetry, ..config.clone() },
        listen: Listen::OnFreePorts,
        shape: Shape::AllInOne,
        kinds: Kinds::default(),
        tls: false,
        log_filter: None,
    }
    .start()
    .await?;
    let channels = channels(system.config.grpc).await?;
    Ok(Measured { share, system, channels, cpu_us: Vec::new() })
}

fn name(share: Option<f64>) -> String {
    share.map_or_else(|| "off".to_owned(), |share| format!("{} %", share * 100.0))
}

/// Puts a system under load once.
async fn turn(measured: &mut Measured, options: &TracingOptions, name: &str) -> anyhow::Result<()> {
    let requests = payments(options.seed, name, payments_of(options.rate, options.hold_ms));
    let count = requests.len() as f64;
    let services = measured.system.ids().first().copied();
    let used = || services.map(Usage::of).unwrap_or_default().cpu_us;
    let before = used();
    let load = open_loop(&measured.channels, requests, once(options.rate, options.seed, Over::Calls)).await;
    let errors = errors_of(&load.results);
    anyhow::ensure!(errors == 0, "{errors} of {count} payments had no answer: choose a lower --rate");
    measured.cpu_us.push((used() - before) as f64 / count);
    Ok(())
}

fn report(options: &TracingOptions, systems: &[Measured], received: &Value) -> Value {
    let off = &systems[0].cpu_us;
    let figures = |measured: &Measured| {
        let ratios = measured.cpu_us.iter().zip(off).map(|(traced, off)| traced / off).collect();
        let figures = json!({ "cpu_us_per_payment": spread(measured.cpu_us.clone()), "ratio_to_off": spread(ratios) });
        (name(measured.share), figures)
    };
    json!({
        "bench": "tracing",
        "machine": machine(),
        "load": "open loop, Poisson; three systems take turns, and a ratio is of two turns of one round",
        "rate": options.rate, "hold_ms": options.hold_ms, "rounds": options.rounds, "seed": options.seed,
        "traced": systems.iter().map(figures).collect::<serde_json::Map<_, _>>(),
        "collector": received,
    })
}

/// The median, the least and the greatest of some figures, with two decimals.
fn spread(mut figures: Vec<f64>) -> Value {
    figures.sort_by(f64::total_cmp);
    let at = |place: usize| figures.get(place).map(|figure| (figure * 100.0).round() / 100.0);
    json!({ "median": at(figures.len() / 2), "min": at(0), "max": at(figures.len().saturating_sub(1)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_of_figures_is_their_median_and_their_ends() {
        assert_eq!(spread(vec![3.0, 1.004, 2.0]), json!({ "median": 2.0, "min": 1.0, "max": 3.0 }));
        assert_eq!(spread(Vec::new()), json!({ "median": null, "min": null, "max": null }));
    }
}
