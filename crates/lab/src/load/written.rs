//! The files of a report, and the lines that a run prints.

use std::{fs, path::Path};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use twqr_files::print_line;
use twqr_loadgen::{
    generator::RecordedRun,
    latency_histogram,
    report::{LoadSummary, html, interval_log, percentile_file},
};

/// Writes every file of the report.
pub(super) fn write(dir: &Path, scenario: &str, summary: &LoadSummary, recorded: &RecordedRun) -> anyhow::Result<()> {
    let (mut answered, mut finals) = (latency_histogram(), latency_histogram());
    for record in recorded.measured() {
        answered.saturating_record(record.latency_us());
        if record.final_us > 0 {
            finals.saturating_record(record.final_us.saturating_sub(record.intended_us));
        }
    }
    let percentiles = |histogram: &Histogram<u64>| percentile_file(histogram).into_bytes();
    for (name, bytes) in [
        ("report.html", html(summary).into_bytes()),
        ("summary.json", serde_json::to_vec_pretty(summary)?),
        ("intervals.hlog", interval_log(recorded)?),
        ("answered.hgrm", percentiles(&answered)),
        ("final.hgrm", percentiles(&finals)),
        ("scenario.toml", scenario.as_bytes().to_vec()),
    ] {
        let file = dir.join(name);
        fs::write(&file, bytes).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// Prints the verdict first, then thresholds and the most important figures.
pub(super) fn print(summary: &LoadSummary, dir: &Path) -> std::io::Result<()> {
    print_line(&summary.validity.line)?;
    for result in &summary.thresholds {
        let verdict = if result.is_met { "met" } else { "MISSED" };
        let value = (result.value * 1_000.0).round() / 1_000.0;
        print_line(format_args!("threshold {}: {verdict}, this run {value}", result.threshold))?;
    }
    for (name, latency) in [("answered", &summary.answered), ("final", &summary.finals)] {
        print_line(format_args!(
            "{name}: {} calls, p50 {} ms, p99 {} ms, p99.9 {} ms, max {} ms",
            latency.count, latency.p50_ms, latency.p99_ms, latency.p999_ms, latency.max_ms
        ))?;
    }
    let cpu_us = |figure: &str| summary.figures.get(figure).copied().unwrap_or_default();
    print_line(format_args!(
        "CPU per call: services {} us, generator {} us",
        cpu_us("cpu_us_per_call"),
        cpu_us("generator_us_per_call")
    ))?;
    for (reason, count) in &summary.errors_by_reason {
        print_line(format_args!("errors: {count} {reason}"))?;
    }
    if let Some(found) = &summary.reconciliation {
        print_line(format_args!(
            "audit: {} orders match, {} mismatch, {} missing, {} twice",
            found.matched, found.mismatched, found.missing, found.twice
        ))?;
        for fault in &found.faults {
            print_line(format_args!("  {fault}"))?;
        }
    }
    print_line(format_args!("report: {}", dir.join("report.html").display()))
}
