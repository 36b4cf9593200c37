//! The hops of a task, in virtual time: what a slow issuer takes is the backend's, what other calls
//! take in front of it is waiting, and a task whose call did not ask has none.

#![allow(unreachable_pub, dead_code, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/stage.rs"]
mod stage;
#[path = "support/tasks.rs"]
mod tasks;

use stage::{LATENCY_MS, Stage};
use tasks::charge;
use twqr_journal::Topic;
use twqr_order::{Limits, Task};
use twqr_wire::hops::Hop;

/// One call at a time.
const NARROW: Limits =
    Limits { in_flight_max: 1, queue_max: 10, failures_to_open: 10, open_ms: 1_500, inquiries_per_s: 100 };

fn narrow(number: u64) -> Task {
    Task { limits: NARROW, ..charge(number, false) }
}

#[tokio::test(start_paused = true)]
async fn a_slow_issuer_is_the_backends_time_and_the_queue_before_it_is_waiting() {
    let stage = Stage::new(Topic::WalletTasks);
    stage.start_worker("worker-0");
    stage.until(200).await;
    stage.append_with_hops(narrow(1)).await;
    stage.append_with_hops(narrow(2)).await;
    stage.append([narrow(3)]).await;
    stage.append_with_hops(narrow(4)).await;
    stage.until(500).await;
    let outcomes = stage.outcome_hops();
    let numbers: Vec<u64> = outcomes.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [1, 2, 3, 4], "{outcomes:?}");
    let latency_us = LATENCY_MS.cast_signed() * 1_000;
    for ((number, hops), in_front) in outcomes.into_iter().zip(0..) {
        let Some(times) = hops else {
            assert_eq!(number, 3);
            continue;
        };
        assert_eq!(times.correlation, number);
        let about = |hop, expected: i64| {
            let us = times.us(hop);
            assert!((expected..=expected + 5_000).contains(&us), "task {number}, {hop:?}: {us}; {times:?}");
        };
        about(Hop::Backend, latency_us);
        // Behind the first, each waits for all that are in front of it, less its later arrival.
        let waited = times.us(Hop::WorkerWait) + times.us(Hop::TasksWait);
        let least = latency_us * in_front;
        assert!((least - 5_000..=least + 10_000).contains(&waited), "task {number}: {times:?}");
        assert!(times.us(Hop::WorkerWait) > 0 || in_front == 0, "task {number}: {times:?}");
        about(Hop::Worker, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_without_an_answer_is_the_backends_time_too() {
    let stage = Stage::new(Topic::WalletTasks);
    stage.issuer.state().silent.insert(String::new());
    stage.start_worker("worker-0");
    stage.until(200).await;
    stage.append_with_hops(narrow(1)).await;
    stage.until(900).await;
    let outcomes = stage.outcome_hops();
    let [(1, Some(times))] = outcomes[..] else { unreachable!("{outcomes:?}") };
    let timeout_us = stage::CALL_TIMEOUT_MS.cast_signed() * 1_000;
    assert!(times.us(Hop::Backend) >= timeout_us, "{times:?}");
}
