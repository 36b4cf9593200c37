//! Checkpoints that a build cannot read, such as those of a newer one after a rollback: what they are about is left alone, never taken for
//! something that is not there.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/stage.rs"]
mod stage;

use std::sync::Arc;

use prost::Message;
use stage::{ORDERS, STATES, pause, start, start_on};
use twqr_journal::{
    Entry, Journal, Partition, Topic,
    sim::{Faults, Sim},
};
use twqr_order::Command;
use twqr_router::MemoryStore;
use twqr_service::{Clock, SystemClock};
use twqr_types::{RawRefund, RefundForm};
use twqr_wire::{
    bus::{DeadLetter, StatesRecord, states_record::Body},
    convert::{StateBody, decode_record, decode_state, refund_record},
};

const TASKS: Partition = Partition { topic: Topic::WalletTasks, index: 0 };
const DEAD_LETTERS: Partition = Partition { topic: Topic::DeadLetters, index: 0 };

fn sim() -> Sim {
    stage::sim(Faults::default())
}

async fn pay(sim: &Sim, number: &str) {
    stage::pay(&*sim.session("caller"), number).await;
    pause(1_000).await;
}

/// The same logs, as if a newer build had written those checkpoints that `is_newer` takes.
async fn after_a_rollback(before: &Sim, is_newer: fn(&Body) -> bool) -> Sim {
    let sim = sim();
    let session = sim.session("copy");
    for partition in [ORDERS, TASKS] {
        for record in before.records(partition) {
            session.append(partition, vec![record.entry]).await.unwrap();
        }
    }
    for record in before.records(STATES) {
        let mut state = StatesRecord::decode(record.entry.value.clone().unwrap()).unwrap();
        state.version += u32::from(state.body.as_ref().is_some_and(is_newer));
        let entry = Entry { key: record.entry.key, value: Some(state.encode_to_vec().into()) };
        session.append(STATES, vec![entry]).await.unwrap();
    }
    sim
}

/// A log in which T was paid for once, as after a clean stop.
async fn with_one_payment() -> Sim {
    let sim = sim();
    let router = start(&sim, "router-0");
    pause(1_000).await;
    pay(&sim, "T").await;
    router.shutdown.cancel();
    pause(5_000).await;
    assert_eq!(sim.records(TASKS).len(), 1);
    sim
}

fn dead_letters(sim: &Sim) -> Vec<String> {
    let letter = |record: twqr_journal::Record| DeadLetter::decode(record.entry.value.unwrap()).unwrap().reason;
    sim.records(DEAD_LETTERS).into_iter().map(letter).collect()
}

#[tokio::test(start_paused = true)]
async fn an_order_that_cannot_be_read_is_never_taken_for_a_new_one_and_stops_no_other() {
    let sim = after_a_rollback(&with_one_payment().await, |body| matches!(body, Body::Order(_))).await;
    let router = start(&sim, "router-1");
    pause(1_000).await;
    pay(&sim, "T").await;
    assert_eq!(sim.records(TASKS).len(), 1, "it is charged once");
    assert_eq!(dead_letters(&sim), ["the state of its order cannot be read by this build"]);
    pay(&sim, "U").await;
    assert_eq!(sim.records(TASKS).len(), 2, "another order goes on");
    assert!(router.health.is_ready(), "{:?}", router.health.report());
}

#[tokio::test(start_paused = true)]
async fn a_build_that_reads_it_again_finds_it_by_its_number_too() {
    let before = with_one_payment().await;
    let disk = Arc::new(MemoryStore::default());
    let rolled_back = after_a_rollback(&before, |body| matches!(body, Body::Order(_))).await;
    let router = start_on(&rolled_back, "router-1", disk.clone());
    pause(1_000).await;
    router.shutdown.cancel();
    pause(5_000).await;

    let newer = after_a_rollback(&before, |_| false).await;
    let trade_no =
        before.records(STATES).into_iter().find_map(|record| match decode_state(record.entry.value?).ok()?.body {
            StateBody::Order(order) => order.trade_no(),
            StateBody::Policies(_) | StateBody::Marker => None,
        });
    let raw = RawRefund {
        merchant_id: "M1".into(),
        merchant_trade_no: "R".into(),
        trade_no: trade_no.unwrap().to_string(),
        trade_amount: 1,
        ..RawRefund::default()
    };
    let _router = start_on(&newer, "router-2", disk);
    pause(1_000).await;
    let refund = refund_record(SystemClock.now(), &RefundForm::parse(raw).unwrap(), None);
    newer.session("caller").append(ORDERS, vec![Entry::plain(refund)]).await.unwrap();
    pause(1_000).await;
    let answers = newer.records(ORDERS).into_iter().filter(|record| {
        let record = decode_record(record.entry.value.clone().unwrap()).unwrap();
        matches!(record.command, Command::RefundResult(_))
    });
    assert_eq!((answers.count(), dead_letters(&newer)), (1, Vec::new()), "its payment answers the refund");
}

#[tokio::test(start_paused = true)]
async fn without_its_rules_nothing_of_a_shard_is_decided() {
    let sim = after_a_rollback(&with_one_payment().await, |body| matches!(body, Body::Policies(_))).await;
    let router = start(&sim, "router-1");
    pay(&sim, "U").await;
    pause(10_000).await;
    assert_eq!(sim.records(TASKS).len(), 1, "{:?}", dead_letters(&sim));
    assert!(!router.health.is_ready(), "{:?}", router.health.report());
}
