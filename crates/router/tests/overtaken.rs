//! A router that stands still between its claim and its restore, while another one owns the shard: what it restores then is past its own
//! claim, which it will never read. It claims anew, and does not serve for ever without a checkpoint.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{sync::Arc, time::Duration};

use twqr_journal::{
    Entry, Journal, Partition, Topic,
    sim::{Faults, Layout, Sim, SimSession},
};
use twqr_order::{Alphabet, Policy, Record, Route, RouteTarget};
use twqr_router::{MemoryStore, Settings};
use twqr_service::{CancellationToken, Clock, Context, Health, SystemClock};
use twqr_types::{Issuer, PayForm, RawPay};
use twqr_wire::convert::{StateBody, decode_record, decode_state, pay_record};

const ORDERS: Partition = Partition { topic: Topic::Orders, index: 0 };
const STATES: Partition = Partition { topic: Topic::OrderStates, index: 0 };

fn policy() -> Policy {
    let route = Route {
        prefix: "22".into(),
        target: RouteTarget::Issuer(Issuer::Wallet),
        code_lengths: vec![18],
        alphabet: Alphabet::Printable,
    };
    Policy { routes: vec![route], ..Policy::default() }
}

struct Router {
    session: Arc<SimSession>,
    shutdown: CancellationToken,
    health: Health,
}

fn start(sim: &Sim, member: &str) -> Router {
    let (session, shutdown, health) = (sim.session(member), CancellationToken::new(), Health::default());
    let context = Context { clock: Arc::new(SystemClock), shutdown: shutdown.clone(), health: health.clone() };
    let store = Arc::new(MemoryStore::default());
    let settings = Settings { member: member.into(), policy: policy(), checkpoint_interval_ms: 100, store };
    tokio::spawn(twqr_router::run(settings, session.clone(), context));
    Router { session, shutdown, health }
}

async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

async fn pay(journal: &dyn Journal, number: &str) {
    let raw = RawPay {
        merchant_id: "M1".into(),
        merchant_trade_no: number.into(),
        card_token: "22abcdefghijklmnop".into(),
        trade_amount: 1,
        ..RawPay::default()
    };
    let record = pay_record(SystemClock.now(), &PayForm::parse(raw).unwrap(), None);
    journal.append(ORDERS, vec![Entry::plain(record)]).await.unwrap();
}

/// The numbers of the orders in checkpoints.
fn kept(sim: &Sim) -> Vec<String> {
    let state = |record: twqr_journal::Record| match decode_state(record.entry.value?).ok()?.body {
        StateBody::Order(order) => Some(order.key().merchant_trade_no.to_string()),
        StateBody::Policies(_) | StateBody::Marker => None,
    };
    sim.records(STATES).into_iter().filter_map(state).collect()
}

#[tokio::test(start_paused = true)]
async fn one_that_restores_past_its_own_claim_claims_anew() {
    let faults = Faults { append_delay_ms_max: 50, everybody_owns_all: true, ..Faults::default() };
    let sim = Sim::new(Layout { shards: 1, task_partitions: 1 }, faults, 7);
    let overtaken = start(&sim, "router-0");
    pause(1).await;
    assert!(sim.records(ORDERS).is_empty(), "the claim is under way");
    overtaken.session.pause();
    pause(100).await;
    let claims: Vec<Record> =
        sim.records(ORDERS).into_iter().map(|record| decode_record(record.entry.value.unwrap()).unwrap()).collect();
    assert_eq!(claims.len(), 1, "the claim has landed, and its router does not know: {claims:?}");

    let owner = start(&sim, "router-1");
    let caller = sim.session("ingress");
    pay(&*caller, "T1").await;
    pause(3_000).await;
    assert!(
        owner.health.is_ready() && kept(&sim).contains(&"T1".to_owned()),
        "{:?}, {:?}",
        owner.health.report(),
        kept(&sim)
    );
    overtaken.session.resume();
    owner.shutdown.cancel();
    pause(10_000).await;
    owner.session.crash();

    pay(&*caller, "T2").await;
    pause(5_000).await;
    assert!(kept(&sim).contains(&"T2".to_owned()), "{:?}", kept(&sim));
    assert!(overtaken.health.is_ready(), "{:?}", overtaken.health.report());
}
