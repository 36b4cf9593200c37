//! The outcome of a transfer that cannot be sent at present, and how soon its caller gets it: past
//! `send_by`, a full queue, an open circuit, no connection. Other movements are reported as not
//! sent, at once. An idempotent one waits until its `send_by`, and then is unknown.

#![allow(unreachable_pub, dead_code, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/stage.rs"]
mod stage;
#[path = "support/tasks.rs"]
mod tasks;

use std::ops::RangeInclusive;

use stage::{CALL_TIMEOUT_MS, LATENCY_MS, Stage};
use tasks::{SEND_BY_MS, at, charge};
use twqr_journal::Topic;
use twqr_order::{Limits, Task};

/// One call at a time, one that waits, and a circuit that opens at the first call without an
/// answer, for 1.5 s.
const SMALL: Limits =
    Limits { in_flight_max: 1, queue_max: 1, failures_to_open: 1, open_ms: 1_500, inquiries_per_s: 100 };
const SEND_BY: u64 = SEND_BY_MS as u64;
/// The longest time that counts as at once, in ms of virtual time.
const AT_ONCE_MS: i64 = 10;

fn small(number: u64, is_idempotent: bool) -> Task {
    Task { limits: SMALL, ..charge(number, is_idempotent) }
}

/// A stage with a worker whose issuer answers only if `answers`.
async fn stage(answers: bool) -> Stage {
    let stage = Stage::new(Topic::WalletTasks);
    if !answers {
        stage.issuer.state().silent.insert(String::new());
    }
    stage.start_worker("worker-0");
    stage.until(100).await;
    stage
}

fn at_once(ms: u64) -> RangeInclusive<i64> {
    let ms = ms.cast_signed();
    ms..=ms + AT_ONCE_MS
}

#[track_caller]
fn check(stage: &Stage, name: &str, outcome: &str, at: RangeInclusive<i64>) {
    let outcomes = stage.outcomes();
    let found = outcomes.iter().any(|(said, ms)| said == outcome && at.contains(ms));
    assert!(found, "{name}: {outcome} at {at:?} ms, but got {outcomes:?}; calls {:?}", stage.calls());
}

#[tokio::test(start_paused = true)]
async fn past_send_by() {
    for (is_idempotent, expected) in [(false, "1: not sent"), (true, "1: unknown")] {
        let stage = stage(true).await;
        stage.until(SEND_BY + 1).await;
        stage.append([charge(1, is_idempotent)]).await;
        stage.until(SEND_BY + 100).await;
        check(&stage, "a fresh task", expected, at_once(SEND_BY + 1));
        assert!(stage.calls().is_empty(), "nothing to inquire about yet: {:?}", stage.calls());
    }
}

#[tokio::test(start_paused = true)]
async fn past_send_by_in_the_transport() {
    for (is_idempotent, expected) in [(false, "1: not sent"), (true, "1: unknown")] {
        let stage = Stage::new(Topic::WalletTasks);
        stage.issuer.state().is_congested = true;
        stage.start_worker("worker-0");
        stage.until(SEND_BY - 100).await;
        stage.append([charge(1, is_idempotent)]).await;
        stage.until(SEND_BY + 50).await;
        stage.issuer.state().is_congested = false;
        stage.until(SEND_BY + 100).await;
        check(&stage, "handed over in time, and taken too late", expected, at_once(SEND_BY + 50));
        assert!(stage.calls().is_empty(), "{:?}", stage.calls());
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_queue() {
    for (is_idempotent, refused, expired) in [(false, "3: not sent", "2: not sent"), (true, "3: unknown", "2: unknown")]
    {
        let stage = stage(false).await;
        let limits = Limits { failures_to_open: 100, ..SMALL };
        let task = |number| Task { limits, ..charge(number, is_idempotent) };
        stage.append([task(1), task(2), task(3)]).await;
        stage.until(200).await;
        check(&stage, "the third", refused, at_once(100));
        assert_eq!(stage.outcomes().len(), 1, "the second one waits");
        // Its place is free once the first call has timed out.
        stage.until(100 + CALL_TIMEOUT_MS + 50).await;
        assert_eq!(stage.calls(), ["charge 1", "charge 2"]);
        // Those that wait until send_by are given up.
        stage.until(SEND_BY - 100).await;
        stage.append([task(4), task(5)]).await;
        stage.until(SEND_BY + 50).await;
        let expired = expired.replace('2', "5");
        check(&stage, "the one that waits", &expired, at_once(SEND_BY));
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit() {
    let opened = 100 + CALL_TIMEOUT_MS;
    let trial = opened + u64::from(SMALL.open_ms);
    for (is_idempotent, answers, expected, times) in [
        (false, true, "2: not sent", at_once(opened + 50)),
        (true, true, "2: done", at_once(trial + LATENCY_MS)),
        (true, false, "2: unknown", at_once(trial + CALL_TIMEOUT_MS)),
    ] {
        let stage = stage(false).await;
        stage.append([small(1, true)]).await;
        stage.until(opened + 50).await;
        if answers {
            stage.issuer.state().silent.clear();
        }
        stage.append([small(2, is_idempotent)]).await;
        stage.until(SEND_BY + 1_000).await;
        check(&stage, "after the first call has timed out", expected, times);
    }
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_stays_open_until_send_by() {
    let stage = stage(false).await;
    let limits = Limits { queue_max: 10, open_ms: 60_000, ..SMALL };
    stage.append([1, 2, 3].map(|number| Task { limits, ..charge(number, true) })).await;
    stage.until(1_000).await;
    stage.append([Task { limits, ..charge(4, false) }]).await;
    stage.until(SEND_BY + 100).await;
    for number in [2, 3] {
        check(&stage, "those that wait", &format!("{number}: unknown"), at_once(SEND_BY + 1));
    }
    check(&stage, "quick refusals stay quick while others wait", "4: not sent", at_once(1_000));
    assert_eq!(stage.calls(), ["charge 1"]);
}

#[tokio::test(start_paused = true)]
async fn no_connection() {
    for (is_idempotent, comes_back_ms, expected, times) in [
        (false, SEND_BY, "1: not sent", at_once(3_000)),
        (true, 4_000, "1: done", 4_000..=SEND_BY_MS),
        (true, SEND_BY + 500, "1: unknown", at_once(SEND_BY + 1)),
    ] {
        let stage = Stage::new(Topic::WalletTasks);
        stage.issuer.state().is_unreachable = true;
        stage.start_worker("worker-0");
        // A new holder waits for its first connection for two seconds.
        stage.until(3_000).await;
        stage.append([charge(1, is_idempotent)]).await;
        stage.until(comes_back_ms).await;
        stage.issuer.state().is_unreachable = false;
        stage.until(SEND_BY + 2_000).await;
        check(&stage, "until the connection is back", expected, times);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_while_transfers_wait() {
    let stage = stage(false).await;
    let limits = Limits { queue_max: 10, failures_to_open: 100, ..SMALL };
    stage.append([(1, true), (2, true), (3, false)].map(|(n, is)| Task { limits, ..charge(n, is) })).await;
    stage.until(300).await;
    stage.issuer.state().silent.clear();
    stage.issuer.break_connections();
    stage.until(1_000).await;
    check(&stage, "a call in flight is asked about", "1: unknown", at_once(300));
    check(&stage, "not idempotent", "3: not sent", at_once(300));
    check(&stage, "idempotent: sent over the next connection", "2: done", 300..=400);
    assert_eq!(stage.calls(), ["charge 1", "charge 2"]);
}

#[tokio::test(start_paused = true)]
async fn tasks_that_wait_for_one_institution_do_not_delay_another() {
    let stage = Stage::new(Topic::FiscTasks);
    stage.issuer.state().silent.insert("004".into());
    stage.start_worker("worker-0");
    stage.until(100).await;
    let limits = Limits { queue_max: 100_000, open_ms: 60_000, ..SMALL };
    stage.append((1..=10_000).map(|number| at("004", Task { limits, ..charge(number, true) }))).await;
    stage.append([at("812", charge(20_000, true))]).await;
    stage.until(2_000).await;
    check(&stage, "the other institution", "20000: done", 100..=1_000);
}
