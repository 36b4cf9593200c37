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
use twqr_router::MemoryStore;
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
}

impl Damage {
    const ALL: [(Self, Option<&str>); 8] = [
        (Self::Nothing, None),
        (Self::TrimmedBelowThePosition, None),
        (Self::DeletedUnread, Some("orders/0 is not whole: it begins at offset")),
        (Self::Truncated, Some("orders/0 is not whole: it ends at offset")),
        (Self::Recreated, Some("orders/0 is not whole: it ends at offset 0")),
        (Self::RecreatedAndGrown, Some("orders/0 is not whole: its record")),
        (Self::TruncatedAndGrown, Some("orders/0 is not whole: its record")),
        (Self::StatesTruncated, Some("order-states/0 is not whole: it ends at offset")),
    ];

    async fn apply(self, sim: &Sim) {
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
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_not_whole_is_refused_by_name() {
    for (damage, refusal) in Damage::ALL {
        for keeps_disk in [true, false] {
            if damage == Damage::StatesTruncated && !keeps_disk {
                continue;
            }
            let (sim, mut store) = with_payments().await;
            damage.apply(&sim).await;
            let before = (sim.records(TASKS).len(), claims(&sim));
            if !keeps_disk {
                store = Arc::default();
            }
            let router = start_on(&sim, "router-1", store);
            pause(120_000).await;
            let state = router.health.report()["router/shard-0"].clone();
            let case = format!("{damage:?}, {keeps_disk}: {state:?}");
            let Some(refusal) = refusal else {
                assert_eq!(state, PartState::Ready, "{case}");
                continue;
            };
            // Without its disk the router finds its position only after its claim.
            let refusal = if keeps_disk { refusal } else { "orders/0 is not whole" };
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
