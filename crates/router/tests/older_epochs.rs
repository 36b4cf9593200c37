//! `order-states` keeps one state for each order: owners delete the records of older epochs that
//! newer ones have superseded, and never the newest state of an order.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/stage.rs"]
mod stage;

use std::{collections::BTreeMap, sync::Arc};

use stage::{ORDERS, Router, STATES, cancel, pause, pay, start, start_on};
use twqr_journal::{Partition, Topic};
use twqr_journal_sim::{Faults, Sim};
use twqr_router::MemoryStore;
use twqr_wire::convert::{StateBody, decode_state};

const TASKS: Partition = Partition { topic: Topic::WalletTasks, index: 0 };

fn sim() -> Sim {
    stage::sim(Faults { everybody_owns_all: true, session_timeout_ms: 60_000, ..Faults::default() })
}

fn kill(router: &Router) {
    router.session.crash();
    router.running.abort();
}

/// The records that compaction leaves: the epochs of each order's states, the policy's and the
/// markers.
fn kept(sim: &Sim) -> BTreeMap<String, Vec<u64>> {
    sim.compact(STATES);
    let mut kept = BTreeMap::<String, Vec<u64>>::new();
    for entry in sim.records(STATES).into_iter().filter_map(|record| decode_state(record.entry.value?).ok()) {
        let name = match entry.body {
            StateBody::Order(order) => order.key().merchant_trade_no.to_string(),
            StateBody::Policies(_) => "policies".to_owned(),
            StateBody::Listing(_) => "listing".to_owned(),
            StateBody::Marker => "marker".to_owned(),
            StateBody::Beginning { .. } => "beginning".to_owned(),
        };
        kept.entry(name).or_default().push(entry.epoch);
    }
    kept
}

/// Repeats the payments on a new router with an empty store: none may be charged again.
async fn assert_known(sim: &Sim, numbers: &[&str]) {
    let router = start(sim, "router-9");
    pause(5_000).await;
    assert!(router.health.is_ready(), "{:?}", router.health.report());
    let tasks = sim.records(TASKS).len();
    for number in numbers {
        pay(&*sim.session("caller"), number).await;
    }
    pause(5_000).await;
    assert_eq!(sim.records(TASKS).len(), tasks, "a payment was taken for a new one");
    kill(&router);
}

#[tokio::test(start_paused = true)]
async fn older_epochs_are_deleted_order_by_order_and_the_newest_state_never() {
    for keeps_store in [true, false] {
        let (sim, store) = (sim(), Arc::new(MemoryStore::default()));
        let caller = sim.session("caller");
        let first = start_on(&sim, "router-0", store.clone());
        pause(1_000).await;
        pay(&*caller, "CHANGED").await;
        pay(&*caller, "UNCHANGED").await;
        pause(1_000).await;
        let old = kept(&sim);
        assert_eq!((old["CHANGED"].len(), old["UNCHANGED"].len()), (1, 1));
        kill(&first);

        let store = if keeps_store { store } else { Arc::default() };
        let second = start_on(&sim, "router-1", store);
        pause(2_000).await;
        cancel(&*caller, "CHANGED").await;
        pause(1_000).await;
        pay(&*caller, "LATER").await;
        pause(1_000).await;
        let mut new = kept(&sim);
        assert_eq!(new.remove("beginning").map(|epochs| epochs.len()), Some(2), "beginnings are never deleted");
        assert!(new.values().all(|epochs| epochs.len() == 1), "{new:?}");
        assert!(new["CHANGED"] > old["CHANGED"] && new["marker"] > old["marker"], "{new:?}");
        assert_eq!((&new["UNCHANGED"], &new["policies"]), (&old["UNCHANGED"], &old["policies"]));
        kill(&second);
        assert_known(&sim, &["CHANGED", "UNCHANGED", "LATER"]).await;
    }
}

/// An owner that was paused writes a state of its epoch after that epoch's key was deleted.
#[tokio::test(start_paused = true)]
async fn a_late_state_of_an_older_epoch_hides_no_newer_one() {
    let sim = sim();
    let caller = sim.session("caller");
    let paused = start(&sim, "router-0");
    pause(1_050).await;
    pay(&*caller, "T").await;
    pause(1_000).await;
    cancel(&*caller, "T").await;
    // The cancel is applied, and not in a checkpoint yet.
    pause(1).await;
    paused.session.stall(ORDERS);
    paused.session.pause();
    let owner = start(&sim, "router-1");
    pause(2_000).await;
    pay(&*caller, "U").await;
    pause(1_000).await;
    cancel(&*caller, "U").await;
    pause(1_000).await;
    let before = sim.records(STATES).len();
    paused.session.resume();
    pause(1_000).await;
    assert!(sim.records(STATES).len() > before, "the paused router has written");
    kill(&paused);
    kill(&owner);
    kept(&sim);
    assert_known(&sim, &["T", "U"]).await;
}
