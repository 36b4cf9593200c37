//! `twqr-lab load prove-compare`: makes many comparisons of a build with itself, and of a build
//! with one that is slower, and counts false alarms and slowdowns that were found.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use twqr_files::print_line;
use twqr_loadgen::{
    compare::{
        ComparedRound, ROUNDS_MIN, VirtualRuns,
        proof::{ComparisonProof, MeasuredRounds, prove},
    },
    scenario::Scenario,
};

use super::{MISSED, compare::check_rounds};

/// A short run: enough calls for its median.
const SCENARIO: &str = "[[phase]]\nkind = \"hold\"\nseconds = 10\nrate = 100\n";
/// The runs of a round, as `twqr-lab load compare` names them.
const PLACES: [&str; 4] = ["a1", "b1", "b2", "a2"];

/// The arguments of `twqr-lab load prove-compare`.
#[derive(clap::Args)]
pub(super) struct ProveCompareOptions {
    /// Comparisons of a build with itself, and as many with a slower one
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    comparisons: u64,
    /// Rounds of each comparison
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(ROUNDS_MIN as i64..=200))]
    rounds: u32,
    /// The planted slowdown, as a factor
    #[arg(long, default_value_t = 1.05)]
    slowdown: f64,
    /// The figures that are compared
    #[arg(long, value_delimiter = ',', default_values_t = ["p50_ms".to_owned(), "cpu_us_per_call".to_owned()])]
    figures: Vec<String>,
    /// Draw the rounds from the real runs in this folder instead of virtual ones. `twqr-lab load
    /// compare A A --dir FOLDER` makes them, with one build on both sides
    #[arg(long, value_name = "FOLDER")]
    measured: Option<PathBuf>,
}

/// Prints one JSON line. The exit code is 2 if there are too many false alarms, or too many
/// slowdowns that were not found.
pub(super) fn run(options: &ProveCompareOptions) -> anyhow::Result<ExitCode> {
    check_rounds(options.rounds, options.figures.len())?;
    let (proof, runs) = if let Some(folder) = &options.measured {
        let measured = measured(folder, &options.figures)?;
        let rounds = format!("{} measured rounds in {}", measured.len(), folder.display());
        (proof(options, |seed| MeasuredRounds::new(&measured, seed))?, rounds)
    } else {
        let scenario = Scenario::parse(SCENARIO)
            .map_err(|faults| anyhow::anyhow!("{} faults in the virtual scenario", faults.len()))?;
        let runs = |seed| VirtualRuns::new(&scenario, &options.figures, seed);
        (proof(options, runs)?, "virtual".to_owned())
    };
    print_line(json!({
        "proof": proof, "holds": proof.holds(), "runs": runs, "rounds": options.rounds, "figures": options.figures,
        "limits_of_50": { "false_alarms": 3, "found": 45 },
    }))?;
    Ok(if proof.holds() { ExitCode::SUCCESS } else { ExitCode::from(MISSED) })
}

fn proof<S: twqr_loadgen::compare::proof::RoundSource>(
    options: &ProveCompareOptions,
    source: impl FnMut(u64) -> S,
) -> anyhow::Result<ComparisonProof> {
    let proof = prove(options.comparisons, options.rounds as usize, options.slowdown, source);
    proof.with_context(|| format!("one of {} is 0 in a run, or is missing", options.figures.join(", ")))
}

/// Reads the figures of the rounds that `load compare` left in this folder.
fn measured(folder: &Path, figures: &[String]) -> anyhow::Result<Vec<Vec<ComparedRound>>> {
    let mut rounds = Vec::new();
    while folder.join(format!("round-{}-{}", rounds.len() + 1, PLACES[3])).join("summary.json").exists() {
        let number = rounds.len() + 1;
        let mut runs = Vec::new();
        for place in PLACES {
            let file = folder.join(format!("round-{number}-{place}")).join("summary.json");
            let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            let summary: Value = serde_json::from_str(&text).with_context(|| file.display().to_string())?;
            ensure!(summary["validity"]["is_valid"] == true, "{} is of an invalid run", file.display());
            runs.push(summary);
        }
        let figure = |run: usize, name: &String| runs[run]["figures"][name].as_f64().unwrap_or_default();
        let round = |name: &String| ComparedRound {
            a: [figure(0, name), figure(3, name)],
            b: [figure(1, name), figure(2, name)],
        };
        rounds.push(figures.iter().map(round).collect());
    }
    ensure!(
        !rounds.is_empty(),
        "{} has no rounds; make them with `twqr-lab load compare A A --dir {0}`",
        folder.display()
    );
    Ok(rounds)
}
