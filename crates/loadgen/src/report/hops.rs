//! Divides the time of payments into their hops, from the answers to calls that asked for them. If
//! no answer has hops, the time is split at the moment of the charge in the simulator's ledger, in
//! whole ms, which needs the simulator on a synchronous clock.

use hdrhistogram::Histogram;
use serde::Serialize;
use twqr_wire::hops::{Hop, HopKind};

use super::latency_figures::LatencyFigures;
use crate::{
    generator::{CallRecord, HopSample, RecordedRun},
    latency_histogram,
    reconcile::Ledger,
    traffic::CallKind,
};

/// A part of a payment's time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HopFigures {
    /// The part of a call that it covers.
    pub name: &'static str,
    /// `working`, `waiting` or `unknown`.
    pub kind: &'static str,
    /// How long it took, of all payments: 0 for those that did not pass it.
    pub latency: LatencyFigures,
}

fn figures(name: &'static str, kind: HopKind, times: &Histogram<u64>) -> HopFigures {
    HopFigures { name, kind: kind.name(), latency: LatencyFigures::of(times) }
}

/// The parts of the paid payments' time; only the generator's part without hops and ledger.
pub(super) fn hops(recorded: &RecordedRun, measured: &[&CallRecord], ledger: Option<&Ledger>) -> Vec<HopFigures> {
    let is_warm_up = |sample: &&HopSample| {
        let segment = recorded.segments.get(usize::from(sample.record.segment));
        segment.is_some_and(|segment| segment.warm_up)
    };
    let samples = recorded.hops.iter().filter(|sample| is_paid(&sample.record));
    let samples: Vec<&HopSample> = samples.filter(|sample| !is_warm_up(sample)).collect();
    if samples.is_empty() { by_ledger(recorded, measured, ledger) } else { by_answers(&samples) }
}

fn is_paid(record: &CallRecord) -> bool {
    record.kind == CallKind::Pay && record.is_success()
}

fn by_answers(samples: &[&HopSample]) -> Vec<HopFigures> {
    let part = |name, kind, us: &dyn Fn(&HopSample) -> u64| {
        let mut times = latency_histogram();
        for sample in samples {
            times.saturating_record(us(sample));
        }
        figures(name, kind, &times)
    };
    let outside = [
        part(GENERATOR, HopKind::Waiting, &|sample| sample.record.start_lag_us()),
        part(NETWORK, HopKind::Unknown, &HopSample::outside_us),
    ];
    let hops = Hop::ALL.into_iter().map(|hop| part(hop.name(), hop.kind(), &|sample| sample.hops.us(hop)));
    outside.into_iter().chain(hops).collect()
}

/// The generator's own lateness.
pub(super) const GENERATOR: &str = "generator: intended start to sending";
/// What the client measured beyond the hops of an answer.
pub(super) const NETWORK: &str = "network and client";

fn by_ledger(recorded: &RecordedRun, measured: &[&CallRecord], ledger: Option<&Ledger>) -> Vec<HopFigures> {
    let began_ms = recorded.began.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64);
    let (mut lag, mut to_charge, mut to_answer) = (latency_histogram(), latency_histogram(), latency_histogram());
    for record in measured.iter().filter(|record| is_paid(record)) {
        lag.saturating_record(record.start_lag_us());
        let count = ledger.and_then(|ledger| ledger.counts.get(&record.order));
        let Some(count) = count.filter(|count| count.charged_at_ms > 0) else { continue };
        // Whole ms are rounded down: half a ms more is the better guess.
        let charged_us = count.charged_at_ms * 1_000 + 500 - began_ms;
        let between = |from: i64, to: i64| u64::try_from(to - from).unwrap_or_default();
        to_charge.saturating_record(between(record.sent_us.cast_signed(), charged_us));
        to_answer.saturating_record(between(charged_us, record.answered_us.cast_signed()));
    }
    let mut hops = vec![figures(GENERATOR, HopKind::Waiting, &lag)];
    if !to_charge.is_empty() {
        let (before, behind) = ("sending to the issuer's charge", "charge to answer");
        hops.push(figures(before, HopKind::Unknown, &to_charge));
        hops.push(figures(behind, HopKind::Unknown, &to_answer));
    }
    hops
}
