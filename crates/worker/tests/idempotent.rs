//! A task of an idempotent movement that may have been sent is sent again until its `send_by`; any
//! other is inquired about (protocol rule P6). So a worker's crash costs no such payment.

#![allow(unreachable_pub, dead_code, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/stage.rs"]
mod stage;
#[path = "support/tasks.rs"]
mod tasks;

use stage::Stage;
use tasks::{SEND_BY_MS, charge, refund, reversal};
use twqr_journal::Topic;
use twqr_order::{Limits, Task};

/// A worker sends tasks, gets no answer and crashes; the next one begins at `takes_over_ms`.
/// Returns the calls that arrived, and the outcomes.
async fn take_over(tasks: Vec<Task>, is_lost: bool, takes_over_ms: u64) -> (Vec<String>, Vec<String>) {
    let stage = Stage::new(Topic::WalletTasks);
    stage.issuer.state().silent.insert(String::new());
    stage.issuer.state().loses_transfers = is_lost;
    let first = stage.start_worker("worker-0");
    stage.until(100).await;
    stage.append(tasks).await;
    stage.until(200).await;
    first.crash();
    {
        let mut issuer = stage.issuer.state();
        issuer.silent.clear();
        issuer.loses_transfers = false;
    }
    stage.until(takes_over_ms).await;
    stage.start_worker("worker-1");
    stage.until(20_000).await;
    (stage.calls(), stage.outcomes().into_iter().map(|(outcome, _)| outcome).collect())
}

#[tokio::test(start_paused = true)]
async fn a_dead_workers_task_is_sent_again_if_it_is_idempotent_and_inquired_about_otherwise() {
    let late = SEND_BY_MS.cast_unsigned() + 1;
    for (name, task, is_lost, takes_over_ms, calls, outcome) in [
        ("an idempotent charge that arrived", charge(1, true), false, 300, ["charge 1", "charge 1"], "done"),
        ("an idempotent charge that was lost", charge(1, true), true, 300, ["charge 1", "charge 1"], "done"),
        ("an idempotent refund", refund(1, true), true, 300, ["refund 1", "refund 1"], "done"),
        ("another charge that arrived", charge(1, false), false, 300, ["charge 1", "inquiry 1"], "done"),
        ("another charge that was lost", charge(1, false), true, 300, ["charge 1", "inquiry 1"], "unknown"),
        ("another refund", refund(1, false), true, 300, ["refund 1", "inquiry 1"], "unknown"),
        ("a reversal, whatever its task says", reversal(1, true), true, 300, ["reversal 1", "inquiry 1"], "unknown"),
        ("after send_by, arrived", charge(1, true), false, late, ["charge 1", "inquiry 1"], "done"),
        ("after send_by, lost", charge(1, true), true, late, ["charge 1", "inquiry 1"], "unknown"),
    ] {
        let seen = take_over(vec![task], is_lost, takes_over_ms).await;
        let expected = (calls.map(String::from).to_vec(), vec![format!("1: {outcome}")]);
        assert_eq!(seen, expected, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_task_says_for_itself_whether_it_is_sent_again() {
    let tasks = vec![charge(1, true), charge(2, false), charge(3, true)];
    let (mut calls, _) = take_over(tasks, true, 300).await;
    calls.drain(..3);
    calls.sort();
    assert_eq!(calls, ["charge 1", "charge 3", "inquiry 2"]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_inquires_about_its_own_calls_and_repeats_none() {
    let stage = Stage::new(Topic::WalletTasks);
    stage.issuer.state().silent.insert(String::new());
    stage.start_worker("worker-0");
    for (at, call) in [(100, "charge 1"), (200, "inquiry 1"), (2_000, "inquiry 1")] {
        stage.until(at).await;
        stage.append([charge(1, true)]).await;
        stage.until(at + 80).await;
        assert_eq!(stage.calls().last().unwrap(), call, "the router has emitted the task at {at} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_its_router_emitted_out_of_order_is_sent_if_it_is_idempotent() {
    for (is_idempotent, call) in [(true, "charge 1"), (false, "inquiry 1")] {
        let stage = Stage::new(Topic::WalletTasks);
        stage.start_worker("worker-0");
        stage.until(100).await;
        stage.append([charge(2, is_idempotent), charge(1, is_idempotent)]).await;
        stage.until(500).await;
        assert_eq!(stage.calls(), ["charge 2", call]);
    }
}

#[tokio::test(start_paused = true)]
async fn tasks_that_are_sent_again_pass_the_lane() {
    let limits = Limits { in_flight_max: 2, queue_max: 5, ..Limits::default() };
    let tasks = (1..=9).map(|number| Task { limits, ..charge(number, true) });
    let stage = Stage::new(Topic::WalletTasks);
    stage.issuer.state().silent.insert(String::new());
    let first = stage.start_worker("worker-0");
    stage.until(100).await;
    stage.append(tasks).await;
    stage.until(200).await;
    first.crash();
    *stage.issuer.state() = stage::IssuerState::default();
    stage.start_worker("worker-1");
    stage.until(5_000).await;
    assert_eq!(stage.issuer.state().most_in_progress, 2);
    let mut calls = stage.calls();
    calls.sort();
    let sent = ["charge 1", "charge 2", "charge 3", "charge 4", "charge 5", "charge 6", "charge 7"];
    assert_eq!(calls, [&sent[..], &["inquiry 8", "inquiry 9"]].concat(), "two in flight, five in the queue");
}
