//! The summary of a run: every number of the report. It is written as `summary.json`, and the page
//! shows the same.

use std::{
    collections::{BTreeMap, HashMap},
    time::UNIX_EPOCH,
};

use hdrhistogram::Histogram;
use serde::Serialize;
use twqr_wire::pos::OrderStatus;

use super::{
    hops::{HopFigures, hops},
    latency_figures::{LatencyFigures, PercentilePoint, curve},
    over_time::{Interval, intervals, longest_pause_us},
    overload::overload_figures,
    slow_calls::{SlowCalls, slow_calls},
    validity::{Validity, ValidityFacts},
};
use crate::{
    generator::{CallRecord, RecordedRun},
    latency_histogram,
    reconcile::{InquiredOrder, Ledger, Reconciliation},
    scenario::{PhaseKind, Scenario},
    traffic::{CallChannel, CallKind},
};

/// The generator's name among the processes of a run.
pub const GENERATOR: &str = "generator";

/// The CPU and memory of a process over time.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ProcessUsage {
    /// Its name, such as `router-0`.
    pub name: String,
    /// Whether it is one of the services under test, not a simulator, broker or the generator.
    pub is_service: bool,
    /// Samples in the order of time.
    pub samples: Vec<UsageSample>,
}

/// The CPU and memory of a process over the whole run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ProcessFigures {
    /// Its name, such as `router-0`.
    pub name: String,
    /// The average of the share of a core that it used.
    pub cores_mean: f64,
    /// The highest share of a core in a second.
    pub cores_max: f64,
    /// The highest resident memory in MiB.
    pub resident_mib_max: f64,
}

impl ProcessFigures {
    fn of(process: &ProcessUsage) -> Self {
        // The first sample has no time before it.
        let cores = || process.samples.iter().skip(1).map(|sample| sample.cores);
        let memory = process.samples.iter().map(|sample| sample.resident_mib);
        Self {
            name: process.name.clone(),
            cores_mean: cores().sum::<f64>() / cores().count().max(1) as f64,
            cores_max: cores().fold(0.0, f64::max),
            resident_mib_max: memory.fold(0.0, f64::max),
        }
    }
}

/// The usage of a process at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct UsageSample {
    /// In s since the run began.
    pub at_s: f64,
    /// Share of a core since the sample before.
    pub cores: f64,
    /// Resident memory in MiB.
    pub resident_mib: f64,
}

/// A failure that was caused, for the report.
#[derive(Clone, Debug, Serialize)]
pub struct FaultNote {
    /// When it began, in s since the run began.
    pub at_s: f64,
    /// The action that was taken, as text.
    pub text: String,
}

/// The facts about a run that its records do not contain.
#[derive(Clone, Debug, Default)]
pub struct RunFacts {
    /// The name of the scenario.
    pub name: String,
    /// The machine, in words.
    pub machine: String,
    /// The system under test and its durability, in words.
    pub system: String,
    /// The conditions; the counts of calls and the lateness are filled in here.
    pub validity: ValidityFacts,
    /// CPU and memory by process.
    pub processes: Vec<ProcessUsage>,
    /// Failures that were caused.
    pub faults: Vec<FaultNote>,
    /// The inquiries by order number.
    pub inquiries: HashMap<u64, InquiredOrder>,
    /// The ledger, if it is known.
    pub ledger: Option<Ledger>,
}

/// The figures of one kind of call.
#[derive(Clone, Debug, Serialize)]
pub struct KindFigures {
    /// The kind's name.
    pub kind: &'static str,
    /// Calls with errors among them.
    pub calls: u64,
    /// Errors among these calls.
    pub errors: u64,
    /// Time from the intended start to the answer.
    pub latency: LatencyFigures,
}

/// The figures of the calls that were sent in one way.
#[derive(Clone, Debug, Serialize)]
pub struct ChannelFigures {
    /// The channel's name: `grpc`, `grpc_stream` or `http`.
    pub channel: &'static str,
    /// Calls with errors among them.
    pub calls: u64,
    /// Errors among these calls.
    pub errors: u64,
    /// Time from the intended start to the answer.
    pub latency: LatencyFigures,
}

/// The figures of a phase, or of a level of a staircase.
#[derive(Clone, Debug, Serialize)]
pub struct SegmentFigures {
    /// The phase's number, from 1.
    pub phase: u16,
    /// Whether its calls are left out of the other figures.
    pub is_warm_up: bool,
    /// The intended rate at its beginning, in starts per second.
    pub target_rate: f64,
    /// Calls that started in it.
    pub calls: u64,
    /// Errors among them.
    pub errors: u64,
    /// Whether a staircase may climb on after it: no more than 1 % slow or in error.
    pub is_sustained: bool,
    /// Time from the intended start to the answer.
    pub latency: LatencyFigures,
}

/// A threshold with the run's value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ThresholdResult {
    /// The threshold as written.
    pub threshold: String,
    /// The value of its figure.
    pub value: f64,
    /// Whether it is met.
    pub is_met: bool,
}

/// Every number of a run's report.
#[derive(Clone, Debug, Serialize)]
pub struct LoadSummary {
    /// Whether the figures are valid.
    pub validity: Validity,
    /// The scenario's name.
    pub scenario: String,
    /// What the scenario shows.
    pub description: String,
    /// The beginning of the run's MerchantTradeNos.
    pub run: String,
    /// The scenario's seed.
    pub seed: u64,
    /// When the run began, in s since 1970.
    pub began_unix_s: u64,
    /// The machine, in words.
    pub machine: String,
    /// The system under test, in words.
    pub system: String,
    /// The thresholds with their values.
    pub thresholds: Vec<ThresholdResult>,
    /// Every figure that a threshold may name.
    pub figures: BTreeMap<&'static str, f64>,
    /// Time from the intended start to the answer.
    pub answered: LatencyFigures,
    /// Time from the intended start until the result is final.
    pub finals: LatencyFigures,
    /// The generator's own lateness, which the latencies include.
    pub start_lag: LatencyFigures,
    /// By kind of call.
    pub kinds: Vec<KindFigures>,
    /// The calls by channel.
    pub channels: Vec<ChannelFigures>,
    /// By phase and level.
    pub segments: Vec<SegmentFigures>,
    /// Errors by reason.
    pub errors_by_reason: BTreeMap<String, u64>,
    /// Calls by result.
    pub results: BTreeMap<String, u64>,
    /// The time of payments by hop.
    pub hops: Vec<HopFigures>,
    /// The slow calls, each with the hop that made it slow.
    pub slow_calls: SlowCalls,
    /// The reconciliation of every order.
    pub reconciliation: Option<Reconciliation>,
    /// Failures that were caused.
    pub faults: Vec<FaultNote>,
    /// Second by second.
    pub intervals: Vec<Interval>,
    /// Latency by percentile, of answers.
    pub answered_curve: Vec<PercentilePoint>,
    /// Latency by percentile, of final results.
    pub final_curve: Vec<PercentilePoint>,
    /// CPU and memory by process.
    pub processes: Vec<ProcessUsage>,
    /// CPU and memory by process, over the whole run.
    pub process_figures: Vec<ProcessFigures>,
}

impl LoadSummary {
    /// Whether every threshold is met.
    pub fn meets_thresholds(&self) -> bool {
        self.thresholds.iter().all(|threshold| threshold.is_met)
    }
}

/// Histograms of the measured calls, in µs.
#[derive(Debug)]
struct Histograms {
    answered: Histogram<u64>,
    finals: Histogram<u64>,
    lag: Histogram<u64>,
}

/// Makes the summary of a run.
pub fn summarize(scenario: &Scenario, recorded: &RecordedRun, facts: RunFacts) -> LoadSummary {
    let measured: Vec<&CallRecord> = recorded.measured().collect();
    let mut histograms =
        Histograms { answered: latency_histogram(), finals: latency_histogram(), lag: latency_histogram() };
    let (mut errors_by_reason, mut results) = (BTreeMap::<String, u64>::new(), BTreeMap::<String, u64>::new());
    for record in &measured {
        histograms.answered.saturating_record(record.latency_us());
        histograms.lag.saturating_record(record.start_lag_us());
        if record.final_us > 0 {
            histograms.finals.saturating_record(record.final_us.saturating_sub(record.intended_us));
        }
        *results.entry(record.result()).or_default() += 1;
        if let Some(reason) = record.error() {
            *errors_by_reason.entry(reason).or_default() += 1;
        }
    }
    let start_lag = LatencyFigures::of(&histograms.lag);
    let conditions = ValidityFacts {
        started: recorded.records.len() as u64,
        dropped: recorded.dropped,
        start_lag_p99_ms: start_lag.p99_ms,
        ..facts.validity.clone()
    };
    let segments = segment_figures(recorded);
    let intervals = intervals(&recorded.records, &recorded.segments);
    let mut figures = named_figures(recorded, &measured, &histograms, &segments, &intervals, &facts);
    let slow_calls = slow_calls(recorded, &measured, scenario.slow_ms);
    figures.insert("flood_p99_ratio", flood_p99_ratio(&measured, scenario));
    figures.insert("slow", slow_calls.count as f64);
    figures.insert("slow_unattributed", slow_calls.unattributed as f64);
    let thresholds = scenario.checked_thresholds().into_iter().map(|threshold| {
        let value = figures.get(threshold.figure).copied().unwrap_or_default();
        ThresholdResult { threshold: threshold.to_string(), value, is_met: threshold.is_met_by(value) }
    });
    LoadSummary {
        validity: Validity::judge(&scenario.validity, &conditions),
        scenario: facts.name.clone(),
        description: scenario.description.clone(),
        run: recorded.run.clone(),
        seed: scenario.seed,
        began_unix_s: recorded.began.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        machine: facts.machine.clone(),
        system: facts.system.clone(),
        thresholds: thresholds.collect(),
        answered: LatencyFigures::of(&histograms.answered),
        finals: LatencyFigures::of(&histograms.finals),
        start_lag,
        kinds: kind_figures(&measured),
        channels: channel_figures(&measured),
        segments,
        errors_by_reason,
        results,
        hops: hops(recorded, &measured, facts.ledger.as_ref()),
        slow_calls,
        reconciliation: facts.validity.reconciliation.clone(),
        faults: facts.faults,
        intervals,
        answered_curve: curve(&histograms.answered),
        final_curve: curve(&histograms.finals),
        process_figures: facts.processes.iter().map(ProcessFigures::of).collect(),
        processes: facts.processes,
        figures,
    }
}

fn latencies_of<'a>(records: impl Iterator<Item = &'a CallRecord>) -> (u64, Histogram<u64>) {
    let mut histogram = latency_histogram();
    let mut errors = 0;
    for record in records {
        histogram.saturating_record(record.latency_us());
        errors += u64::from(record.error().is_some());
    }
    (errors, histogram)
}

fn kind_figures(measured: &[&CallRecord]) -> Vec<KindFigures> {
    let figures = |kind: CallKind| {
        let (errors, histogram) = latencies_of(measured.iter().copied().filter(|record| record.kind == kind));
        KindFigures { kind: kind.name(), calls: histogram.len(), errors, latency: LatencyFigures::of(&histogram) }
    };
    CallKind::ALL.into_iter().map(figures).filter(|figures| figures.calls > 0).collect()
}

fn channel_figures(measured: &[&CallRecord]) -> Vec<ChannelFigures> {
    let figures = |channel: CallChannel| {
        let (errors, histogram) = latencies_of(measured.iter().copied().filter(|record| record.channel == channel));
        ChannelFigures {
            channel: channel.name(),
            calls: histogram.len(),
            errors,
            latency: LatencyFigures::of(&histogram),
        }
    };
    CallChannel::ALL.into_iter().map(figures).filter(|figures| figures.calls > 0).collect()
}

fn segment_figures(recorded: &RecordedRun) -> Vec<SegmentFigures> {
    let figures = |(index, segment): (usize, &crate::schedule::Segment)| {
        let own = recorded.records.iter().filter(|record| usize::from(record.segment) == index);
        let (errors, histogram) = latencies_of(own.clone());
        let knee_us = segment.knee_p99_ms * 1_000.0;
        let slow = own.filter(|record| record.error().is_some() || record.latency_us() as f64 > knee_us).count();
        SegmentFigures {
            phase: segment.phase + 1,
            is_warm_up: segment.warm_up,
            target_rate: segment.rate,
            calls: histogram.len(),
            errors,
            is_sustained: slow as f64 <= histogram.len() as f64 * 0.01,
            latency: LatencyFigures::of(&histogram),
        }
    };
    let all = recorded.segments.iter().enumerate().map(figures);
    let is_played = |figures: &SegmentFigures| figures.calls > 0;
    all.filter(is_played).collect()
}

/// The highest level of a staircase before the first that was not sustained.
fn knee_rate(recorded: &RecordedRun, segments: &[SegmentFigures]) -> f64 {
    let is_step = |figures: &&SegmentFigures| {
        let phase = recorded.segments.iter().find(|segment| segment.phase + 1 == figures.phase);
        phase.is_some_and(|segment| segment.kind == PhaseKind::Steps)
    };
    let sustained = segments.iter().filter(is_step).take_while(|figures| figures.is_sustained);
    sustained.map(|figures| figures.target_rate).fold(0.0, f64::max)
}

fn named_figures(
    recorded: &RecordedRun,
    measured: &[&CallRecord],
    histograms: &Histograms,
    segments: &[SegmentFigures],
    intervals: &[Interval],
    facts: &RunFacts,
) -> BTreeMap<&'static str, f64> {
    let (answered, finals) = (LatencyFigures::of(&histograms.answered), LatencyFigures::of(&histograms.finals));
    let failed = || measured.iter().filter(|record| record.error().is_some());
    let retried = || measured.iter().filter(|record| record.attempts > 1 || record.error().is_some());
    let errors = failed().count() as f64;
    let is_paid = |record: &CallRecord| {
        let status = facts.inquiries.get(&record.order).and_then(|inquired| inquired.status);
        let is_paid =
            |status| matches!(status, OrderStatus::Paid | OrderStatus::PartlyRefunded | OrderStatus::FullyRefunded);
        record.is_success() || status.is_some_and(is_paid)
    };
    let unpaid = measured.iter().filter(|r| r.kind == CallKind::Pay && !r.is_declined && !is_paid(r)).count();
    let (intended, answered_count) = intervals
        .iter()
        .filter(|interval| interval.target_rate > 0.0)
        .fold((0, 0), |(started, done), interval| (started + interval.started, done + interval.answered));
    let services = || facts.processes.iter().filter(|process| process.is_service);
    let per_call = |process: &ProcessUsage| cpu_us(process) / (recorded.records.len().max(1)) as f64;
    // A sum of no figures is -0, so 0 is added.
    let tenths = |us: f64| (us * 10.0).round() / 10.0 + 0.0;
    let generator = facts.processes.iter().filter(|process| process.name == GENERATOR);
    [
        ("p50_ms", answered.p50_ms),
        ("p90_ms", answered.p90_ms),
        ("p99_ms", answered.p99_ms),
        ("p999_ms", answered.p999_ms),
        ("p9999_ms", answered.p9999_ms),
        ("max_ms", answered.max_ms),
        ("final_p50_ms", finals.p50_ms),
        ("final_p99_ms", finals.p99_ms),
        ("final_max_ms", finals.max_ms),
        ("errors", errors),
        ("error_share", errors / measured.len().max(1) as f64),
        ("not_paid", unpaid as f64),
        ("error_window_ms", window_ms(failed())),
        ("retried", retried().count() as f64),
        ("retry_window_ms", window_ms(retried())),
        ("pause_ms", longest_pause_us(measured) as f64 / 1_000.0),
        ("achieved_share", answered_count as f64 / ((intended + recorded.dropped).max(1)) as f64),
        ("knee_rate", knee_rate(recorded, segments)),
        ("in_flight_max", intervals.iter().map(|interval| interval.in_flight).max().unwrap_or_default() as f64),
        ("cpu_us_per_call", tenths(services().map(per_call).sum())),
        ("generator_us_per_call", tenths(generator.map(per_call).sum())),
        ("resident_mib", highest_memory(&services().collect::<Vec<_>>())),
    ]
    .into_iter()
    .chain(overload_figures(recorded, measured, intervals, &facts.inquiries))
    .collect()
}

/// The time from the first to the last intended start of these calls, in ms.
fn window_ms<'a>(calls: impl Iterator<Item = &'a &'a CallRecord>) -> f64 {
    let starts: Vec<u64> = calls.map(|record| record.intended_us).collect();
    let window_us = starts.iter().max().zip(starts.iter().min()).map_or(0, |(last, first)| last - first);
    window_us as f64 / 1_000.0
}

/// The p99 of the calls that start while a flood lasts, as a multiple of that of the calls before
/// the first one; 0 without a flood, or without calls in one of the two.
fn flood_p99_ratio(measured: &[&CallRecord], scenario: &Scenario) -> f64 {
    let floods = || scenario.faults.iter().filter(|fault| fault.action.is_flood());
    let Some(first) = floods().map(|fault| fault.at_s).min_by(f64::total_cmp) else { return 0.0 };
    let in_flood = |at_s: f64| floods().any(|fault| (fault.at_s..fault.at_s + fault.for_s).contains(&at_s));
    let (mut before, mut during) = (latency_histogram(), latency_histogram());
    for record in measured {
        let at_s = record.intended_us as f64 / 1e6;
        if at_s < first {
            before.saturating_record(record.latency_us());
        } else if in_flood(at_s) {
            during.saturating_record(record.latency_us());
        }
    }
    if before.is_empty() || during.is_empty() {
        return 0.0;
    }
    LatencyFigures::of(&during).p99_ms / LatencyFigures::of(&before).p99_ms.max(0.001)
}

fn cpu_us(process: &ProcessUsage) -> f64 {
    let between = process.samples.windows(2).map(|two| two[1].cores * (two[1].at_s - two[0].at_s));
    between.sum::<f64>() * 1e6
}

/// The highest sum of the processes' memory at one moment.
fn highest_memory(processes: &[&ProcessUsage]) -> f64 {
    let moments = processes.iter().map(|process| process.samples.len()).max().unwrap_or_default();
    let sum = |at: usize| processes.iter().filter_map(|p| p.samples.get(at)).map(|sample| sample.resident_mib).sum();
    (0..moments).map(sum).fold(0.0, f64::max)
}

#[cfg(test)]
pub(crate) mod tests;
