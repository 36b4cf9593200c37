//! `twqr-lab load results`: writes the README of a release's results from the files that its runs
//! left: conditions, figures beside their floors and targets, and the verdict of each scenario.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use twqr_files::print_line;

use super::INVALID;

/// The arguments of `twqr-lab load results`.
#[derive(clap::Args)]
pub(super) struct ResultsOptions {
    /// The folder of the release, such as load-tests/results/1.0.0
    folder: PathBuf,
    /// A condition of the runs, as NAME=VALUE, in the order of the table
    #[arg(long = "condition", value_name = "NAME=VALUE")]
    conditions: Vec<String>,
}

/// A figure of the table: its name, command and target, and where its value and floor stand.
struct FigureRow {
    figure: &'static str,
    command: &'static str,
    result: Option<f64>,
    floor: Option<f64>,
    target: &'static str,
}

/// Writes the file. The exit code is 3 if one of the runs is invalid: it is no result.
pub(super) fn run(options: &ResultsOptions) -> anyhow::Result<ExitCode> {
    let ResultsOptions { folder, conditions } = options;
    let scenarios = scenarios(folder)?;
    let invalid: Vec<&str> = scenarios
        .iter()
        .filter(|(_, summary)| summary["validity"]["is_valid"] != true)
        .map(|(name, _)| name.as_str())
        .collect();
    if !invalid.is_empty() {
        print_line(format_args!("INVALID, so no result: {}; play them again", invalid.join(", ")))?;
        return Ok(ExitCode::from(INVALID));
    }
    let (quick, kafka) = (read(&folder.join("bench-quick.json"))?, read(&folder.join("bench-kafka.json"))?);
    let file = folder.join("README.md");
    fs::write(&file, page(conditions, &rows(&quick, &kafka), &scenarios)?)?;
    print_line(format_args!("results: {}", file.display()))?;
    Ok(ExitCode::SUCCESS)
}

fn read(file: &Path) -> anyhow::Result<Value> {
    let text = fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no JSON", file.display()))
}

/// The summaries of the scenarios by name.
fn scenarios(folder: &Path) -> anyhow::Result<Vec<(String, Value)>> {
    let entries = fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    let mut scenarios = Vec::new();
    for entry in entries {
        let entry = entry?;
        let file = entry.path().join("summary.json");
        if file.exists() {
            scenarios.push((entry.file_name().to_string_lossy().into_owned(), read(&file)?));
        }
    }
    scenarios.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(scenarios)
}

/// The element of a list whose rate is this one.
fn at_rate<'a>(list: &'a Value, rate: &Value) -> &'a Value {
    let found = list.as_array().and_then(|list| list.iter().find(|element| &element["rate"] == rate));
    found.unwrap_or(&Value::Null)
}

fn rows(quick: &Value, kafka: &Value) -> Vec<FigureRow> {
    const QUICK: &str = "`make bench`, embedded";
    const KAFKA: &str = "`make bench`, Kafka";
    let row = |figure, command, result: &Value, floor: &Value, target| FigureRow {
        figure,
        command,
        result: result.as_f64(),
        floor: floor.as_f64(),
        target,
    };
    let sum = |values: [&Value; 2]| values[0].as_f64().zip(values[1].as_f64()).map(|(a, b)| a + b);
    let (calls, streams, floor) = (&quick["highest_rate"], &quick["highest_rate_over_streams"], &quick["floor"]);
    let cost = |climb: &'_ Value| at_rate(&climb["costs"], &climb["kept_up"])["cpu_us_per_payment"].clone();
    let (cost, stream_cost) = (cost(calls), cost(streams));
    let (thousand, four_thousand) = (at_rate(&kafka["rates"], &1_000.into()), at_rate(&kafka["rates"], &4_000.into()));
    let (costs, floor_costs) = (&four_thousand["costs_per_payment"], &four_thousand["floor"]["costs_per_payment"]);
    let highest = &kafka["highest_rate"];
    vec![
        row("highest rate of calls, p99 up to 50 ms", QUICK, &calls["rate"], &floor["journal"]["rate"], "12,000/s"),
        row("highest rate over streams", QUICK, &streams["rate"], &floor["echo_over_streams"]["rate"], "20,000/s"),
        row("highest rate of calls kept up with", QUICK, &calls["kept_up"], &floor["echo"]["rate"], "-"),
        row("the same over streams", QUICK, &streams["kept_up"], &floor["echo_over_streams"]["rate"], "-"),
        row(
            "CPU of the services at that rate of calls, us",
            QUICK,
            &cost["services"],
            &floor["journal"]["cpu_us_per_payment"],
            "80",
        ),
        FigureRow {
            result: sum([&cost["simulator"], &cost["generator"]]),
            ..row("CPU of simulator and generator then, us", QUICK, &Value::Null, &Value::Null, "60")
        },
        FigureRow {
            result: sum([&stream_cost["simulator"], &stream_cost["generator"]]),
            ..row("the same over streams, us", QUICK, &Value::Null, &Value::Null, "30")
        },
        row(
            "p50 at 1,000/s, ms",
            QUICK,
            &quick["steady"]["latency"]["p50_ms"],
            &floor["journal"]["latency"]["p50_ms"],
            "2 times the floor",
        ),
        row("highest rate on Kafka, p99 up to 100 ms", KAFKA, &highest["rate"], &highest["floor"], "6,000/s; 0.2"),
        row("highest rate on Kafka kept up with", KAFKA, &highest["kept_up"], &highest["floor_kept_up"], "-"),
        row(
            "p50 at 1,000/s on Kafka, ms",
            KAFKA,
            &thousand["latency"]["p50_ms"],
            &thousand["floor"]["latency"]["p50_ms"],
            "6; 2.5 times the floor",
        ),
        row(
            "p99 at 1,000/s on Kafka, ms",
            KAFKA,
            &thousand["latency"]["p99_ms"],
            &thousand["floor"]["latency"]["p99_ms"],
            "25",
        ),
        FigureRow {
            result: sum([&costs["cpu_us_services"], &costs["cpu_us_broker"]]),
            floor: sum([&floor_costs["cpu_us_services"], &floor_costs["cpu_us_broker"]]),
            ..row("CPU of services and broker at 4,000/s on Kafka, us", KAFKA, &Value::Null, &Value::Null, "200")
        },
    ]
}

/// A number without needless digits; `not measured` where there is none.
fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "not measured".to_owned(), |value| format!("{}", (value * 100.0).round() / 100.0))
}

fn page(conditions: &[String], rows: &[FigureRow], scenarios: &[(String, Value)]) -> anyhow::Result<String> {
    let mut page = String::from("# Results\n\n| condition | of these runs |\n|---|---|\n");
    for condition in conditions {
        let (name, value) = condition.split_once('=').with_context(|| format!("{condition:?} is not NAME=VALUE"))?;
        ensure!(!value.trim().is_empty(), "the condition {name} is empty");
        let _ = writeln!(page, "| {name} | {value} |");
    }
    page.push_str(
        "\n| figure | command | result | floor of the same run | ratio | target |\n|---|---|---|---|---|---|\n",
    );
    for FigureRow { figure, command, result, floor, target } in rows {
        let ratio = result.zip(*floor).filter(|(_, floor)| *floor > 0.0).map(|(result, floor)| result / floor);
        let [floor, ratio] = [*floor, ratio].map(|value| value.map_or_else(|| "-".to_owned(), |v| number(Some(v))));
        let _ = writeln!(page, "| {figure} | {command} | {} | {floor} | {ratio} | {target} |", number(*result));
    }
    page.push_str("\n| scenario | verdict | threshold | this run | result |\n|---|---|---|---|---|\n");
    for (name, summary) in scenarios {
        let verdict = summary["validity"]["line"].as_str().unwrap_or_default();
        for threshold in summary["thresholds"].as_array().into_iter().flatten() {
            let met = if threshold["is_met"] == true { "met" } else { "MISSED" };
            let text = threshold["threshold"].as_str().unwrap_or_default();
            let value = number(threshold["value"].as_f64());
            let _ = writeln!(page, "| [{name}]({name}/report.html) | {verdict} | {text} | {value} | {met} |");
        }
    }
    Ok(page)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use serde_json::json;

    use super::*;

    fn release(is_valid: bool) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let cost = |rate: u32, services: f64| json!({ "rate": rate, "cpu_us_per_payment": { "services": services, "simulator": 20.0, "generator": 31.5 } });
        let climb = json!({ "rate": 4_000, "kept_up": 8_000, "costs": [cost(4_000, 200.0), cost(8_000, 130.0)] });
        let quick = json!({
            "highest_rate": climb, "highest_rate_over_streams": climb,
            "steady": { "latency": { "p50_ms": 1.2 } },
            "floor": {
                "journal": { "rate": 40_000, "cpu_us_per_payment": 65.0, "latency": { "p50_ms": 0.6 } },
                "echo": { "rate": 10_000 },
                "echo_over_streams": { "rate": 40_000 },
            },
        });
        let summary = json!({
            "validity": { "is_valid": is_valid, "line": "VALID" },
            "thresholds": [{ "threshold": "p99_ms <= 25", "value": 26.004, "is_met": false }],
        });
        fs::create_dir(folder.path().join("baseline")).unwrap();
        for (file, value) in
            [("bench-quick.json", quick), ("bench-kafka.json", json!({})), ("baseline/summary.json", summary)]
        {
            fs::write(folder.path().join(file), value.to_string()).unwrap();
        }
        folder
    }

    #[test]
    fn each_figure_stands_beside_its_floor_and_its_target() {
        let folder = release(true);
        let conditions = vec!["commit=abc".to_owned()];
        run(&ResultsOptions { folder: folder.path().to_owned(), conditions }).unwrap();
        let page = fs::read_to_string(folder.path().join("README.md")).unwrap();
        for line in [
            "| commit | abc |",
            "| highest rate of calls, p99 up to 50 ms | `make bench`, embedded | 4000 | 40000 | 0.1 | 12,000/s |",
            "| highest rate of calls kept up with | `make bench`, embedded | 8000 | 10000 | 0.8 | - |",
            "| CPU of the services at that rate of calls, us | `make bench`, embedded | 130 | 65 | 2 | 80 |",
            "| CPU of simulator and generator then, us | `make bench`, embedded | 51.5 | - | - | 60 |",
            "| highest rate on Kafka, p99 up to 100 ms | `make bench`, Kafka | not measured | - | - | 6,000/s; 0.2 |",
            "| [baseline](baseline/report.html) | VALID | p99_ms <= 25 | 26 | MISSED |",
        ] {
            assert!(page.lines().any(|written| written == line), "{line}\n{page}");
        }
    }

    #[test]
    fn an_invalid_run_is_no_result_and_a_condition_must_have_a_value() {
        let folder = release(false);
        let options = |conditions: Vec<String>| ResultsOptions { folder: folder.path().to_owned(), conditions };
        run(&options(Vec::new())).unwrap();
        assert!(!folder.path().join("README.md").exists());
        let folder = release(true);
        let conditions = vec!["commit=".to_owned()];
        assert!(run(&ResultsOptions { folder: folder.path().to_owned(), conditions }).is_err());
    }
}
