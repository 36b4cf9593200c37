//! `twqr-lab load compare`: runs a scenario with the services of two builds in the order A B B A,
//! several rounds, and says whether B is worse than A.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::ensure;
use serde_json::json;
use twqr_config::Config;
use twqr_files::print_line;
use twqr_loadgen::compare::{ComparedRound, FigureComparison, ROUNDS_MIN, compare, proof::ALPHA, rounds_needed};
use twqr_service::CancellationToken;

use super::{
    INVALID, MISSED, NamedScenario, factor,
    run::{LoadTarget, play},
};

/// The arguments of `twqr-lab load compare`.
#[derive(clap::Args)]
pub(super) struct CompareOptions {
    /// The folder of the first build, with its program twqr
    a: PathBuf,
    /// The folder of the second build
    b: PathBuf,
    /// A scenario file, or the name of one in load-tests/scenarios
    #[arg(long, default_value = "baseline")]
    scenario: String,
    /// Rounds of four runs: A B B A
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(ROUNDS_MIN as i64..=200))]
    rounds: u32,
    /// The figures that are compared; more of each is worse
    #[arg(long, value_delimiter = ',', default_values_t = ["p50_ms".to_owned(), "cpu_us_per_call".to_owned()])]
    figures: Vec<String>,
    /// Multiply every duration of the scenario
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = factor)]
    time_scale: f64,
    /// The folder of the reports of all runs
    #[arg(long, default_value = "target/load-compare")]
    dir: PathBuf,
}

/// Makes the runs and prints one line per figure and one JSON line.
pub(super) async fn run(
    options: &CompareOptions,
    config: &Config,
    stop: CancellationToken,
) -> anyhow::Result<ExitCode> {
    let mut named = NamedScenario::read(&options.scenario)?;
    named.scenario = named.scenario.scaled(1.0, options.time_scale);
    let known: Vec<&str> = twqr_loadgen::scenario::FIGURES.iter().map(|figure| figure.name).collect();
    for figure in &options.figures {
        ensure!(known.contains(&figure.as_str()), "{figure:?} is not a figure; the figures are {}", known.join(", "));
    }
    check_rounds(options.rounds, options.figures.len())?;
    let mut rounds: Vec<Vec<ComparedRound>> = vec![Vec::new(); options.figures.len()];
    for number in 1..=options.rounds {
        let mut runs = Vec::new();
        for (place, build) in [("a1", &options.a), ("b1", &options.b), ("b2", &options.b), ("a2", &options.a)] {
            let dir = options.dir.join(format!("round-{number}-{place}"));
            let Some(figures) = one(&named, build, &dir, &options.figures, config, &stop).await? else {
                return Ok(ExitCode::from(INVALID));
            };
            print_line(format_args!("round {number} of {}, {place}: {figures:?}", options.rounds))?;
            runs.push(figures);
        }
        for (n, rounds) in rounds.iter_mut().enumerate() {
            rounds.push(ComparedRound { a: [runs[0][n], runs[3][n]], b: [runs[1][n], runs[2][n]] });
        }
    }
    report(&options.figures, &rounds)
}

/// Fails if so few rounds can show nothing about so many figures.
pub(super) fn check_rounds(rounds: u32, figures: usize) -> anyhow::Result<()> {
    let needed = rounds_needed(ALPHA / figures.max(1) as f64);
    ensure!(
        rounds as usize >= needed,
        "{rounds} rounds show nothing about {figures} figures; --rounds {needed} is the least"
    );
    Ok(())
}

/// One run; `None` if the run is invalid.
async fn one(
    named: &NamedScenario,
    build: &Path,
    dir: &Path,
    figures: &[String],
    config: &Config,
    stop: &CancellationToken,
) -> anyhow::Result<Option<Vec<f64>>> {
    let summary =
        play(named, &LoadTarget::Started { build: Some(build.to_owned()), tls: false }, dir, config, stop.clone())
            .await?;
    if !summary.validity.is_valid {
        print_line(format_args!("{}; report: {}", summary.validity.line, dir.join("report.html").display()))?;
        return Ok(None);
    }
    Ok(Some(figures.iter().map(|name| summary.figures.get(name.as_str()).copied().unwrap_or_default()).collect()))
}

fn report(figures: &[String], rounds: &[Vec<ComparedRound>]) -> anyhow::Result<ExitCode> {
    let mut compared: Vec<(&String, FigureComparison)> = Vec::new();
    for (name, rounds) in figures.iter().zip(rounds) {
        let Some(comparison) = compare(rounds, ALPHA / figures.len() as f64) else {
            anyhow::bail!("{name} cannot be compared: it is 0 in a run; choose --figures that each run has");
        };
        let verdict = if comparison.is_regression { "WORSE" } else { "not worse" };
        print_line(format_args!(
            "{name}: A {:.2}, B {:.2} (medians); B is {:.3} of A, {:.0} % sure between {:.3} and {:.3}: {verdict}",
            comparison.median_a,
            comparison.median_b,
            comparison.ratio,
            (1.0 - ALPHA) * 100.0,
            comparison.ratio_from,
            comparison.ratio_to
        ))?;
        compared.push((name, comparison));
    }
    let is_worse = compared.iter().any(|(_, comparison)| comparison.is_regression);
    let by_name: serde_json::Map<String, serde_json::Value> =
        compared.iter().map(|(name, comparison)| ((*name).clone(), json!(comparison))).collect();
    print_line(json!({ "comparison": by_name, "is_regression": is_worse }))?;
    Ok(if is_worse { ExitCode::from(MISSED) } else { ExitCode::SUCCESS })
}
