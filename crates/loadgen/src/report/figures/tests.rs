//! Tests of the summary: which calls count where, and that each named figure has a value.

#![allow(clippy::float_cmp, reason = "the figures are exact")]

use std::time::{Duration, SystemTime};

use tonic::Code;

use super::*;
use crate::{
    generator::{HopSample, Reply, record_tests::paid},
    reconcile::LedgerCount,
    scenario::FIGURES,
    schedule::segments,
};

const TEXT: &str = "thresholds = [\"p99_ms <= 25\", \"errors == 0\", \"knee_rate >= 20\"]\n\
    [[phase]]\nkind = \"hold\"\nseconds = 1\nrate = 10\nwarm_up = true\n\
    [[phase]]\nkind = \"steps\"\nseconds = 1\nrate = 10\nto_rate = 40\nstep = 10\nknee_p99_ms = 50\n";

fn recorded(scenario: &Scenario, records: Vec<CallRecord>) -> RecordedRun {
    let began = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
    let (hops, segments) = (Vec::new(), segments(scenario));
    RecordedRun { records, hops, segments, dropped: 0, began, run: "run".into() }
}

fn run() -> (Scenario, RecordedRun) {
    let scenario = Scenario::parse(TEXT).unwrap();
    let at =
        |segment: u16, order| CallRecord { segment, ..paid(order, u64::from(segment) * 1_000_000 + order * 1_000) };
    let warm = CallRecord { answered_us: 900_000, ..at(0, 1) };
    let open = CallRecord { is_in_progress: true, final_us: 1_502_000, reply: Reply::Status(*b"982"), ..at(1, 2) };
    let slow = CallRecord { answered_us: 3_080_000, attempts: 3, ..at(3, 4) };
    let failed = CallRecord { reply: Reply::Grpc(Code::Unavailable), ..at(3, 5) };
    let late = CallRecord { intended_us: 3_900_000, answered_us: 3_950_000, ..failed };
    let records = vec![warm, open, at(2, 3), slow, failed, CallRecord { order: 6, ..late }];
    (scenario.clone(), recorded(&scenario, records))
}

#[test]
fn warm_up_counts_nowhere_and_each_figure_has_its_value() {
    let (scenario, recorded) = run();
    let paid_later = InquiredOrder { status: Some(OrderStatus::Paid), code: *b"000", debit: 9 };
    let facts = RunFacts { inquiries: [(2, paid_later)].into(), ..RunFacts::default() };
    let summary = summarize(&scenario, &recorded, facts);
    let figure = |name: &str| summary.figures[name];
    assert_eq!(summary.answered.count, 5);
    assert_eq!((figure("errors"), figure("error_share"), figure("not_paid")), (2.0, 0.4, 2.0));
    assert_eq!(figure("error_window_ms"), 895.0);
    assert_eq!((figure("retried"), figure("retry_window_ms")), (3.0, 896.0));
    assert_eq!(figure("knee_rate"), 20.0);
    assert_eq!(summary.finals.max_ms.floor(), 500.0, "a payment in progress ends when it is final");
    assert_eq!(summary.errors_by_reason, [("Unavailable".to_owned(), 2)].into());
    assert_eq!(summary.results["982 in progress"], 1);
    let met: Vec<bool> = summary.thresholds.iter().map(|threshold| threshold.is_met).collect();
    assert_eq!((met, summary.meets_thresholds()), (vec![false, false, true], false));
    let named: Vec<&str> = FIGURES.iter().map(|figure| figure.name).collect();
    assert_eq!(summary.figures.len(), named.len());
    assert!(named.iter().all(|name| summary.figures.contains_key(name)));
}

#[test]
fn the_time_of_a_payment_is_split_at_the_issuers_charge() {
    let (scenario, recorded) = run();
    let count = LedgerCount { charges: 1, charged: 9, charged_at_ms: 1_002_004, ..LedgerCount::default() };
    let ledger = Ledger { counts: [(3, count)].into() };
    let summary = summarize(&scenario, &recorded, RunFacts { ledger: Some(ledger), ..RunFacts::default() });
    let hops: Vec<(&str, u64)> = summary.hops.iter().map(|hop| (hop.kind, hop.latency.count)).collect();
    assert_eq!(hops, [("waiting", 2), ("unknown", 1), ("unknown", 1)]);
    let parts: f64 = summary.hops[1..].iter().map(|hop| hop.latency.max_ms).sum();
    assert!((parts - 1.95).abs() < 0.01, "sent to answered: {parts}");
}

#[test]
fn the_hops_of_answers_are_averaged_over_all_payments_that_asked() {
    let (scenario, mut recorded) = run();
    let sample = |order, segment, hops: &str| {
        let record = CallRecord { segment, ..paid(order, 0) };
        HopSample { record, hops: hops.parse().unwrap() }
    };
    recorded.hops = vec![
        sample(1, 0, "total=1900us backend=1900us"),
        sample(2, 1, "total=1900us ingress=100us orders_wait=800us backend=1000us"),
        sample(3, 1, "total=1700us ingress=100us backend=1600us"),
    ];
    let summary = summarize(&scenario, &recorded, RunFacts::default());
    let mean = |name: &str| {
        let hop = summary.hops.iter().find(|hop| hop.name == name).unwrap();
        assert_eq!(hop.latency.count, 2, "{name}: the warm-up counts nowhere");
        (hop.kind, (hop.latency.mean_ms * 100.0).round() / 100.0)
    };
    assert_eq!(mean("orders_wait"), ("waiting", 0.4));
    assert_eq!((mean("backend"), mean("ingress")), (("working", 1.3), ("working", 0.1)));
    assert_eq!(mean("network and client"), ("unknown", 0.15));
    let all: f64 = summary.hops.iter().map(|hop| hop.latency.mean_ms).sum();
    assert!((all - 2.0).abs() < 0.02, "from the intended start to the answer: {all}");
}

#[test]
fn cpu_and_memory_are_those_of_the_services() {
    let (scenario, recorded) = run();
    let sample = |at_s, cores, resident_mib| UsageSample { at_s, cores, resident_mib };
    let process = |name: &str, is_service| ProcessUsage {
        name: name.into(),
        is_service,
        samples: vec![sample(0.0, 0.0, 100.0), sample(1.0, 0.6, 120.0), sample(3.0, 0.3, 90.0)],
    };
    let processes = vec![process("router-0", true), process("ingress-0", true), process(GENERATOR, false)];
    let summary = summarize(&scenario, &recorded, RunFacts { processes, ..RunFacts::default() });
    assert_eq!(summary.figures["resident_mib"], 240.0);
    assert_eq!(summary.figures["cpu_us_per_call"], (2.4e6_f64 / 6.0 * 10.0).round() / 10.0);
    assert_eq!(summary.figures["generator_us_per_call"], (1.2e6_f64 / 6.0 * 10.0).round() / 10.0);
}

#[test]
fn calls_are_counted_by_the_channel_on_which_they_were_sent() {
    let (scenario, mut recorded) = run();
    for record in recorded.records.iter_mut().skip(4) {
        record.channel = CallChannel::GrpcStream;
    }
    let summary = summarize(&scenario, &recorded, RunFacts::default());
    let counts: Vec<_> =
        summary.channels.iter().map(|figures| (figures.channel, figures.calls, figures.errors)).collect();
    assert_eq!(counts, [("grpc", 3, 0), ("grpc_stream", 2, 2)]);
}

#[test]
fn calls_during_any_flood_are_compared_with_those_before_it() {
    let at = |order, intended_us: u64, latency_us| CallRecord {
        segment: 1,
        answered_us: intended_us + latency_us,
        ..paid(order, intended_us)
    };
    // The second is before a flood, the third within it, and the last after it.
    let records =
        vec![at(1, 1_100_000, 10_000), at(2, 1_900_000, 10_000), at(3, 2_500_000, 30_000), at(4, 3_500_000, 90_000)];
    let fault = |action: &str| format!("[[fault]]\nat_s = 2\nfor_s = 1\n{action}\n");
    for (faults, expected) in [
        (fault("action = \"flood\"\nrate = 9"), 3.0),
        (fault("action = \"flood-caller\"\nrate = 9\ncalls_per_s = 8\ncalls_max = 1"), 3.0),
        (fault("action = \"restart-all\""), 0.0),
    ] {
        let scenario = Scenario::parse(&format!("{TEXT}{faults}")).unwrap();
        let summary = summarize(&scenario, &recorded(&scenario, records.clone()), RunFacts::default());
        // Histograms have three digits.
        let ratio = summary.figures["flood_p99_ratio"];
        assert!((ratio - expected).abs() < 0.01, "{faults}: {ratio}");
    }
}

/// The summary of a small run with everything in it, for the page's tests.
pub(crate) fn example_summary() -> LoadSummary {
    let (scenario, recorded) = run();
    let samples = vec![UsageSample { at_s: 1.0, cores: 0.5, resident_mib: 90.0 }];
    let processes = vec![ProcessUsage { name: "router-0".into(), is_service: true, samples }];
    let faults = vec![FaultNote { at_s: 1.5, text: "kill router-0".into() }];
    let reconciliation =
        Some(Reconciliation { faults: vec!["T1: <twice>".into()], twice: 1, ..Reconciliation::default() });
    let validity = ValidityFacts { reconciliation, ..ValidityFacts::default() };
    summarize(&scenario, &recorded, RunFacts { validity, processes, faults, ..RunFacts::default() })
}
