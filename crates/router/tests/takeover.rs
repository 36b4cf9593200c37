//! A router takes over the shards of another one that was killed, long before the group notices it,
//! and without any new kind of record while the policy's protocol version is 0.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/stage.rs"]
mod stage;

use stage::{ORDERS, pause, pay, policy, sim, start_by};
use twqr_journal::{Partition, Topic};
use twqr_journal_sim::{Faults, Sim};
use twqr_order::{HoldRecord, Policy};
use twqr_wire::convert::HeldTopic;

const TASKS: Partition = Partition { topic: Topic::WalletTasks, index: 0 };

/// The group takes 6 s to notice that a process is dead.
fn slow_group() -> Faults {
    Faults { session_timeout_ms: 6_000, append_delay_ms_max: 5, ..Faults::default() }
}

fn holds(sim: &Sim) -> Vec<HoldRecord> {
    let hold = |record: twqr_journal::Record| HeldTopic::Orders.decode_hold(&record.entry.value?);
    sim.records(ORDERS).into_iter().filter_map(hold).collect()
}

/// Kills the owner and then makes a payment; returns whether its task was emitted within 1.5 s, and
/// after the group has noticed the kill.
async fn kill_and_pay(protocol_version: u32) -> (Sim, bool, bool) {
    let sim = sim(slow_group());
    let policy = Policy { protocol_version, ..policy() };
    let first = start_by(&sim, "router-0", policy.clone());
    let _second = start_by(&sim, "router-1", policy);
    pause(3_000).await;
    first.session.crash();
    pay(&*sim.session("ingress"), "T1").await;
    pause(1_500).await;
    let soon = sim.records(TASKS).len() == 1;
    pause(8_000).await;
    (sim.clone(), soon, sim.records(TASKS).len() == 1)
}

#[tokio::test(start_paused = true)]
async fn a_payment_waits_at_most_one_and_a_half_seconds_when_its_router_is_killed() {
    let (sim, soon, _) = kill_and_pay(1).await;
    assert!(soon, "{:?}", holds(&sim));
}

#[tokio::test(start_paused = true)]
async fn at_protocol_version_0_no_record_is_written_that_earlier_builds_do_not_know() {
    let (sim, soon, later) = kill_and_pay(0).await;
    let is_known = |hold: &HoldRecord| matches!(hold, HoldRecord::Claim { replaces: None, .. });
    assert!(holds(&sim).iter().all(is_known), "{:?}", holds(&sim));
    assert!(!soon && later, "the group decides");
}
