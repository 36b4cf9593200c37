//! A router whose reader stalls silently while its input grows becomes unready, claims the shard
//! again, and continues to read.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/stage.rs"]
mod stage;

use std::time::Duration;

use stage::{CALLER, ORDERS, pause, query, sim, start};
use tokio::time::Instant;
use twqr_journal::{Partition, Topic};
use twqr_journal_sim::{Faults, Sim};
use twqr_service::PartState;
use twqr_wire::convert::decode_reply;

const REPLIES: Partition = Partition { topic: Topic::Replies, index: 0 };

/// How many replies to the queries there are.
fn replies(sim: &Sim) -> usize {
    let is_reply = |record: &twqr_journal::Record| {
        let reply = decode_reply(record.entry.value.clone().unwrap_or_default()).unwrap();
        reply.correlation == CALLER
    };
    sim.records(REPLIES).iter().filter(|record| is_reply(record)).count()
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stalls_silently_turns_unready_and_is_replaced() {
    let sim = sim(Faults::default());
    let router = start(&sim, "router-0");
    let caller = sim.session("ingress");
    query(&*caller).await;
    pause(2_000).await;
    assert!(router.health.is_ready(), "{:?}", router.health.report());
    assert_eq!(replies(&sim), 1);

    router.session.stall(ORDERS);
    let stalled = Instant::now();
    query(&*caller).await;
    let mut unready = None;
    while replies(&sim) < 2 && stalled.elapsed() < Duration::from_mins(1) {
        if let Some(PartState::NotReady(why)) = router.health.report().get("router/shard-0")
            && why.contains("no progress")
        {
            unready.get_or_insert(stalled.elapsed());
        }
        pause(100).await;
    }
    assert!(unready.is_some_and(|after| after < Duration::from_secs(6)), "unready after {unready:?}");
    assert_eq!(replies(&sim), 2, "it reads again after {:?}", stalled.elapsed());
    pause(2_000).await;
    assert!(router.health.is_ready() && router.health.dead().is_none(), "{:?}", router.health.report());
}
