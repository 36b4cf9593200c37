//! A router continues only on the log that its state comes from. A log that begins after the
//! position, ends before it, or is another one is refused by name, and nothing is skipped; other
//! shards proceed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/stage.rs"]
mod stage;

use std::sync::Arc;

use stage::{ORDERS, STATES, pause, pay, sim, start_on};
use twqr_journal::{Partition, Topic};
use twqr_journal_sim::{Faults, Sim};
use twqr_order::HoldRecord;
use twqr_router::{MemoryStore, StateStore};
use twqr_service::PartState;
use twqr_wire::convert::{HeldTopic, StateBody, decode_state};

const TASKS: Partition = Partition { topic: Topic::WalletTasks, index: 0 };

/// Four payments with their checkpoints, by two routers one after the other; and their local store.
async fn with_payments() -> (Sim, Arc<MemoryStore>) {
    let (sim, store) = (sim(Faults::default()), Arc::new(MemoryStore::default()));
    for numbers in [["T1", "T2"], ["T3", "T4"]] {
        let router = start_on(&sim, "router-0", store.clone());
        pause(1_000).await;
        for number in numbers {
            pay(&*sim.session("ingress"), number).await;
        }
        pause(1_000).await;
        router.shutdown.cancel();
        router.running.await.unwrap().unwrap();
        router.session.crash();
    }
    assert_eq!(sim.records(TASKS).len(), 4);
    (sim, store)
}

fn claims(sim: &Sim) -> usize {
    let hold = |record: twqr_journal::Record| HeldTopic::Orders.decode_hold(&record.entry.value?);
    let holds = sim.records(ORDERS).into_iter().filter_map(hold);
    holds.filter(|hold| matches!(hold, HoldRecord::Claim { .. })).count()
}

/// The highest position of the markers.
fn marker(sim: &Sim) -> usize {
    let marker = |record: twqr_journal::Record| {
        let entry = decode_state(record.entry.value?).ok()?;
        matches!(entry.body, StateBody::Marker).then_some(entry.position as usize)
    };
    sim.records(STATES).into_iter().filter_map(marker).max().unwrap()
}

/// Appends payments until the log of `orders` has at least `records` records.
async fn grow_to(sim: &Sim, records: usize) {
    let caller = sim.session("ingress");
    for number in 0.. {
        if sim.records(ORDERS).len() >= records {
            return;
        }
        pay(&*caller, &format!("N{number}")).await;
        pause(7).await;
    }
}

const ORDERS_NOT_WHOLE: &str = "orders/0 is not whole";

/// What is done to the log before the next start, and what the refusal must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    Nothing,
    TrimmedBelowThePosition,
    DeletedUnread,
    Truncated,
    Recreated,
    RecreatedAndGrown,
    TruncatedAndGrown,
    StatesTruncated,
    StatesWithoutTheirLastMarker,
    StatesTruncatedAndGrown,
    StatesRecreatedAndGrown,
    StatesCut,
    StatesGoneAndOrdersTrimmed,
    StatesCompacted,
}

impl Damage {
    /// Each damage, what the refusal of a router with its local store says, and of one without.
    const ALL: [(Self, Option<&str>, Option<&str>); 14] = [
        (Self::Nothing, None, None),
        (Self::TrimmedBelowThePosition, None, None),
        (Self::DeletedUnread, Some("orders/0 is not whole: it begins at offset"), Some(ORDERS_NOT_WHOLE)),
        (Self::Truncated, Some("orders/0 is not whole: it ends at offset"), Some(ORDERS_NOT_WHOLE)),
        // Without its disk the router finds its position only after its claim.
        (Self::Recreated, Some("orders/0 is not whole: it ends at offset 0"), Some(ORDERS_NOT_WHOLE)),
        (Self::RecreatedAndGrown, Some("orders/0 is not whole: its record"), Some(ORDERS_NOT_WHOLE)),
        (Self::TruncatedAndGrown, Some("orders/0 is not whole: its record"), Some(ORDERS_NOT_WHOLE)),
        (Self::StatesTruncated, Some("order-states/0 is not whole: it ends at offset"), None),
        (Self::StatesWithoutTheirLastMarker, Some("order-states/0 is not whole: its marker"), None),
        // The router without a disk replays what is lacking, so the topic is complete for it.
        (Self::StatesTruncatedAndGrown, Some("order-states/0 is not whole: its record"), None),
        (Self::StatesRecreatedAndGrown, Some("order-states/0 is not whole: its record"), None),
        (
            Self::StatesCut,
            Some("order-states/0 is not whole: its record"),
            Some("order-states/0 is not whole: its record"),
        ),
        (
            Self::StatesGoneAndOrdersTrimmed,
            Some("order-states/0 is not whole: it ends at offset 0"),
            Some("order-states/0 is not whole: it has no marker"),
        ),
        (Self::StatesCompacted, None, None),
    ];

    async fn apply(self, sim: &Sim, store: &MemoryStore) {
        // Only signs of life follow the last marker.
        let end = marker(sim);
        match self {
            Self::Nothing => {}
            Self::TrimmedBelowThePosition => sim.trim(ORDERS, end as u64),
            Self::DeletedUnread => {
                grow_to(sim, end + 3).await;
                sim.trim(ORDERS, end as u64 + 1);
            }
            Self::Truncated => sim.truncate(ORDERS, end as u64 - 1),
            Self::Recreated => sim.truncate(ORDERS, 0),
            Self::RecreatedAndGrown => {
                sim.truncate(ORDERS, 0);
                grow_to(sim, end + 3).await;
            }
            Self::TruncatedAndGrown => {
                sim.truncate(ORDERS, end as u64 - 1);
                grow_to(sim, end + 3).await;
            }
            Self::StatesTruncated => sim.truncate(STATES, 1),
            Self::StatesWithoutTheirLastMarker => sim.truncate(STATES, sim.records(STATES).last().unwrap().offset),
            Self::StatesTruncatedAndGrown => {
                let read_below = store.mark(0).unwrap().states_offset;
                grow_states_from(sim, read_below - 1).await;
            }
            Self::StatesRecreatedAndGrown => grow_states_from(sim, 0).await,
            Self::StatesCut => sim.trim(STATES, 1),
            Self::StatesGoneAndOrdersTrimmed => {
                sim.truncate(STATES, 0);
                sim.trim(ORDERS, 1);
            }
            Self::StatesCompacted => sim.compact(STATES),
        }
    }
}

/// Truncates `order-states`, and lets a router without a local store write beyond its earlier end.
async fn grow_states_from(sim: &Sim, end: u64) {
    let earlier = sim.records(STATES).last().unwrap().offset;
    sim.truncate(STATES, end);
    let router = start_on(sim, "router-2", Arc::default());
    pause(1_000).await;
    let caller = sim.session("ingress");
    for number in 0.. {
        if sim.records(STATES).last().is_some_and(|last| last.offset > earlier + 2) {
            break;
        }
        pay(&*caller, &format!("S{number}")).await;
        pause(1_000).await;
    }
    router.session.crash();
    router.running.abort();
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_not_whole_is_refused_by_name() {
    for (damage, with_disk, without_disk) in Damage::ALL {
        for (keeps_disk, refusal) in [(true, with_disk), (false, without_disk)] {
            let (sim, mut store) = with_payments().await;
            damage.apply(&sim, &store).await;
            let before = (sim.records(TASKS).len(), claims(&sim));
            if !keeps_disk {
                store = Arc::default();
            }
            let router = start_on(&sim, "router-1", store);
            pause(60_000).await;
            let state = router.health.report()["router/shard-0"].clone();
            let case = format!("{damage:?}, {keeps_disk}: {state:?}");
            let Some(refusal) = refusal else {
                assert_eq!(state, PartState::Ready, "{case}");
                continue;
            };
            assert!(matches!(&state, PartState::NotReady(why) if why.contains(refusal)), "{case}");
            assert_eq!(sim.records(TASKS).len(), before.0, "{case}: nothing is decided");
            let written = claims(&sim) - before.1;
            assert!(written <= 1, "{case}: {written} claims");
            assert!(router.health.dead().is_none(), "{case}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_deleted_unread_while_the_router_runs_is_refused() {
    let (sim, store) = with_payments().await;
    let router = start_on(&sim, "router-1", store);
    pause(1_000).await;
    assert!(router.health.is_ready(), "{:?}", router.health.report());
    router.session.pause();
    let end = sim.records(ORDERS).len();
    grow_to(&sim, end + 3).await;
    sim.trim(ORDERS, end as u64 + 1);
    router.session.resume();
    pause(10_000).await;
    let state = router.health.report()["router/shard-0"].clone();
    assert!(matches!(&state, PartState::NotReady(why) if why.contains("orders/0 is not whole")), "{state:?}");
    assert_eq!(sim.records(TASKS).len(), 4);
}
