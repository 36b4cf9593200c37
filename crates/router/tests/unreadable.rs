//! Checkpoints that a build cannot read, such as those of a newer build after a rollback: the
//! router changes nothing of their orders, and never treats an unreadable order as one that does
//! not exist.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test fails by panicking")]

#[path = "support/stage.rs"]
mod stage;

use std::sync::Arc;

use bytes::Bytes;
use stage::{ORDERS, STATES, pause, start, start_on};
use twqr_journal::{Entry, Journal, Partition, Topic};
use twqr_journal_sim::{Faults, Sim};
use twqr_order::{Command, PROTOCOL_VERSION_NEWEST, Policy, PolicyChange, Record};
use twqr_router::MemoryStore;
use twqr_service::{Clock, SystemClock};
use twqr_types::{RawRefund, RefundForm, TradeNo};
use twqr_wire::{
    RECORD_VERSION,
    convert::{StateBody, decode_dead_letter, decode_record, decode_state, encode_record, encode_refund},
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

/// The same record with another version. The version is appended as field 1, a varint: of a field
/// that occurs twice, protobuf takes the last value.
fn with_version(record: &Bytes, version: u32) -> Bytes {
    let version = u8::try_from(version).unwrap();
    [record, &[0x08, version][..]].concat().into()
}

/// Copies the logs. In the copy, the checkpoints that `is_newer` selects have the version of a
/// newer build, and all others have the version of this one.
async fn after_a_rollback(before: &Sim, is_newer: fn(&StateBody) -> bool) -> Sim {
    let sim = sim();
    let session = sim.session("copy");
    for partition in [ORDERS, TASKS] {
        for record in before.records(partition) {
            session.append(partition, vec![record.entry]).await.unwrap();
        }
    }
    for record in before.records(STATES) {
        let Some(value) = record.entry.value else {
            session.append(STATES, vec![record.entry]).await.unwrap();
            continue;
        };
        let ours = with_version(&value, RECORD_VERSION);
        let state = decode_state(ours.clone()).unwrap();
        let value = if is_newer(&state.body) { with_version(&ours, 99) } else { ours };
        let entry = Entry { key: record.entry.key, value: Some(value) };
        session.append(STATES, vec![entry]).await.unwrap();
    }
    sim
}

/// Returns the log of a router that accepted the payment T, emitted its charge task, and stopped in
/// an orderly way.
async fn with_one_payment() -> Sim {
    let sim = sim();
    let router = start(&sim, "router-0");
    pause(1_000).await;
    pay(&sim, "T").await;
    router.shutdown.cancel();
    pause(5_000).await;
    router.session.crash();
    assert_eq!(sim.records(TASKS).len(), 1);
    sim
}

fn dead_letters(sim: &Sim) -> Vec<String> {
    let letter = |record: twqr_journal::Record| decode_dead_letter(record.entry.value.unwrap()).unwrap().reason;
    sim.records(DEAD_LETTERS).into_iter().map(letter).collect()
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_order_is_never_treated_as_new_and_does_not_block_other_orders() {
    let sim = after_a_rollback(&with_one_payment().await, |body| matches!(body, StateBody::Order(_))).await;
    let router = start(&sim, "router-1");
    pause(1_000).await;
    pay(&sim, "T").await;
    assert_eq!(sim.records(TASKS).len(), 1, "T is charged once");
    assert_eq!(dead_letters(&sim), ["the state of its order cannot be read by this build"]);
    pay(&sim, "U").await;
    assert_eq!(sim.records(TASKS).len(), 2, "another order is charged");
    assert!(router.health.is_ready(), "{:?}", router.health.report());
}

/// Requests a refund of T; returns the StatusCodes of all refunds that have failed by then.
async fn refund(sim: &Sim, number: &str, trade_no: TradeNo) -> Vec<String> {
    let raw = RawRefund {
        merchant_id: "M1".into(),
        merchant_trade_no: number.into(),
        trade_no: trade_no.to_string(),
        trade_amount: 1,
        ..RawRefund::default()
    };
    let record = encode_refund(SystemClock.now(), &RefundForm::parse(raw).unwrap(), None);
    sim.session("caller").append(ORDERS, vec![Entry::plain(record)]).await.unwrap();
    pause(1_000).await;
    let answer = |record: twqr_journal::Record| match decode_record(record.entry.value?).ok()?.command {
        Command::RefundResult(result) => Some(result.result.unwrap_err().status_code.to_string()),
        _ => None,
    };
    sim.records(ORDERS).into_iter().filter_map(answer).collect()
}

fn trade_no(sim: &Sim) -> TradeNo {
    let number = |record: twqr_journal::Record| match decode_state(record.entry.value?).ok()?.body {
        StateBody::Order(order) => order.trade_no(),
        StateBody::Policies(_) | StateBody::Listing(_) | StateBody::Marker | StateBody::Beginning { .. } => None,
    };
    sim.records(STATES).into_iter().find_map(number).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_refund_of_an_unreadable_payment_gets_no_answer_until_a_build_reads_the_payment() {
    let before = with_one_payment().await;
    let (disk, number) = (Arc::new(MemoryStore::default()), trade_no(&before));
    let rolled_back = after_a_rollback(&before, |body| matches!(body, StateBody::Order(_))).await;
    let router = start_on(&rolled_back, "router-1", disk.clone());
    pause(1_000).await;
    assert!(refund(&rolled_back, "R1", number).await.is_empty(), "the payment may exist");
    assert_eq!(dead_letters(&rolled_back), ["the state of its order cannot be read by this build"]);
    router.shutdown.cancel();
    pause(5_000).await;

    let newer = after_a_rollback(&rolled_back, |_| false).await;
    let _router = start_on(&newer, "router-2", disk);
    pause(1_000).await;
    assert_eq!(refund(&newer, "R2", number).await, ["934"], "the payment is in progress, and its shard answers");
    assert!(dead_letters(&newer).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_cannot_read_its_policy_decides_nothing() {
    let sim = after_a_rollback(&with_one_payment().await, |body| matches!(body, StateBody::Policies(_))).await;
    let router = start(&sim, "router-1");
    pay(&sim, "U").await;
    pause(10_000).await;
    assert_eq!(sim.records(TASKS).len(), 1, "{:?}", dead_letters(&sim));
    assert!(!router.health.is_ready(), "{:?}", router.health.report());
}

#[tokio::test(start_paused = true)]
async fn a_shard_stops_at_a_protocol_version_that_this_build_does_not_know() {
    let sim = with_one_payment().await;
    let policy = Policy { protocol_version: PROTOCOL_VERSION_NEWEST + 1, ..stage::policy() };
    let change = PolicyChange { version: 2, policy, who: "test".into(), why: "".into(), at: SystemClock.now() };
    let command = Command::Policy(Box::new(change));
    let record = encode_record(&Record { at: SystemClock.now(), signed_by: None, nonce: None, command });
    sim.session("operator").append(ORDERS, vec![Entry::plain(record)]).await.unwrap();
    let router = start(&sim, "router-1");
    pay(&sim, "U").await;
    pause(10_000).await;
    assert_eq!(sim.records(TASKS).len(), 1, "{:?}", dead_letters(&sim));
    let report = router.health.report();
    assert!(!router.health.is_ready() && dead_letters(&sim).is_empty(), "{report:?}");
}
