//! The slow calls of a run, each attributed to the part of its time that was longest beyond what is
//! usual. So a maximum is explained by a hop, and not only by its size.

use std::collections::{BTreeMap, HashSet};

use hdrhistogram::Histogram;
use serde::Serialize;
use twqr_wire::hops::Hop;

use super::hops::{GENERATOR, NETWORK};
use crate::{
    generator::{CallRecord, HopSample, RecordedRun},
    latency_histogram,
    traffic::trade_no,
};

/// How many slow calls the report names; it counts all.
const NAMED_MAX: usize = 500;

/// The slow calls of a run; those of warm-up phases are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SlowCalls {
    /// The time beyond which a call is slow, in ms.
    pub limit_ms: f64,
    /// All slow calls.
    pub count: u64,
    /// The slow calls whose answers have no hops.
    pub unattributed: u64,
    /// The attributed ones by hop, most calls first.
    pub by_hop: Vec<SlowHop>,
    /// The longest attributed ones, in the order of time.
    pub calls: Vec<SlowCall>,
}

/// The slow calls that are attributed to one hop.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SlowHop {
    /// The hop that was longest beyond its median.
    pub hop: &'static str,
    /// How many calls it made slow.
    pub calls: u64,
    /// The longest time of one of them from the intended start to the answer, in ms.
    pub longest_ms: f64,
}

/// A slow call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SlowCall {
    /// Its intended start, in s since the run began.
    pub at_s: f64,
    /// The MerchantTradeNo of the order that it is about.
    pub merchant_trade_no: String,
    /// The time from the intended start to the answer, in ms.
    pub latency_ms: f64,
    /// The hop that took longest beyond its median.
    pub hop: &'static str,
    /// How long that hop took, in ms.
    pub hop_ms: f64,
    /// The median of that hop in this run, in ms.
    pub usual_ms: f64,
}

/// The parts of a call's time, which sum to its latency.
const PARTS: usize = Hop::ALL.len() + 2;

fn names() -> impl Iterator<Item = &'static str> {
    [GENERATOR, NETWORK].into_iter().chain(Hop::ALL.into_iter().map(Hop::name))
}

fn parts_us(sample: &HopSample) -> impl Iterator<Item = u64> {
    let outside = [sample.record.start_lag_us(), sample.outside_us()];
    outside.into_iter().chain(Hop::ALL.into_iter().map(|hop| sample.hops.us(hop)))
}

/// Finds the slow calls among the measured ones.
pub(super) fn slow_calls(recorded: &RecordedRun, measured: &[&CallRecord], limit_ms: f64) -> SlowCalls {
    let is_slow = |record: &CallRecord| record.latency_us() as f64 > limit_ms * 1_000.0;
    let is_warm_up =
        |record: &CallRecord| recorded.segments.get(usize::from(record.segment)).is_some_and(|s| s.warm_up);
    let samples: Vec<&HopSample> = recorded.hops.iter().filter(|sample| !is_warm_up(&sample.record)).collect();
    let usual_us = medians_us(&samples);
    let slow = samples.into_iter().filter(|sample| is_slow(&sample.record));
    let mut calls: Vec<SlowCall> = slow.clone().map(|sample| attributed(sample, &usual_us, &recorded.run)).collect();
    let explained: HashSet<(u64, u64)> = slow.map(|sample| identity(&sample.record)).collect();
    let others = measured.iter().filter(|record| is_slow(record) && !explained.contains(&identity(record)));
    let mut unattributed = 0;
    for record in others {
        // Without hops, too, it is known how late the generator was.
        if record.start_lag_us() * 2 > record.latency_us() {
            calls.push(late_start(record, &recorded.run));
        } else {
            unattributed += 1;
        }
    }
    let (count, by_hop) = (unattributed + calls.len() as u64, by_hop(&calls));
    calls.sort_by(|a, b| b.latency_ms.total_cmp(&a.latency_ms));
    calls.truncate(NAMED_MAX);
    calls.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
    SlowCalls { limit_ms, count, unattributed, by_hop, calls }
}

/// The fields that identify a call within the run.
fn identity(record: &CallRecord) -> (u64, u64) {
    (record.intended_us, record.order)
}

fn medians_us(samples: &[&HopSample]) -> [u64; PARTS] {
    let mut times: Vec<Histogram<u64>> = (0..PARTS).map(|_| latency_histogram()).collect();
    for sample in samples {
        for (times, us) in times.iter_mut().zip(parts_us(sample)) {
            times.saturating_record(us);
        }
    }
    let mut medians = [0; PARTS];
    for (median, times) in medians.iter_mut().zip(&times) {
        *median = times.value_at_quantile(0.5);
    }
    medians
}

fn attributed(sample: &HopSample, usual_us: &[u64; PARTS], run: &str) -> SlowCall {
    let parts = names().zip(parts_us(sample)).zip(usual_us);
    let ((hop, us), usual) =
        parts.max_by_key(|((_, us), usual)| us.saturating_sub(**usual)).unwrap_or(((NETWORK, 0), &0));
    SlowCall { hop, hop_ms: ms(us), usual_ms: ms(*usual), ..late_start(&sample.record, run) }
}

/// A call that is attributed to the generator's lateness.
fn late_start(record: &CallRecord, run: &str) -> SlowCall {
    SlowCall {
        at_s: record.intended_us as f64 / 1e6,
        merchant_trade_no: trade_no(run, record.order),
        latency_ms: ms(record.latency_us()),
        hop: GENERATOR,
        hop_ms: ms(record.start_lag_us()),
        usual_ms: 0.0,
    }
}

fn by_hop(calls: &[SlowCall]) -> Vec<SlowHop> {
    let mut hops: BTreeMap<&'static str, SlowHop> = BTreeMap::new();
    for call in calls {
        let hop = hops.entry(call.hop).or_insert_with(|| SlowHop { hop: call.hop, ..SlowHop::default() });
        hop.calls += 1;
        hop.longest_ms = hop.longest_ms.max(call.latency_ms);
    }
    let mut hops: Vec<SlowHop> = hops.into_values().collect();
    hops.sort_by_key(|hop| std::cmp::Reverse(hop.calls));
    hops
}

fn ms(us: u64) -> f64 {
    us as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::{generator::record_tests::paid, scenario::Scenario, schedule::segments};

    const HOLD: &str = "[[phase]]\nkind = \"hold\"\nseconds = 9\nrate = 1\n";

    fn call(order: u64, segment: u16, lag_us: u64, latency_us: u64) -> CallRecord {
        let at_us = order * 1_000_000;
        CallRecord { segment, sent_us: at_us + lag_us, answered_us: at_us + latency_us, ..paid(order, at_us) }
    }

    #[test]
    fn each_slow_call_is_attributed_to_the_hop_that_took_longest_beyond_its_median() {
        let scenario = Scenario::parse(&format!("{HOLD}warm_up = true\n{HOLD}")).unwrap();
        let usual = "total=91000us orders_wait=1000us backend=90000us";
        let sampled = [
            (call(1, 1, 0, 91_000), usual),
            (call(2, 1, 0, 91_000), usual),
            (call(3, 1, 0, 91_000), usual),
            // The backend takes longest, as usual; the queue is what made the call slow.
            (call(4, 1, 0, 160_000), "total=160000us orders_wait=70000us backend=90000us"),
            (call(5, 1, 0, 200_000), "total=91000us orders_wait=1000us backend=90000us"),
            (call(6, 1, 150_000, 241_000), usual),
            (call(7, 0, 0, 900_000), "total=900000us backend=900000us"),
        ];
        let without = [call(8, 1, 0, 100_000), call(9, 1, 20, 100_001), call(10, 1, 80_000, 120_000)];
        let records: Vec<CallRecord> = sampled.iter().map(|(record, _)| *record).chain(without).collect();
        let hops = sampled.map(|(record, hops)| HopSample { record, hops: hops.parse().unwrap() }).to_vec();
        let (segments, began) = (segments(&scenario), SystemTime::UNIX_EPOCH);
        let recorded = RecordedRun { records, hops, segments, dropped: 0, began, run: "run".into() };
        let found = slow_calls(&recorded, &recorded.measured().collect::<Vec<_>>(), 100.0);
        let calls: Vec<_> =
            found.calls.iter().map(|call| (call.merchant_trade_no.as_str(), call.hop, call.hop_ms)).collect();
        assert_eq!(
            calls,
            [
                ("run-4", "orders_wait", 70.0),
                ("run-5", NETWORK, 109.0),
                ("run-6", GENERATOR, 150.0),
                ("run-10", GENERATOR, 80.0)
            ]
        );
        assert_eq!((found.count, found.unattributed), (5, 1));
        let hops: Vec<_> = found.by_hop.iter().map(|hop| (hop.hop, hop.calls, hop.longest_ms)).collect();
        assert_eq!(hops[0], (GENERATOR, 2, 241.0), "{hops:?}");
        assert_eq!(hops.len(), 3);
    }
}
