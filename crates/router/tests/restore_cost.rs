//! A restore costs what changed since the last checkpoints, not what was ever written.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/counting.rs"]
mod counting;
#[path = "support/stage.rs"]
mod stage;

use std::sync::Arc;

use counting::CountingJournal;
use stage::{ORDERS, STATES, pause, pay, sim, start, start_on, start_with};
use twqr_journal::{Partition, Topic};
use twqr_journal_sim::Faults;
use twqr_router::MemoryStore;

const TASKS: Partition = Partition { topic: Topic::WalletTasks, index: 0 };

/// How many states a restart may read after 1,000 orders: some of the last seconds' checkpoints.
const STATES_READ_MAX: usize = 10;

#[tokio::test(start_paused = true)]
async fn a_restart_on_the_same_store_reads_only_the_newest_states() {
    let (sim, store) = (sim(Faults::default()), Arc::new(MemoryStore::default()));
    let caller = sim.session("caller");
    let session = sim.session("router-0");
    let first = start_with(session.clone(), session, "router-0", store.clone());
    pause(1_000).await;
    for order in 0..1_000 {
        pay(&*caller, &format!("T{order}")).await;
        if order % 10 == 0 {
            pause(100).await;
        }
    }
    pause(10_000).await;
    assert!(sim.records(STATES).len() > 1_000, "there are checkpoints of all orders");
    first.session.crash();
    first.running.abort();

    let journal = CountingJournal::new(sim.session("router-0"));
    let second = start_with(journal.clone(), journal.session.clone(), "router-0", store);
    pause(5_000).await;
    assert!(second.health.is_ready(), "{:?}", second.health.report());
    let read = journal.read(STATES);
    assert!(read <= STATES_READ_MAX, "{read} states were read");
}

/// A router is paused while another one owns the shard. When it continues, it may still store a
/// checkpoint, because it has not read the other's claim yet. Its local store must not skip what
/// the other has written.
#[tokio::test(start_paused = true)]
async fn a_router_that_lost_its_shard_skips_nothing_that_the_new_owner_wrote() {
    let faults = Faults { everybody_owns_all: true, session_timeout_ms: 60_000, ..Faults::default() };
    let (sim, store) = (sim(faults), Arc::new(MemoryStore::default()));
    let caller = sim.session("caller");
    let paused = start_on(&sim, "router-0", store.clone());
    pause(5_000).await;
    pay(&*caller, "T0").await;
    // The payment is applied, and not in a checkpoint yet.
    pause(1).await;
    paused.session.stall(ORDERS);
    paused.session.pause();
    let owner = start(&sim, "router-1");
    pause(5_000).await;
    assert!(owner.health.is_ready(), "{:?}", owner.health.report());
    pay(&*caller, "T1").await;
    pause(5_000).await;
    paused.session.resume();
    pause(3_000).await;
    paused.session.crash();
    paused.running.abort();
    pause(5_000).await;
    pay(&*caller, "T2").await;
    pause(5_000).await;
    owner.session.crash();
    owner.running.abort();

    let successor = start_on(&sim, "router-0", store);
    pause(5_000).await;
    let tasks = sim.records(TASKS).len();
    pay(&*caller, "T1").await;
    pause(1_000).await;
    assert!(successor.health.is_ready(), "{:?}", successor.health.report());
    assert_eq!(sim.records(TASKS).len(), tasks, "T1 is known, so it is not charged again");
}
