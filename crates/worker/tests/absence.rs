//! An issuer that does not know a movement proves its absence only if no transfer of it may arrive
//! any more: not while the worker's own call is in flight, and not within a window that is too
//! short for the worker's connection.

#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm, reason = "a test fails by panicking")]

#[path = "support/charges.rs"]
mod charges;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use charges::charge_call;
use futures::StreamExt;
use tokio::time::Instant;
use tonic::Status;
use twqr_journal::{Entry, Journal, Partition, Topic};
use twqr_journal_sim::{Faults, Layout, Sim};
use twqr_order::{Command, EffectId, HELD_BACK_MS_MAX, Limits, MovementOutcome, Subject, Task, TaskKind, TaskResult};
use twqr_service::{CancellationToken, Clock, Context, Health};
use twqr_types::{Issuer, MerchantId, MerchantTradeNo, OrderKey, ShardId, TradeNo, UnixMs};
use twqr_wire::{
    backend::{ExchangeRequest, ExchangeResponse, TradeUnknown, exchange_request::Call, exchange_response::Answer},
    convert::{TaskRecord, decode_record, encode_task_record},
};
use twqr_worker::{Answers, Backend, Calls, Settings, run};

const ORDERS: Partition = Partition { topic: Topic::Orders, index: 0 };
const TASKS: Partition = Partition { topic: Topic::WalletTasks, index: 0 };
const BEGAN: UnixMs = UnixMs(1_700_000_000_000);
const CALL_TIMEOUT_MS: u64 = 4_000;

/// The virtual time, and what a test adds to it.
struct SteppedClock {
    began: Instant,
    added_ms: AtomicI64,
}

impl Clock for SteppedClock {
    fn now(&self) -> UnixMs {
        let passed = i64::try_from(self.began.elapsed().as_millis()).unwrap();
        BEGAN.plus(passed + self.added_ms.load(Ordering::Relaxed))
    }
}

/// Leaves every transfer without an answer, and knows none of them.
struct KnowsNothing;

#[async_trait]
impl Backend for KnowsNothing {
    async fn exchange(&self, calls: Calls) -> Result<Answers, Status> {
        let answer = |call: ExchangeRequest| async move {
            let is_inquiry = matches!(call.call, Some(Call::Inquiry(_)));
            let answer = Some(Answer::TradeUnknown(TradeUnknown {}));
            is_inquiry.then_some(Ok(ExchangeResponse { call_id: call.call_id, answer }))
        };
        Ok(Box::pin(calls.filter_map(answer)))
    }

    fn no_connection(&self, _: &Status) {}
}

fn task(offset: u64, window_ms: i64, kind: TaskKind) -> TaskRecord {
    let key = OrderKey {
        merchant_id: MerchantId::parse("M1".into()).unwrap(),
        merchant_trade_no: MerchantTradeNo::parse("T1".into()).unwrap(),
    };
    let send_by = BEGAN.plus(3_000);
    TaskRecord::Task(Box::new(Task {
        id: EffectId { shard: ShardId(0), offset, n: 0 },
        key,
        trade_no: TradeNo::new(ShardId(0), 1, BEGAN),
        issuer: Issuer::Wallet,
        limits: Limits::default(),
        protocol_version: 0,
        is_idempotent: false,
        send_by,
        absent_after: send_by.plus(window_ms),
        kind,
    }))
}

/// The results of the charge that the worker has reported.
fn results(sim: &Sim) -> Vec<&'static str> {
    let result = |record: twqr_journal::Record| match decode_record(record.entry.value.unwrap()).unwrap().command {
        Command::Outcome(outcome) => match outcome.movement {
            MovementOutcome::Charge(TaskResult::Absent) => "absent",
            MovementOutcome::Charge(TaskResult::Unknown(_)) => "unknown",
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    sim.records(ORDERS).into_iter().map(result).collect()
}

/// Sends a charge. After `waits_ms` and a step of the wall clock by `step_ms`, inquires about it.
/// Returns the results of both calls, in the order in which they were reported.
async fn charge_and_inquire(window_ms: i64, waits_ms: u64, step_ms: i64) -> Vec<&'static str> {
    let sim = Sim::new(Layout { shards: 1, task_partitions: 1 }, Faults::default(), 7);
    let clock = Arc::new(SteppedClock { began: Instant::now(), added_ms: AtomicI64::new(0) });
    let shutdown = CancellationToken::new();
    let context = Context { clock: clock.clone(), shutdown: shutdown.clone(), health: Health::default() };
    let settings = Settings::wallet("worker-0".into(), Arc::new(KnowsNothing), CALL_TIMEOUT_MS);
    let worker = tokio::spawn(run(settings, sim.session("worker-0"), context));
    let router = sim.session("router-0");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let append = |record| router.append(TASKS, vec![Entry::plain(encode_task_record(&record))]);
    append(task(1, window_ms, charge_call(1))).await.unwrap();
    tokio::time::sleep(Duration::from_millis(waits_ms)).await;
    clock.added_ms.store(step_ms, Ordering::Relaxed);
    append(task(2, window_ms, TaskKind::Inquire(Subject::Charge))).await.unwrap();
    tokio::time::sleep(Duration::from_millis(CALL_TIMEOUT_MS)).await;
    shutdown.cancel();
    worker.await.unwrap().unwrap();
    results(&sim)
}

#[tokio::test(start_paused = true)]
async fn absence_is_proven_only_after_the_window_and_without_an_own_transfer_in_flight() {
    let hour = 3_600_000;
    for (name, window_ms, waits_ms, step_ms, expected) in [
        ("the own charge is in flight", 5_000, 1_000, hour, ["unknown", "unknown"]),
        ("the own charge has timed out", 5_000, 8_000, 0, ["unknown", "absent"]),
        ("within the window", 5_000, 7_000, 0, ["unknown", "unknown"]),
        ("a window that is too short", 1_000, 6_000, 0, ["unknown", "unknown"]),
        ("after the shortest window", 1_000, 3_000 + HELD_BACK_MS_MAX.cast_unsigned(), 0, ["unknown", "absent"]),
    ] {
        assert_eq!(charge_and_inquire(window_ms, waits_ms, step_ms).await, expected, "{name}");
    }
}
