//! An issuer that answers without deciding anything counts as one that does not answer: its circuit
//! opens, and such answers do not close it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::wildcard_enum_match_arm, reason = "a test names the variants that it is about")]

#[path = "support/charges.rs"]
mod charges;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use charges::charge_call;
use futures::StreamExt;
use tokio::time::Instant;
use tonic::Status;
use twqr_journal::{Entry, Journal, Partition, Topic};
use twqr_journal_sim::{Faults, Layout, Sim, SimSession};
use twqr_order::{Command, EffectId, Limits, MovementOutcome, Subject, Task, TaskKind, TaskResult};
use twqr_service::{CancellationToken, Clock, Context, Health};
use twqr_types::{Issuer, MerchantId, MerchantTradeNo, OrderKey, ShardId, TradeNo, UnixMs};
use twqr_wire::{
    backend::{
        Declined, ExchangeRequest, ExchangeResponse, TradeUnknown, Undecided, declined, exchange_response::Answer,
    },
    convert::{TaskRecord, decode_record, encode_task_record},
};
use twqr_worker::{Answers, Backend, Calls, Settings, run};

const ORDERS: Partition = Partition { topic: Topic::Orders, index: 0 };
const TASKS: Partition = Partition { topic: Topic::WalletTasks, index: 0 };
const BEGAN: UnixMs = UnixMs(1_700_000_000_000);
const FAILURES_TO_OPEN: u32 = 3;

struct VirtualClock(Instant);

impl Clock for VirtualClock {
    fn now(&self) -> UnixMs {
        BEGAN.plus(i64::try_from(self.0.elapsed().as_millis()).unwrap())
    }
}

/// Gives every call the same answer; once `is_well`, it does not know any number.
struct Issuers {
    answer: Option<Answer>,
    is_well: AtomicBool,
}

/// The backend of a worker.
struct Shared(Arc<Issuers>);

#[async_trait]
impl Backend for Shared {
    async fn exchange(&self, calls: Calls) -> Result<Answers, Status> {
        let issuers = self.0.clone();
        Ok(Box::pin(calls.map(move |call: ExchangeRequest| {
            let is_well = issuers.is_well.load(Ordering::Relaxed);
            let answer = if is_well { Some(Answer::TradeUnknown(TradeUnknown {})) } else { issuers.answer.clone() };
            Ok(ExchangeResponse { call_id: call.call_id, answer })
        })))
    }

    fn no_connection(&self, _: &Status) {}
}

/// Appends the task with this number.
async fn append(router: &SimSession, number: u64, kind: TaskKind) {
    let key = OrderKey {
        merchant_id: MerchantId::parse("M1".into()).unwrap(),
        merchant_trade_no: MerchantTradeNo::parse(format!("T{number}")).unwrap(),
    };
    let limits = Limits { failures_to_open: FAILURES_TO_OPEN, open_ms: 600_000, ..Limits::default() };
    let task = TaskRecord::Task(Box::new(Task {
        id: EffectId { shard: ShardId(0), offset: number, n: 0 },
        key,
        trade_no: TradeNo::new(ShardId(0), number, BEGAN),
        issuer: Issuer::Wallet,
        limits,
        is_idempotent: false,
        protocol_version: 0,
        send_by: BEGAN.plus(60_000),
        absent_after: BEGAN.plus(120_000),
        kind,
    }));
    router.append(TASKS, vec![Entry::plain(encode_task_record(&task))]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// The results that the worker has reported, in their order.
fn results(sim: &Sim) -> Vec<&'static str> {
    let result = |record: twqr_journal::Record| match decode_record(record.entry.value.unwrap()).unwrap().command {
        Command::Outcome(outcome) => match outcome.movement {
            MovementOutcome::Charge(TaskResult::NotSent(_)) => "not sent",
            MovementOutcome::Charge(TaskResult::Unknown(_)) => "unknown",
            // The machine takes a code that proves nothing for unknown.
            MovementOutcome::Charge(TaskResult::Declined(decline)) if decline.is_ambiguous() => "unknown",
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    sim.records(ORDERS).into_iter().map(result).collect()
}

/// The results of charges and inquiries at an issuer that gives every call this answer until it is
/// well again.
async fn results_with(answer: Option<Answer>) -> Vec<&'static str> {
    let sim = Sim::new(Layout { shards: 1, task_partitions: 1 }, Faults::default(), 7);
    let issuers = Arc::new(Issuers { answer, is_well: AtomicBool::new(false) });
    let shutdown = CancellationToken::new();
    let clock = Arc::new(VirtualClock(Instant::now()));
    let context = Context { clock, shutdown: shutdown.clone(), health: Health::default() };
    let settings = Settings::wallet("worker-0".into(), Arc::new(Shared(issuers.clone())), 1_000);
    let worker = tokio::spawn(run(settings, sim.session("worker-0"), context));
    let router = sim.session("router-0");
    tokio::time::sleep(Duration::from_millis(500)).await;
    for number in 1..=4 {
        append(&router, number, charge_call(1)).await;
    }
    append(&router, 5, TaskKind::Inquire(Subject::Charge)).await;
    append(&router, 6, charge_call(1)).await;
    issuers.is_well.store(true, Ordering::Relaxed);
    append(&router, 7, TaskKind::Inquire(Subject::Charge)).await;
    append(&router, 8, charge_call(1)).await;
    shutdown.cancel();
    worker.await.unwrap().unwrap();
    results(&sim)
}

#[tokio::test(start_paused = true)]
async fn answers_that_decide_nothing_open_the_circuit_and_do_not_close_it() {
    let busy = Declined { kind: declined::Kind::Wallet.into(), code: "909".into(), reason: "busy".into() };
    for (name, answer) in [
        ("undecided", Some(Answer::Undecided(Undecided::default()))),
        ("909", Some(Answer::Declined(busy))),
        ("an empty answer", None),
    ] {
        let results = results_with(answer).await;
        let sent = ["unknown"; FAILURES_TO_OPEN as usize];
        assert_eq!(results[..3], sent, "{name}: three charges are sent");
        assert_eq!(results[3..6], ["not sent", "unknown", "not sent"], "{name}: open, an inquiry, still open");
        assert_eq!(results[6..], ["unknown", "unknown"], "{name}: an answer that says something closes it");
    }
}
