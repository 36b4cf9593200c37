//! Two routers claim a shard one after the other, and the second claim does not count. The owner
//! that reads it claims again, because an owner writes no state past any claim of another router
//! (protocol rule P5).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/stage.rs"]
mod stage;

use stage::{ORDERS, STATES, pause, pay, sim, start};
use twqr_journal::{Entry, Journal, Partition, Topic};
use twqr_journal_sim::{Faults, Sim};
use twqr_order::HoldRecord;
use twqr_service::{Clock, SystemClock};
use twqr_wire::convert::{HeldTopic, StateBody, StatesEntry, decode_state};

const TASKS: Partition = Partition { topic: Topic::WalletTasks, index: 0 };

/// The offsets of the claims, each with the name of its router.
fn claims(sim: &Sim) -> Vec<(u64, String)> {
    let claim = |record: twqr_journal::Record| match HeldTopic::Orders.decode_hold(&record.entry.value?)? {
        HoldRecord::Claim { owner, .. } => Some((record.offset, owner.to_string())),
        HoldRecord::Release { .. } | HoldRecord::Intent(_) | HoldRecord::Alive(_) | HoldRecord::Doubt(_) => None,
    };
    sim.records(ORDERS).into_iter().filter_map(claim).collect()
}

fn states(sim: &Sim) -> Vec<StatesEntry> {
    let entry = |record: twqr_journal::Record| decode_state(record.entry.value?).ok();
    sim.records(STATES).into_iter().filter_map(entry).collect()
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_reads_a_claim_that_does_not_count_claims_the_shard_again() {
    let sim = sim(Faults::default());
    let caller = sim.session("caller");
    let router = start(&sim, "router-0");
    pause(1_000).await;
    pay(&*caller, "T1").await;
    pause(1_000).await;
    let [(first, _)] = claims(&sim)[..] else { panic!("{:?}", claims(&sim)) };

    // It names a claim that another one has replaced already.
    let claim = HoldRecord::Claim { owner: "router-1".into(), nonce: 1, replaces: Some(first + 1_000) };
    let record = HeldTopic::Orders.encode_hold(SystemClock.now(), claim);
    caller.append(ORDERS, vec![Entry::plain(record)]).await.unwrap();
    pay(&*caller, "T2").await;
    pause(5_000).await;

    let found = claims(&sim);
    let [(_, _), (foreign, _), (again, owner)] = &found[..] else { panic!("{found:?}") };
    assert_eq!(owner, "router-0", "{found:?}");
    assert!(router.health.is_ready(), "{:?}", router.health.report());
    let is_past = |entry: &StatesEntry| entry.epoch == first && entry.position > *foreign;
    assert!(!states(&sim).iter().any(is_past), "a state of the first epoch is past the other claim");
    let is_of_second = |entry: &StatesEntry| entry.epoch == *again && matches!(entry.body, StateBody::Order(_));
    assert!(states(&sim).iter().any(is_of_second), "the second epoch has T2");
    assert_eq!(sim.records(TASKS).len(), 2);
}
