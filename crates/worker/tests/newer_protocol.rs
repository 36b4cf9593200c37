//! A worker of an older build leaves tasks of a protocol version that it does not know to others.

#![allow(unreachable_pub, dead_code, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/stage.rs"]
mod stage;
#[path = "support/tasks.rs"]
mod tasks;

use stage::Stage;
use tasks::charge;
use twqr_journal::Topic;
use twqr_order::{PROTOCOL_VERSION_NEWEST, Task};

#[tokio::test(start_paused = true)]
async fn a_task_of_an_unknown_protocol_version_is_neither_sent_nor_decided() {
    let stage = Stage::new(Topic::WalletTasks);
    let worker = stage.start_measured_worker("worker-0", 0).await;
    stage.until(1_000).await;
    stage.append([charge(1, false)]).await;
    stage.until(1_500).await;
    assert!(worker.health.is_ready());
    let newer = Task { protocol_version: PROTOCOL_VERSION_NEWEST + 1, ..charge(2, false) };
    stage.append([newer, charge(3, false)]).await;
    stage.until(20_000).await;
    assert_eq!(stage.calls(), ["charge 1"]);
    assert_eq!(stage.outcomes().len(), 1, "{:?}", stage.outcomes());
    let report = format!("{:?}", worker.health.report());
    assert!(!worker.health.is_ready() && report.contains("use a newer build"), "{report}");
}
