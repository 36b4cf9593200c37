//! Health is progress: a router whose consumer stalls silently, while its input grows, turns unready, begins anew, and goes on.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{sync::Arc, time::Duration};

use prost::Message;
use tokio::time::Instant;
use twqr_journal::{
    Entry, Journal, Partition, Topic,
    sim::{Faults, Layout, Sim},
};
use twqr_order::{Alphabet, Policy, ReplyTo, Route, RouteTarget};
use twqr_router::{MemoryStore, Settings};
use twqr_service::{CancellationToken, Clock, Context, Health, PartState, SystemClock};
use twqr_types::{Issuer, MerchantId, MerchantTradeNo, OrderKey};
use twqr_wire::{bus::ReplyRecord, convert::query_record};

const ORDERS: Partition = Partition { topic: Topic::Orders, index: 0 };
const REPLIES: Partition = Partition { topic: Topic::Replies, index: 0 };

/// Who asks.
const CALLER: u64 = 7;

fn policy() -> Policy {
    let route = Route {
        prefix: "22".into(),
        target: RouteTarget::Issuer(Issuer::Wallet),
        code_lengths: vec![18],
        alphabet: Alphabet::Printable,
    };
    Policy { routes: vec![route], ..Policy::default() }
}

/// A question for an order that is not there: its answer shows that the router reads.
async fn ask(journal: &dyn Journal) {
    let key = OrderKey {
        merchant_id: MerchantId::parse("M1".into()).unwrap(),
        merchant_trade_no: MerchantTradeNo::parse("T1".into()).unwrap(),
    };
    let now = SystemClock.now();
    let to = ReplyTo { partition: 0, correlation: CALLER, until: now.plus(60_000) };
    journal.append(ORDERS, vec![Entry::plain(query_record(now, &key, to, false))]).await.unwrap();
}

/// How many answers to the questions there are.
fn answers(sim: &Sim) -> usize {
    let is_answer = |record: &twqr_journal::Record| {
        let reply = ReplyRecord::decode(record.entry.value.clone().unwrap_or_default()).unwrap();
        reply.correlation == CALLER
    };
    sim.records(REPLIES).iter().filter(|record| is_answer(record)).count()
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_stalls_silently_turns_unready_and_begins_anew() {
    let sim = Sim::new(Layout { shards: 1, task_partitions: 1 }, Faults::default(), 7);
    let session = sim.session("router-0");
    let health = Health::default();
    let context = Context { clock: Arc::new(SystemClock), shutdown: CancellationToken::new(), health: health.clone() };
    let store = Arc::new(MemoryStore::default());
    let settings = Settings { member: "router-0".into(), policy: policy(), checkpoint_interval_ms: 100, store };
    tokio::spawn(twqr_router::run(settings, session.clone(), context));
    let caller = sim.session("ingress");
    ask(&*caller).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(health.is_ready(), "{:?}", health.report());
    assert_eq!(answers(&sim), 1);

    session.stall(ORDERS);
    let stalled = Instant::now();
    ask(&*caller).await;
    let mut unready = None;
    while answers(&sim) < 2 && stalled.elapsed() < Duration::from_mins(1) {
        if let Some(PartState::NotReady(why)) = health.report().get("router/shard-0")
            && why.contains("no progress")
        {
            unready.get_or_insert(stalled.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(unready.is_some_and(|after| after < Duration::from_secs(6)), "unready after {unready:?}");
    assert_eq!(answers(&sim), 2, "it reads again after {:?}", stalled.elapsed());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(health.is_ready() && health.dead().is_none(), "{:?}", health.report());
}
