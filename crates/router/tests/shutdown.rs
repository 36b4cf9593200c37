//! A router that shuts down waits for all of its shards, also for one that was assigned to another
//! router before the shutdown and is still within its grace period.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/stage.rs"]
mod stage;

use stage::{pause, sim, start};
use twqr_journal::{Journal, Topic};
use twqr_journal_sim::Faults;

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_a_shard_that_was_reassigned_before() {
    let sim = sim(Faults::default());
    // The simulator assigns the only shard to the oldest session that is a member of the group.
    let other = sim.session("router-1");
    let router = start(&sim, "router-0");
    pause(1_000).await;
    assert!(router.health.is_ready(), "{:?}", router.health.report());
    let _membership = other.assignments(Topic::Orders, "router-1").await.unwrap();
    pause(100).await;
    router.shutdown.cancel();
    router.running.await.unwrap().unwrap();
    let report = router.health.report();
    assert!(!report.contains_key("router/shard-0"), "a shard still runs: {report:?}");
}
