//! The charts of the page, each made from the summary.

use std::fmt::Write;

use crate::report::{
    chart::{Chart, ChartLine, Scale, escape, short},
    figures::{LoadSummary, ProcessUsage, UsageSample},
    latency_figures::PercentilePoint,
    over_time::Interval,
};

/// The percentiles that the axis names.
const PERCENTILES: [f64; 7] = [0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999];

/// The place of a percentile on the axis: each further nine takes the same width.
fn place(percentile: f64) -> f64 {
    -(1.0 - percentile / 100.0).max(1e-9).log10()
}

/// Latency by percentile, to 99.999.
pub(super) fn by_percentile(summary: &LoadSummary) -> String {
    let line = |name: &str, curve: &[PercentilePoint]| {
        let shown = curve.iter().filter(|point| point.percentile <= PERCENTILES[6] + 1e-9);
        ChartLine { name: name.into(), points: shown.map(|point| (place(point.percentile), point.ms)).collect() }
    };
    let (answered, finals) = (&summary.answered, &summary.finals);
    Chart {
        id: "percentiles",
        title: "Latency by percentile",
        description: format!(
            "Answers: p50 {} ms, p99 {} ms, p99.999 {} ms. Final results: p50 {} ms, p99 {} ms, p99.999 {} ms.",
            answered.p50_ms, answered.p99_ms, answered.p99999_ms, finals.p50_ms, finals.p99_ms, finals.p99999_ms
        ),
        x_label: "percentile",
        y_label: "ms",
        scale: Scale::Logarithmic,
        lines: vec![line("answered", &summary.answered_curve), line("final", &summary.final_curve)],
        x_ticks: PERCENTILES.iter().map(|percentile| (place(*percentile), format!("{percentile} %"))).collect(),
        marks: Vec::new(),
    }
    .figure()
}

fn over_time(summary: &LoadSummary, name: &str, value: impl Fn(&Interval) -> f64) -> ChartLine {
    let points = summary.intervals.iter().map(|interval| (interval.at_s as f64, value(interval)));
    ChartLine { name: name.into(), points: points.collect() }
}

fn seconds(
    summary: &LoadSummary,
    (id, title, y_label): (&'static str, &'static str, &'static str),
    scale: Scale,
    lines: Vec<ChartLine>,
) -> String {
    let highest = |line: &ChartLine| line.points.iter().map(|point| point.1).fold(0.0, f64::max);
    let parts: Vec<String> = lines.iter().map(|line| format!("{} up to {}", line.name, short(highest(line)))).collect();
    let description = format!("Over {} s: {}.", summary.intervals.len(), parts.join(", "));
    let marks = summary.faults.iter().map(|fault| (fault.at_s, fault.text.clone())).collect();
    Chart {
        id,
        title,
        description,
        x_label: "s since the run began",
        y_label,
        scale,
        lines,
        x_ticks: Vec::new(),
        marks,
    }
    .figure()
}

/// Latency of the calls by the second of their intended start.
pub(super) fn latency_over_time(summary: &LoadSummary) -> String {
    let latency = |name: &str, value: fn(&Interval) -> f64| {
        let mut line = over_time(summary, name, value);
        line.points.retain(|point| point.1 > 0.0);
        line
    };
    let lines = vec![latency("p50", |i| i.p50_ms), latency("p99", |i| i.p99_ms), latency("max", |i| i.max_ms)];
    seconds(summary, ("latency", "Latency over time", "ms"), Scale::Logarithmic, lines)
}

/// Intended and achieved rate.
pub(super) fn rate(summary: &LoadSummary) -> String {
    let lines = vec![
        over_time(summary, "target", |interval| interval.target_rate),
        over_time(summary, "started", |interval| interval.started as f64),
        over_time(summary, "answered", |interval| interval.answered as f64),
    ];
    seconds(summary, ("rate", "Target and achieved rate", "calls per s"), Scale::Linear, lines)
}

/// Calls that wait for their answer, and those that were answered as in progress.
pub(super) fn in_flight(summary: &LoadSummary) -> String {
    let lines = vec![
        over_time(summary, "in flight", |interval| interval.in_flight as f64),
        over_time(summary, "in progress", |interval| interval.in_progress as f64),
    ];
    seconds(summary, ("in-flight", "Calls in flight, and answered as in progress", "calls"), Scale::Linear, lines)
}

/// Errors by reason, by the second of their intended start.
pub(super) fn errors(summary: &LoadSummary) -> String {
    let mut reasons: Vec<(&String, &u64)> = summary.errors_by_reason.iter().collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let of = |interval: &Interval, reason: &String| {
        interval.errors_by_reason.get(reason).copied().unwrap_or_default() as f64
    };
    let (named, others) = reasons.split_at(reasons.len().min(LINES_MAX));
    let line = |(reason, _): &(&String, &u64)| over_time(summary, reason, |interval| of(interval, reason));
    let mut lines: Vec<ChartLine> = named.iter().map(line).collect();
    if !others.is_empty() {
        let sum = |interval: &Interval| others.iter().map(|(reason, _)| of(interval, reason)).sum();
        lines.push(over_time(summary, &format!("{} other reasons", others.len()), sum));
    }
    if lines.is_empty() {
        lines.push(over_time(summary, "errors", |interval| interval.errors as f64));
    }
    seconds(summary, ("errors", "Errors by reason", "calls per s"), Scale::Linear, lines)
}

/// Lines of single processes or reasons; more would look alike.
const LINES_MAX: usize = 5;

/// The processes with the highest values, and the sum of all others.
fn processes(summary: &LoadSummary, value: impl Fn(&UsageSample) -> f64) -> Vec<ChartLine> {
    let highest = |process: &ProcessUsage| process.samples.iter().map(&value).fold(0.0, f64::max);
    let mut sorted: Vec<&ProcessUsage> = summary.processes.iter().collect();
    sorted.sort_by(|a, b| highest(b).total_cmp(&highest(a)));
    let (named, others) = sorted.split_at(sorted.len().min(LINES_MAX));
    let points = |process: &ProcessUsage| process.samples.iter().map(|sample| (sample.at_s, value(sample))).collect();
    let line = |process: &&ProcessUsage| ChartLine { name: process.name.clone(), points: points(process) };
    let mut lines: Vec<ChartLine> = named.iter().map(line).collect();
    if let Some(first) = others.first() {
        let sum = |n: usize| others.iter().filter_map(|process| process.samples.get(n)).map(&value).sum();
        let points = first.samples.iter().enumerate().map(|(n, sample)| (sample.at_s, sum(n))).collect();
        lines.push(ChartLine { name: format!("{} others together", others.len()), points });
    }
    lines
}

/// CPU by process.
pub(super) fn cpu(summary: &LoadSummary) -> String {
    let lines = processes(summary, |sample| sample.cores);
    seconds(summary, ("cpu", "CPU by process", "cores"), Scale::Linear, lines)
}

/// Memory by process.
pub(super) fn memory(summary: &LoadSummary) -> String {
    let lines = processes(summary, |sample| sample.resident_mib);
    seconds(summary, ("memory", "Resident memory by process", "MiB"), Scale::Linear, lines)
}

/// The parts of a payment's time as one bar each, by their average.
pub(super) fn hops(summary: &LoadSummary) -> String {
    let total: f64 = summary.hops.iter().map(|hop| hop.latency.mean_ms).sum();
    let height = 26.0 * summary.hops.len() as f64 + 4.0;
    let description: Vec<String> =
        summary.hops.iter().map(|hop| format!("{}: {} ms", hop.name, short(hop.latency.mean_ms))).collect();
    let mut svg = format!(
        "<figure><figcaption>Average time of each part</figcaption><svg viewBox=\"0 0 760 {height}\" role=\"img\" \
         aria-labelledby=\"hops-t hops-d\"><title id=\"hops-t\">Average time of each part</title>\
         <desc id=\"hops-d\">{}</desc>",
        escape(&description.join("; "))
    );
    let mut left = 0.0;
    for (n, hop) in summary.hops.iter().enumerate() {
        let width = hop.latency.mean_ms / total.max(1e-9) * 400.0;
        let (y, class) = (26.0 * n as f64 + 4.0, format!("bar {}", hop.kind));
        let _ = write!(
            svg,
            "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{y}\" width=\"{:.1}\" height=\"18\"/>\
             <text class=\"tick\" x=\"410\" y=\"{}\">{} ms: {}</text>",
            width.max(1.0),
            y + 14.0,
            short(hop.latency.mean_ms),
            escape(hop.name)
        );
        left += width;
    }
    svg.push_str("</svg></figure>\n");
    svg
}
