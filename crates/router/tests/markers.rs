//! A marker says up to which record nothing is missing: also beyond records that changed nothing, and no more often than there is news.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{sync::Arc, time::Duration};

use twqr_journal::{
    Entry, Journal, Partition, Topic,
    sim::{Faults, Layout, Sim},
};
use twqr_order::{Policy, ReplyTo};
use twqr_router::{MemoryStore, Settings};
use twqr_service::{CancellationToken, Clock, Context, Health, SystemClock};
use twqr_types::{MerchantId, MerchantTradeNo, OrderKey};
use twqr_wire::convert::{StateBody, decode_state, query_record};

const ORDERS: Partition = Partition { topic: Topic::Orders, index: 0 };
const STATES: Partition = Partition { topic: Topic::OrderStates, index: 0 };

/// The highest position of a marker.
fn marker(sim: &Sim) -> Option<u64> {
    let marker = |record: twqr_journal::Record| {
        let entry = decode_state(record.entry.value?).ok()?;
        matches!(entry.body, StateBody::Marker).then_some(entry.position)
    };
    sim.records(STATES).into_iter().filter_map(marker).max()
}

#[tokio::test(start_paused = true)]
async fn a_marker_comes_also_for_records_that_change_nothing() {
    let sim = Sim::new(Layout { shards: 1, task_partitions: 1 }, Faults::default(), 7);
    let context =
        Context { clock: Arc::new(SystemClock), shutdown: CancellationToken::new(), health: Health::default() };
    let store = Arc::new(MemoryStore::default());
    let settings =
        Settings { member: "router-0".into(), policy: Policy::default(), checkpoint_interval_ms: 100, store };
    tokio::spawn(twqr_router::run(settings, sim.session("router-0"), context));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let key = OrderKey {
        merchant_id: MerchantId::parse("M1".into()).unwrap(),
        merchant_trade_no: MerchantTradeNo::parse("T1".into()).unwrap(),
    };
    let now = SystemClock.now();
    let to = ReplyTo { partition: 0, correlation: 7, until: now.plus(60_000) };
    let question = Entry::plain(query_record(now, &key, to, false));
    sim.session("ingress").append(ORDERS, vec![question]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(marker(&sim), Some(sim.records(ORDERS).len() as u64));
    let written = sim.records(STATES).len();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(sim.records(STATES).len(), written, "nothing is written where nothing comes");
}
