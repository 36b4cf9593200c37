//! A worker continues only on the log of its position. A log that begins after the position, ends
//! before it, or is another one is refused by name, and no task of it is skipped. Without a
//! position the worker begins with the oldest record.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::StreamExt;
use tokio::time::sleep;
use tonic::Status;
use twqr_journal::{Entry, Group, Journal, Partition, Topic};
use twqr_journal_sim::{Faults, Layout, Sim};
use twqr_order::{EffectId, Limits, Subject, Task, TaskKind};
use twqr_service::{CancellationToken, Context, Health, PartState, SystemClock};
use twqr_types::{Issuer, MerchantId, MerchantTradeNo, OrderKey, ShardId, TradeNo, UnixMs};
use twqr_wire::{
    backend::{ExchangeRequest, ExchangeResponse, TradeUnknown, exchange_response::Answer},
    convert::{TaskRecord, encode_task_record},
};
use twqr_worker::{Answers, Backend, Calls, Settings, run};

const TASKS: Partition = Partition { topic: Topic::WalletTasks, index: 0 };
const PART: &str = "wallet-tasks/0";

/// Knows no movement.
struct KnowsNothing;

#[async_trait]
impl Backend for KnowsNothing {
    async fn exchange(&self, calls: Calls) -> Result<Answers, Status> {
        let answer = |call: ExchangeRequest| {
            Ok(ExchangeResponse { call_id: call.call_id, answer: Some(Answer::TradeUnknown(TradeUnknown {})) })
        };
        Ok(Box::pin(calls.map(answer)))
    }

    fn no_connection(&self, _: &Status) {}
}

/// Appends inquiries whose identities are these offsets.
async fn append(sim: &Sim, ids: std::ops::Range<u64>) {
    let task = |offset| {
        let send_by = UnixMs(1_700_000_000_000);
        let task = Task {
            id: EffectId { shard: ShardId(0), offset, n: 0 },
            key: OrderKey {
                merchant_id: MerchantId::parse("M1".into()).unwrap(),
                merchant_trade_no: MerchantTradeNo::parse("T1".into()).unwrap(),
            },
            trade_no: TradeNo::new(ShardId(0), 1, send_by),
            issuer: Issuer::Wallet,
            limits: Limits::default(),
            is_idempotent: false,
            protocol_version: 0,
            send_by,
            absent_after: send_by,
            kind: TaskKind::Inquire(Subject::Charge),
        };
        Entry::plain(encode_task_record(&TaskRecord::Task(Box::new(task))))
    };
    sim.session("router-0").append(TASKS, ids.map(task).collect()).await.unwrap();
}

/// Runs a worker for `ms`; returns the state of its partition just before it was asked to stop.
async fn work(sim: &Sim, member: &str, ms: u64) -> PartState {
    let (shutdown, health) = (CancellationToken::new(), Health::default());
    let context = Context { clock: Arc::new(SystemClock), shutdown: shutdown.clone(), health: health.clone() };
    let session = sim.session(member);
    let worker =
        tokio::spawn(run(Settings::wallet(member.into(), Arc::new(KnowsNothing), 4_000), session.clone(), context));
    sleep(Duration::from_millis(ms)).await;
    let state = health.report()[PART].clone();
    shutdown.cancel();
    worker.await.unwrap().unwrap();
    session.crash();
    state
}

/// A task partition that a worker has processed, with its committed position.
async fn processed() -> Sim {
    let sim = Sim::new(Layout { shards: 1, task_partitions: 1 }, Faults::default(), 7);
    append(&sim, 0..5).await;
    assert_eq!(work(&sim, "worker-0", 3_000).await, PartState::Ready);
    sim
}

#[tokio::test(start_paused = true)]
async fn a_task_partition_that_is_not_whole_is_refused_by_name() {
    type Damage = fn(&Sim, u64);
    let cases: [(&str, Damage, u64, Option<&str>); 6] = [
        ("nothing", |_, _| {}, 0, None),
        ("trimmed below the position", |sim, end| sim.trim(TASKS, end), 0, None),
        ("deleted unread", |sim, end| sim.trim(TASKS, end + 1), 3, Some("it begins at offset")),
        ("truncated", |sim, end| sim.truncate(TASKS, end - 1), 0, Some("it ends at offset")),
        ("created again", |sim, _| sim.truncate(TASKS, 0), 0, Some("it ends at offset 0")),
        ("created again, and grown", |sim, _| sim.truncate(TASKS, 0), 30, Some("its record")),
    ];
    for (name, damage, grown, refusal) in cases {
        let sim = processed().await;
        let position = sim.session("test").position(Group::Workers, TASKS).await.unwrap().unwrap().next;
        let end = sim.records(TASKS).len() as u64;
        assert!(position + 1 >= end, "{name}: {position} of {end}");
        if refusal == Some("it begins at offset") {
            append(&sim, 100..100 + grown).await;
            damage(&sim, position);
        } else {
            damage(&sim, end.min(position));
            append(&sim, 100..100 + grown).await;
        }
        let before = sim.records(TASKS).len();
        let state = work(&sim, "worker-1", 30_000).await;
        let Some(refusal) = refusal else {
            assert_eq!(state, PartState::Ready, "{name}");
            continue;
        };
        let named = matches!(&state, PartState::NotReady(why) if why.contains(PART) && why.contains(refusal));
        assert!(named, "{name}: {state:?}");
        assert_eq!(sim.records(TASKS).len(), before, "{name}: nothing is written to it");
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_without_a_position_begins_with_the_oldest_task() {
    let sim = Sim::new(Layout { shards: 1, task_partitions: 1 }, Faults::default(), 7);
    append(&sim, 0..5).await;
    sim.trim(TASKS, 3);
    assert_eq!(work(&sim, "worker-0", 3_000).await, PartState::Ready);
    assert!(!sim.records(Partition { topic: Topic::Orders, index: 0 }).is_empty(), "the others are inquired about");
}
