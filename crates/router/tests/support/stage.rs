//! Starts routers of one shard on a simulated journal, and appends the records that callers cause.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a test fails by panicking; not every test needs all of it"
)]

use std::{sync::Arc, time::Duration};

use tokio::task::JoinHandle;
use twqr_journal::{Entry, Journal, Partition, Topic};
use twqr_journal_sim::{Faults, Layout, Sim, SimSession};
use twqr_order::{Alphabet, HoldRecord, Policy, ReplyTo, Route, RouteTarget};
use twqr_router::{MemoryStore, Settings, StateStore};
use twqr_service::{CancellationToken, Clock, Context, Health, SystemClock};
use twqr_types::{Issuer, MerchantId, MerchantTradeNo, OrderKey, PayForm, RawPay};
use twqr_wire::convert::{HeldTopic, encode_cancel, encode_pay, encode_query};

pub const ORDERS: Partition = Partition { topic: Topic::Orders, index: 0 };
pub const STATES: Partition = Partition { topic: Topic::OrderStates, index: 0 };

/// The correlation number of [`query`].
pub const CALLER: u64 = 7;

/// A running router, and the handles to control it.
pub struct Router {
    pub running: JoinHandle<Result<(), twqr_router::Error>>,
    pub session: Arc<SimSession>,
    pub shutdown: CancellationToken,
    pub health: Health,
}

/// A simulated journal of one shard.
pub fn sim(faults: Faults) -> Sim {
    Sim::new(Layout { shards: 1, task_partitions: 1 }, faults, 7)
}

/// Starts a router with an empty local store.
pub fn start(sim: &Sim, member: &str) -> Router {
    start_on(sim, member, Arc::new(MemoryStore::default()))
}

/// Payment codes that begin with 22 belong to the wallet.
pub fn policy() -> Policy {
    let route = Route {
        prefix: "22".into(),
        target: RouteTarget::Issuer(Issuer::Wallet),
        code_lengths: vec![18],
        alphabet: Alphabet::Printable,
    };
    Policy { routes: vec![route], ..Policy::default() }
}

/// Starts a router with this local store and the policy of [`policy`].
pub fn start_on(sim: &Sim, member: &str, store: Arc<MemoryStore>) -> Router {
    let session = sim.session(member);
    start_with(session.clone(), session, member, store)
}

/// Starts a router on this journal, which uses the session.
pub fn start_with(
    journal: Arc<dyn Journal>,
    session: Arc<SimSession>,
    member: &str,
    store: Arc<dyn StateStore>,
) -> Router {
    start_configured(journal, session, member, store, policy())
}

/// Starts a router with this first policy and an empty local store.
pub fn start_by(sim: &Sim, member: &str, policy: Policy) -> Router {
    let session = sim.session(member);
    start_configured(session.clone(), session, member, Arc::new(MemoryStore::default()), policy)
}

/// Starts a router with this first policy and this local store.
pub fn start_configured(
    journal: Arc<dyn Journal>,
    session: Arc<SimSession>,
    member: &str,
    store: Arc<dyn StateStore>,
    policy: Policy,
) -> Router {
    let (shutdown, health) = (CancellationToken::new(), Health::default());
    let context = Context { clock: Arc::new(SystemClock), shutdown: shutdown.clone(), health: health.clone() };
    let settings = Settings { member: member.into(), policy, checkpoint_interval_ms: 100, standby: true, store };
    let running = tokio::spawn(twqr_router::run(settings, journal, context));
    Router { running, session, shutdown, health }
}

/// The offset after the last record of `orders` that is more than a sign of life.
pub fn worked_to(sim: &Sim) -> u64 {
    let is_sign = |record: &twqr_journal::Record| {
        let hold = record.entry.value.as_ref().and_then(|value| HeldTopic::Orders.decode_hold(value));
        matches!(hold, Some(HoldRecord::Alive(_)))
    };
    sim.records(ORDERS).iter().rev().find(|record| !is_sign(record)).map_or(0, |record| record.offset + 1)
}

pub async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// Appends a payment with a code of the wallet.
pub async fn pay(journal: &dyn Journal, number: &str) {
    pay_on(journal, ORDERS, number).await;
}

/// Appends a payment to this shard; routers do not check that it belongs there.
pub async fn pay_on(journal: &dyn Journal, orders: Partition, number: &str) {
    let record = encode_pay(SystemClock.now(), &form(number), None);
    journal.append(orders, vec![Entry::plain(record)]).await.unwrap();
}

/// Appends a cancel of the payment.
pub async fn cancel(journal: &dyn Journal, number: &str) {
    let record = encode_cancel(SystemClock.now(), &form(number), None);
    journal.append(ORDERS, vec![Entry::plain(record)]).await.unwrap();
}

pub fn form(number: &str) -> PayForm {
    let raw = RawPay {
        merchant_id: "M1".into(),
        merchant_trade_no: number.into(),
        card_token: "22abcdefghijklmnop".into(),
        trade_amount: 1,
        ..RawPay::default()
    };
    PayForm::parse(raw).unwrap()
}

/// Appends a query for an order that does not exist.
pub async fn query(journal: &dyn Journal) {
    let key = OrderKey {
        merchant_id: MerchantId::parse("M1".into()).unwrap(),
        merchant_trade_no: MerchantTradeNo::parse("T1".into()).unwrap(),
    };
    let now = SystemClock.now();
    let to = ReplyTo { partition: 0, correlation: CALLER, until: now.plus(60_000) };
    journal.append(ORDERS, vec![Entry::plain(encode_query(now, &key, to, false))]).await.unwrap();
}
