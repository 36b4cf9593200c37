//! Where the time of a payment went: what the generator waited, what passed until the issuer
//! charged, and what passed from there to the answer. The moment of the charge is the one in the
//! simulator's ledger, in whole ms, so the figures need the simulator on a synchronous clock.

use serde::Serialize;

use super::latency_figures::LatencyFigures;
use crate::{
    generator::{CallRecord, RecordedRun},
    latency_histogram,
    reconcile::Ledger,
    traffic::CallKind,
};

/// A part of a payment's time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HopFigures {
    /// What passes in it.
    pub name: &'static str,
    /// Whether the payment only waits in it.
    pub is_waiting: bool,
    /// How long it took.
    pub latency: LatencyFigures,
}

/// The parts of the paid payments' time; only the generator's part without a ledger.
pub(super) fn hops(recorded: &RecordedRun, measured: &[&CallRecord], ledger: Option<&Ledger>) -> Vec<HopFigures> {
    let began_ms = recorded.began.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64);
    let (mut lag, mut to_charge, mut to_answer) = (latency_histogram(), latency_histogram(), latency_histogram());
    let paid = measured.iter().filter(|record| record.kind == CallKind::Pay && record.is_success());
    for record in paid {
        lag.saturating_record(record.start_lag_us());
        let count = ledger.and_then(|ledger| ledger.counts.get(&record.order));
        let Some(count) = count.filter(|count| count.charged_at_ms > 0) else { continue };
        // Whole ms are rounded down: half a ms more is the better guess.
        let charged_us = count.charged_at_ms * 1_000 + 500 - began_ms;
        let between = |from: i64, to: i64| u64::try_from(to - from).unwrap_or_default();
        to_charge.saturating_record(between(record.sent_us.cast_signed(), charged_us));
        to_answer.saturating_record(between(charged_us, record.answered_us.cast_signed()));
    }
    let hop = |name, is_waiting, histogram| HopFigures { name, is_waiting, latency: LatencyFigures::of(histogram) };
    let mut hops = vec![hop("generator: intended start to sending", true, &lag)];
    if !to_charge.is_empty() {
        hops.push(hop("router and worker: sending to the issuer's charge", false, &to_charge));
        hops.push(hop("issuer, worker and router: charge to answer", false, &to_answer));
    }
    hops
}
