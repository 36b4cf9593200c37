//! The figures of the segment of a run with the highest rate, and how soon latencies were as before
//! after it.

use std::collections::HashMap;

use tonic::Code;
use twqr_wire::pos::OrderStatus;

use super::{latency_figures::LatencyFigures, over_time::Interval};
use crate::{
    generator::{CallRecord, RecordedRun, Reply},
    latency_histogram,
    reconcile::InquiredOrder,
    schedule::Segment,
    traffic::{CallChannel, CallKind},
};

/// The StatusCode of a payment that was never sent.
const NOT_SENT: [u8; 3] = *b"982";
/// How many seconds in a row must be as before.
const CALM_S: usize = 3;
/// Once the p99 of a second is at most this many times the p99 before, the second is as before.
const CALM_P99_RATIO: f64 = 2.0;
/// A p99 of less is as before, in ms: below it, one pause of the machine decides.
const CALM_P99_MS: f64 = 50.0;

/// The figures, by the names that thresholds use. `measured` has no call of a warm-up.
pub(super) fn overload_figures(
    recorded: &RecordedRun,
    measured: &[&CallRecord],
    intervals: &[Interval],
    inquiries: &HashMap<u64, InquiredOrder>,
) -> [(&'static str, f64); 6] {
    let payments = || measured.iter().filter(|record| record.kind == CallKind::Pay);
    let is_not_sent = |record: &&&CallRecord| {
        let found = inquiries.get(&record.order);
        !record.is_declined && found.is_some_and(|o| o.status == Some(OrderStatus::Failed) && o.code == NOT_SENT)
    };
    let busiest = busiest(&recorded.segments);
    let in_busiest = |record: &&&CallRecord| Some(usize::from(record.segment)) == busiest.map(|(index, _)| index);
    let paid = payments().filter(in_busiest).filter(|record| record.is_success()).count() as f64;
    let all = payments().filter(in_busiest).count().max(1) as f64;
    let seconds = busiest.map_or(1.0, |(_, segment)| segment.seconds.max(0.001));
    let mut accepted = latency_histogram();
    for record in measured.iter().filter(in_busiest).filter(|record| record.is_accepted()) {
        accepted.saturating_record(record.latency_us());
    }
    [
        ("busiest_paid_per_s", paid / seconds),
        ("busiest_paid_share", paid / all),
        ("busiest_accepted_p99_ms", LatencyFigures::of(&accepted).p99_ms),
        ("calm_after_s", busiest.map_or(0.0, |(index, _)| calm_after_s(&recorded.segments, index, intervals))),
        ("not_sent", payments().filter(is_not_sent).count() as f64),
        ("shed", measured.iter().filter(|record| is_shed(record)).count() as f64),
    ]
}

/// Whether the system refused the call because it was busy.
fn is_shed(record: &CallRecord) -> bool {
    match record.reply {
        Reply::Grpc(code) => code == Code::ResourceExhausted,
        Reply::Status(code) => record.channel == CallChannel::Http && &code == b"301",
        Reply::Http(_) | Reply::Broken => false,
    }
}

/// The segment with the highest rate in its middle.
fn busiest(segments: &[Segment]) -> Option<(usize, &Segment)> {
    let rate = |segment: &Segment| segment.rate_at(segment.seconds / 2.0);
    let measured = segments.iter().enumerate().filter(|(_, segment)| !segment.warm_up);
    measured.max_by(|(_, a), (_, b)| rate(a).total_cmp(&rate(b)))
}

/// How long after the busiest segment the seconds are as those before it: without errors, and no
/// slower. If that never happens, or nothing follows, the time until the end of the run.
fn calm_after_s(segments: &[Segment], busiest: usize, intervals: &[Interval]) -> f64 {
    let seconds = |upto: usize| segments.iter().take(upto).map(|segment| segment.seconds).sum::<f64>();
    let (began, ended) = (seconds(busiest), seconds(busiest + 1));
    let before = intervals.iter().filter(|interval| ((interval.at_s + 1) as f64) <= began && interval.started > 0);
    let mut before: Vec<f64> = before.map(|interval| interval.p99_ms).collect();
    before.sort_by(f64::total_cmp);
    let usual = before.get(before.len() / 2).copied().unwrap_or_default();
    let limit = (usual * CALM_P99_RATIO).max(CALM_P99_MS);
    let after: Vec<bool> = intervals
        .iter()
        .filter(|interval| interval.at_s as f64 >= ended && interval.started > 0)
        .map(|interval| interval.errors == 0 && interval.p99_ms <= limit)
        .collect();
    let calm = after.windows(CALM_S).position(|seconds| seconds.iter().all(|is_calm| *is_calm));
    calm.unwrap_or(after.len()) as f64
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::{
        generator::record_tests::paid, reconcile::InquiredOrder, report::over_time::intervals, scenario::Scenario,
        schedule::segments,
    };

    const PHASE: &str = "[[phase]]\nkind = \"hold\"\n";

    #[test]
    fn the_busiest_phase_and_the_time_after_it_have_figures_of_their_own() {
        let text =
            format!("{PHASE}seconds = 2\nrate = 4\n{PHASE}seconds = 2\nrate = 10\n{PHASE}seconds = 6\nrate = 4\n");
        let segments = segments(&Scenario::parse(&text).unwrap());
        let mut records = Vec::new();
        for second in 0..10_u64 {
            let segment = [0, 0, 1, 1, 2, 2, 2, 2, 2, 2][second as usize];
            for n in 0..4 {
                let record = paid(second * 4 + n, second * 1_000_000 + n * 200_000);
                let is_refused = (segment == 1 && n > 0) || (second == 4 && n == 2);
                let reply = if is_refused { Reply::Grpc(Code::ResourceExhausted) } else { record.reply };
                records.push(CallRecord { segment, reply, ..record });
            }
        }
        records[8].answered_us += 700_000;
        let intervals = intervals(&records, &segments);
        let failed = InquiredOrder { status: Some(OrderStatus::Failed), code: NOT_SENT, debit: 0 };
        let declined = InquiredOrder { code: *b"928", ..failed };
        let inquiries = [(8, failed), (9, declined)].into();
        let measured: Vec<&CallRecord> = records.iter().collect();
        let recorded = RecordedRun {
            hops: Vec::new(),
            records: records.clone(),
            segments,
            dropped: 0,
            began: SystemTime::UNIX_EPOCH,
            run: "run".into(),
        };
        let figures = overload_figures(&recorded, &measured, &intervals, &inquiries);
        let of = |name: &str| figures.iter().find(|figure| figure.0 == name).map(|figure| figure.1).unwrap();
        assert!((of("busiest_paid_per_s") - 1.0).abs() < 1e-9 && (of("busiest_paid_share") - 0.25).abs() < 1e-9);
        assert!((of("busiest_accepted_p99_ms") - 702.0).abs() < 1.0, "{figures:?}");
        assert!((of("calm_after_s") - 1.0).abs() < 1e-9, "the first second after it has an error: {figures:?}");
        assert!((of("not_sent") - 1.0).abs() < 1e-9 && (of("shed") - 7.0).abs() < 1e-9, "{figures:?}");
    }
}
