//! A worker whose clock is wrong by more than the bound sends nothing, gives no evidence and leaves
//! its partition to workers whose clocks are right (protocol rule P6).

#![allow(unreachable_pub, dead_code, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/stage.rs"]
mod stage;
#[path = "support/tasks.rs"]
mod tasks;

use stage::Stage;
use tasks::{SEND_BY_MS, charge};
use twqr_journal::Topic;

/// So far a wrong clock is ahead or behind, in ms: every task's `send_by` has passed by a clock
/// that is ahead, and has not by one that is behind.
const SKEW_MS: i64 = 10_000;

impl Stage {
    /// The results that were reported for the task with this number.
    fn results(&self, number: u64) -> Vec<String> {
        let prefix = format!("{number}: ");
        let results =
            self.outcomes().into_iter().filter_map(|(outcome, _)| Some(outcome.strip_prefix(&prefix)?.to_owned()));
        results.collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_whose_clock_is_set_wrong_is_replaced_and_no_task_fails_for_it() {
    for skew_ms in [SKEW_MS, -SKEW_MS] {
        let stage = Stage::new(Topic::WalletTasks);
        let first = stage.start_measured_worker("worker-0", 0).await;
        stage.until(300).await;
        stage.start_measured_worker("worker-1", 0).await;
        stage.until(1_000).await;
        stage.append([charge(1, false)]).await;
        stage.until(2_000).await;
        assert_eq!(stage.results(1), ["done"]);
        first.clock.set_skew(skew_ms);
        for number in 2..=30 {
            stage.append([charge(number, number % 2 == 0)]).await;
            stage.until(2_000 + number * 50).await;
        }
        stage.until(5_000).await;
        assert!(!first.health.is_ready(), "{:?}", first.health.report());
        assert_eq!(first.health.dead(), None);
        for number in 2..=30 {
            let results = stage.results(number);
            // The first of them were read by the worker with the wrong clock.
            assert!(results == ["done"] || number < 8 && results == ["unknown"], "{skew_ms}: {number} {results:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_whose_clock_is_behind_sends_nothing_late() {
    let stage = Stage::new(Topic::WalletTasks);
    let worker = stage.start_measured_worker("worker-0", 0).await;
    stage.until(1_000).await;
    let late = SEND_BY_MS.cast_unsigned() + 1_000;
    stage.until(late).await;
    worker.clock.set_skew(-SKEW_MS);
    stage.append([charge(1, false), charge(2, true)]).await;
    stage.until(late + 5_000).await;
    assert_eq!(stage.calls(), Vec::<String>::new());
    assert_eq!((stage.results(1), stage.results(2)), (vec!["unknown".to_owned()], vec!["unknown".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn the_only_worker_leaves_the_tasks_in_the_log_until_its_clock_is_right() {
    for (skew_ms, right_at_ms, result) in [
        (SKEW_MS, 3_000, "done"),
        (-SKEW_MS, 3_000, "done"),
        (SKEW_MS, SEND_BY_MS.cast_unsigned() + 1, "not sent"),
        (-SKEW_MS, SEND_BY_MS.cast_unsigned() + 1, "not sent"),
    ] {
        let stage = Stage::new(Topic::WalletTasks);
        let worker = stage.start_measured_worker("worker-0", skew_ms).await;
        assert!(!worker.health.is_ready());
        stage.until(1_000).await;
        stage.append([charge(1, false)]).await;
        stage.until(right_at_ms).await;
        assert_eq!((stage.calls(), stage.outcomes()), (vec![], vec![]), "{skew_ms}");
        worker.clock.set_skew(0);
        stage.until(right_at_ms + 2_000).await;
        assert!(worker.health.is_ready(), "{:?}", worker.health.report());
        assert_eq!(stage.results(1), [result], "{skew_ms}");
    }
}
