//! The run second by second: rates, latency, calls in flight, errors; and its longest pause.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{generator::CallRecord, latency_histogram, schedule::Segment};

/// One second of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Interval {
    /// Its beginning, in s since the run began.
    pub at_s: u64,
    /// The rate that the scenario intends in its middle, in starts per second.
    pub target_rate: f64,
    /// Calls whose intended start lies in it.
    pub started: u64,
    /// Calls that were answered in it.
    pub answered: u64,
    /// Calls whose intended start lies in it and that became errors.
    pub errors: u64,
    /// The same by reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub errors_by_reason: BTreeMap<String, u64>,
    /// Calls in flight at its end.
    pub in_flight: u64,
    /// Calls that were answered as in progress, and whose result was not final at its end.
    pub in_progress: u64,
    /// Median latency of the calls with their intended start in it, in ms.
    pub p50_ms: f64,
    /// The 99th percentile of the same.
    pub p99_ms: f64,
    /// The longest of the same.
    pub max_ms: f64,
}

const SECOND_US: u64 = 1_000_000;

/// The seconds of a run, from records in the order of their intended starts.
pub(super) fn intervals(records: &[CallRecord], segments: &[Segment]) -> Vec<Interval> {
    let ended_us = |record: &CallRecord| record.answered_us.max(record.intended_us).max(record.final_us);
    let seconds = records.iter().map(|record| ended_us(record) / SECOND_US + 1).max();
    let mut intervals: Vec<Interval> = (0..seconds.unwrap_or_default())
        .map(|at_s| Interval {
            at_s,
            target_rate: target_rate(at_s as f64 + 0.5, records, segments),
            ..Interval::default()
        })
        .collect();
    for second in records.chunk_by(|a, b| a.intended_us / SECOND_US == b.intended_us / SECOND_US) {
        let mut latencies = latency_histogram();
        let mut by_reason = BTreeMap::<String, u64>::new();
        for record in second {
            latencies.saturating_record(record.latency_us());
            if let Some(reason) = record.error() {
                *by_reason.entry(reason).or_default() += 1;
            }
        }
        let Some(interval) =
            second.first().and_then(|first| intervals.get_mut((first.intended_us / SECOND_US) as usize))
        else {
            continue;
        };
        let at = |quantile| latencies.value_at_quantile(quantile) as f64 / 1_000.0;
        (interval.started, interval.errors) = (second.len() as u64, by_reason.values().sum());
        interval.errors_by_reason = by_reason;
        (interval.p50_ms, interval.p99_ms, interval.max_ms) = (at(0.5), at(0.99), latencies.max() as f64 / 1_000.0);
    }
    for record in records {
        let (from, to) = (record.intended_us / SECOND_US, record.answered_us / SECOND_US);
        if let Some(interval) = intervals.get_mut(to as usize) {
            interval.answered += u64::from(record.error().is_none());
        }
        for interval in intervals.get_mut(from as usize..to as usize).unwrap_or_default() {
            interval.in_flight += 1;
        }
        if record.is_in_progress {
            // What was never final is in progress until the end.
            let final_s = if record.final_us == 0 { intervals.len() as u64 } else { record.final_us / SECOND_US };
            for interval in intervals.get_mut(to as usize..final_s as usize).unwrap_or_default() {
                interval.in_progress += 1;
            }
        }
    }
    intervals
}

/// The intended rate at a time. A staircase that ended early left levels out: those without a call
/// take no time.
fn target_rate(at_s: f64, records: &[CallRecord], segments: &[Segment]) -> f64 {
    let mut left = at_s;
    for (index, segment) in segments.iter().enumerate() {
        let is_left_out = segment.kind == crate::scenario::PhaseKind::Steps
            && records.binary_search_by_key(&index, |record| usize::from(record.segment)).is_err();
        if is_left_out {
            continue;
        }
        if left < segment.seconds {
            return segment.rate_at(left);
        }
        left -= segment.seconds;
    }
    0.0
}

/// The longest time without an answer while calls were waiting, in µs.
pub(super) fn longest_pause_us(records: &[&CallRecord]) -> u64 {
    // Starts sort before answers of the same moment.
    let mut events: Vec<(u64, bool, bool)> = Vec::with_capacity(records.len() * 2);
    for record in records {
        events.push((record.intended_us, false, false));
        events.push((record.answered_us.max(record.intended_us), true, record.error().is_none()));
    }
    events.sort_unstable();
    let (mut waiting, mut since, mut longest) = (0_u64, 0, 0);
    for (at, is_end, is_answer) in events {
        if !is_end {
            if waiting == 0 {
                since = at;
            }
            waiting += 1;
            continue;
        }
        waiting = waiting.saturating_sub(1);
        if is_answer || waiting == 0 {
            longest = longest.max(at - since);
            since = at;
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::{
        generator::{Reply, record_tests::paid},
        scenario::Scenario,
        schedule::segments,
    };

    #[test]
    fn each_second_has_its_calls_and_those_in_flight_at_its_end() {
        let text = "[[phase]]\nkind = \"ramp\"\nseconds = 4\nrate = 0\nto_rate = 8\n";
        let segments = segments(&Scenario::parse(text).unwrap());
        let slow = CallRecord { answered_us: 2_500_000, reply: Reply::Grpc(Code::Unavailable), ..paid(2, 900_000) };
        let intervals = intervals(&[paid(1, 100_000), slow, paid(3, 3_000_000)], &segments);
        let counts = |of: fn(&Interval) -> u64| intervals.iter().map(of).collect::<Vec<_>>();
        assert_eq!(counts(|interval| interval.started), [2, 0, 0, 1]);
        assert_eq!(counts(|interval| interval.answered), [1, 0, 0, 1]);
        assert_eq!(counts(|interval| interval.errors), [1, 0, 0, 0]);
        assert_eq!(counts(|interval| interval.in_flight), [1, 1, 0, 0]);
        assert!((intervals[1].target_rate - 3.0).abs() < 0.01, "{intervals:?}");
        assert_eq!(intervals[0].errors_by_reason, [("Unavailable".to_owned(), 1)].into());
    }

    #[test]
    fn a_call_is_in_progress_from_its_answer_until_its_result_is_final() {
        let text = "[[phase]]\nkind = \"hold\"\nseconds = 5\nrate = 1\n";
        let segments = segments(&Scenario::parse(text).unwrap());
        let open = |order, at_us, final_us| CallRecord { is_in_progress: true, final_us, ..paid(order, at_us) };
        let intervals = intervals(&[open(1, 100_000, 3_500_000), open(2, 2_000_000, 0)], &segments);
        let counts: Vec<u64> = intervals.iter().map(|interval| interval.in_progress).collect();
        assert_eq!(counts, [1, 1, 2, 1]);
    }

    #[test]
    fn a_pause_is_counted_only_while_calls_wait_and_only_answers_end_it() {
        let answered = |intended_us, answered_us| CallRecord { intended_us, answered_us, ..paid(1, intended_us) };
        let failed = |record| CallRecord { reply: Reply::Grpc(Code::Unavailable), ..record };
        let longest = |records: &[CallRecord]| longest_pause_us(&records.iter().collect::<Vec<_>>());
        assert_eq!(longest(&[]), 0);
        assert_eq!(longest(&[answered(0, 10), answered(5_000, 5_020)]), 20, "idle time is no pause");
        assert_eq!(longest(&[answered(0, 900), answered(100, 1_000), answered(200, 2_000)]), 1_000);
        assert_eq!(longest(&[failed(answered(0, 400)), answered(100, 700)]), 700, "an error ends no pause");
    }
}
