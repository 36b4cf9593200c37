//! `twqr capacity`: prints the resources that a load needs, and for each number whether it was
//! measured.

mod costs;
mod plan;

use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use twqr_files::print_line;

use plan::{Figure, Load, plan};

/// The arguments of `twqr capacity`.
#[derive(Debug, Args)]
pub(crate) struct Capacity {
    /// Payments per second at the busiest time
    #[arg(long, value_name = "RATE", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    tps: u64,
    /// The average rate over days, in percent of the busiest
    #[arg(long, value_name = "PERCENT", default_value_t = 25, value_parser = clap::value_parser!(u64).range(1..=100))]
    average: u64,
    /// Copies of each record (kafka.replication)
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=9))]
    replication: u64,
    /// How many hours requests and tasks are kept (kafka.retention_hours)
    #[arg(long, value_name = "HOURS", default_value_t = 168, value_parser = clap::value_parser!(u64).range(1..=8_760))]
    retention_hours: u64,
    /// The days of operation for which the disks must suffice: states of orders are never deleted
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u64).range(1..=36_500))]
    orders_kept_days: u64,
    /// Cores of each pod
    #[arg(long, value_name = "CORES", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=128))]
    pod_cores: u64,
    /// Cores of each broker
    #[arg(long, value_name = "CORES", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=128))]
    broker_cores: u64,
    /// Prints one JSON line instead of the table
    #[arg(long)]
    json: bool,
}

/// Prints the plan.
pub(crate) fn run(arguments: &Capacity) -> anyhow::Result<ExitCode> {
    let load = Load {
        tps: arguments.tps,
        average_percent: arguments.average,
        replication: arguments.replication,
        retention_hours: arguments.retention_hours,
        orders_kept_days: arguments.orders_kept_days,
        pod_cores: arguments.pod_cores,
        broker_cores: arguments.broker_cores,
    };
    let figures = plan(&load);
    if arguments.json {
        print_line(json!({ "tps": load.tps, "figures": figures.iter().map(object).collect::<Vec<_>>() }))?;
    } else {
        print_line(table(&figures))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn object(figure: &Figure) -> serde_json::Value {
    json!({
        "name": figure.name, "value": figure.value, "unit": figure.unit, "basis": figure.basis.name(),
        "from": figure.from,
    })
}

fn table(figures: &[Figure]) -> String {
    let row = |name: &str, value: &str, unit: &str, basis: &str, from: &str| {
        format!("{name:34} {value:>10}  {unit:8} {basis:12}  {from}")
    };
    let mut lines = vec![row("what", "number", "", "basis", "from")];
    lines.extend(
        figures
            .iter()
            .map(|figure| row(figure.name, &figure.value.to_string(), figure.unit, figure.basis.name(), &figure.from)),
    );
    lines.push(String::new());
    lines.push("All numbers but the first are those of each deployment.".to_owned());
    lines.push("measured: up to the rate at which its cost was measured, on one machine of two cores.".to_owned());
    lines.push("extrapolated: the same cost at a higher rate, or on machines that were not measured.".to_owned());
    lines.push("chosen: a rule, such as two processes of each service; change it if you have another.".to_owned());
    lines.join("\n")
}
