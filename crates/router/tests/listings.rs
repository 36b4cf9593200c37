//! The directory of merchants: every shard takes a change, and a record is decided by the listings
//! at its own offset, whatever the shard is restored from.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test fails by panicking")]

#[path = "support/stage.rs"]
mod stage;
#[path = "support/torn.rs"]
mod torn;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use stage::{Router, pause, policy, start_configured};
use torn::{KIND, SHARDS, decisions, marker, orders, states, torn};
use twqr_journal::{Entry, Journal};
use twqr_journal_sim::{Faults, Layout, Sim};
use twqr_order::{
    AcceptedMerchants, Command, Listing, ListingChange, ListingKey, MerchantListing, Policy, Record, StoreListing,
};
use twqr_router::{MemoryStore, StateStore, StoreMark, StoredState};
use twqr_service::{Clock, SystemClock};
use twqr_types::{MerchantId, PayForm, RawPay, StoreId};
use twqr_wire::convert::{StateBody, decode_state, encode_pay, encode_record};

fn sim_of(shards: u32) -> Sim {
    Sim::new(Layout { shards, task_partitions: 1 }, Faults::default(), 7)
}

fn sim() -> Sim {
    sim_of(SHARDS)
}

/// Only merchants in the directory may be paid.
fn listed() -> Policy {
    Policy { accepted_merchants: AcceptedMerchants::Listed, ..policy() }
}

fn start(sim: &Sim, member: &str, store: Arc<MemoryStore>) -> Router {
    let session = sim.session(member);
    start_configured(session.clone(), session, member, store, listed())
}

fn key(merchant: &str, store: Option<&str>) -> ListingKey {
    let store_id = store.map(|store| StoreId::parse(store.into()).unwrap());
    ListingKey { merchant_id: MerchantId::parse(merchant.into()).unwrap(), store_id }
}

fn merchant(is_open: bool) -> Listing {
    Listing::Merchant(MerchantListing { keys: Vec::new(), payment_max: None, is_open, takes_any_store: false })
}

fn store(payment_max: Option<i64>) -> Listing {
    Listing::Store(StoreListing { payment_max, is_open: true })
}

fn change(key: ListingKey, version: u64, listing: Listing) -> Entry {
    let at = SystemClock.now();
    let change = ListingChange { key, version, listing: Some(listing), who: "w".into(), why: "y".into(), at };
    let command = Command::Listing(Box::new(change));
    Entry::plain(encode_record(&Record { at, signed_by: None, nonce: None, command }))
}

/// Appends changes to the shard that decides them.
async fn append(sim: &Sim, changes: Vec<Entry>) {
    sim.session("operator").append(orders(0), changes).await.unwrap();
}

/// A payment of 100 TWD.
fn payment(number: &str, merchant: &str, store: &str) -> Entry {
    let raw = RawPay {
        merchant_id: merchant.into(),
        store_id: store.into(),
        merchant_trade_no: number.into(),
        card_token: "22abcdefghijklmnop".into(),
        trade_amount: 100,
        ..RawPay::default()
    };
    Entry::plain(encode_pay(SystemClock.now(), &PayForm::parse(raw).unwrap(), None))
}

/// Appends a payment to a shard; routers do not check that it belongs there.
async fn pay(sim: &Sim, shard: u32, number: &str, merchant: &str, store: &str) {
    sim.session("caller").append(orders(shard), vec![payment(number, merchant, store)]).await.unwrap();
}

fn expected<const N: usize>(decisions: [(&str, &str); N]) -> BTreeMap<String, String> {
    decisions.into_iter().map(|(number, decision)| (number.to_owned(), decision.to_owned())).collect()
}

#[tokio::test(start_paused = true)]
async fn every_shard_takes_a_change_and_only_the_next_version() {
    let sim = sim();
    let router = start(&sim, "router-0", Arc::default());
    pause(2_000).await;
    let limits = [(1, Some(100)), (1, None), (2, Some(99)), (4, Some(100))];
    append(&sim, vec![change(key("M", None), 1, merchant(true))]).await;
    for (number, (version, most)) in (1..).zip(limits) {
        append(&sim, vec![change(key("M", Some("S")), version, store(most))]).await;
        pause(500).await;
        for shard in 0..SHARDS {
            pay(&sim, shard, &format!("{shard}/{number}"), "M", "S").await;
        }
    }
    pay(&sim, 1, "other", "N", "S").await;
    pause(2_000).await;
    let all = [
        ("0/1", "sent"),
        ("0/2", "sent"),
        ("0/3", "932"),
        ("0/4", "932"),
        ("1/1", "sent"),
        ("1/2", "sent"),
        ("1/3", "932"),
        ("1/4", "932"),
        ("other", "907"),
    ];
    assert_eq!(decisions(&sim), expected(all));
    assert!(router.health.is_ready(), "{:?}", router.health.report());
}

/// The states in `order-states` may be newer than the marker from which the log is replayed.
#[tokio::test(start_paused = true)]
async fn a_replay_decides_by_the_listings_at_each_record() {
    let before = sim();
    let router = start(&before, "router-0", Arc::default());
    pause(2_000).await;
    append(&before, vec![change(key("M", None), 1, merchant(true)), change(key("M", Some("S")), 1, store(None))]).await;
    pause(2_000).await;
    let (marked, kept) = marker(&before, 1);
    // One append is one batch, so all of it is in one checkpoint.
    let mut entries = Vec::new();
    for (number, version, is_open) in [("T1", 2, false), ("T2", 3, true), ("T3", 4, false)] {
        entries.push(payment(number, "M", "S"));
        entries.push(change(key("M", None), version, merchant(is_open)));
    }
    entries.push(payment("T4", "M", "S"));
    before.session("caller").append(orders(1), entries).await.unwrap();
    pause(2_000).await;
    let all = expected([("T1", "sent"), ("T2", "980"), ("T3", "sent"), ("T4", "980")]);
    assert_eq!(decisions(&before), all);
    assert!(marker(&before, 1).0 > marked);
    router.session.crash();
    router.running.abort();

    let after = torn(&before, kept, |body| matches!(body, StateBody::Listing(_))).await;
    assert_eq!((marker(&after, 1).0, decisions(&after).len()), (marked, 0), "the replay begins before all of them");
    let router = start(&after, "router-1", Arc::default());
    pause(3_000).await;
    assert_eq!(decisions(&after), all);
    assert!(router.health.is_ready(), "{:?}", router.health.report());
}

/// How many stores the directory must hold.
const STORES: u32 = 100_000;
/// How many stores each merchant but the first has. The first one has half of all stores.
const STORES_OF_A_MERCHANT: u32 = 10;

/// The merchant and the StoreID of the store with this number.
fn store_of(n: u32) -> (String, String) {
    let merchant = if n < STORES / 2 { "M".to_owned() } else { format!("M{}", n / STORES_OF_A_MERCHANT) };
    (merchant, format!("store-{n}"))
}

/// Every seventh store takes at most 99 TWD.
fn limit_of(n: u32) -> Option<i64> {
    n.is_multiple_of(7).then_some(99)
}

/// The first version of every store, and of the merchants.
fn first_versions() -> Vec<Entry> {
    let mut merchants: Vec<String> = (0..STORES).map(|n| store_of(n).0).collect();
    merchants.dedup();
    let merchants = merchants.iter().map(|id| change(key(id, None), 1, merchant(true)));
    let stores = (0..STORES).map(|n| {
        let (merchant, id) = store_of(n);
        change(key(&merchant, Some(&id)), 1, store(limit_of(n)))
    });
    merchants.chain(stores).collect()
}

/// Pays at some stores, and checks each decision.
async fn pay_everywhere(sim: &Sim, name: &str) {
    for n in (0..STORES).step_by(5_003) {
        let (merchant, store) = store_of(n);
        pay(sim, 0, &format!("{name}/{n}"), &merchant, &store).await;
    }
    pay(sim, 0, &format!("{name}/none"), "M", "store-none").await;
    pause(3_000).await;
    let decisions = decisions(sim);
    for n in (0..STORES).step_by(5_003) {
        let expected = if limit_of(n).is_some() { "932" } else { "sent" };
        assert_eq!(decisions.get(&format!("{name}/{n}")).map(String::as_str), Some(expected), "{name}: {n}");
    }
    assert_eq!(decisions[&format!("{name}/none")], "907");
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_stores_decide_the_same_after_a_restart() {
    let (sim, kept_store) = (sim_of(1), Arc::new(MemoryStore::default()));
    let first = start(&sim, "router-0", kept_store.clone());
    pause(2_000).await;
    for changes in first_versions().chunks(1_000) {
        append(&sim, changes.to_vec()).await;
        pause(200).await;
    }
    pause(5_000).await;
    pay_everywhere(&sim, "first owner").await;
    crash(&first);
    let again = start(&sim, "router-0", kept_store);
    pause(20_000).await;
    pay_everywhere(&sim, "kept store").await;
    crash(&again);
    let _empty = start(&sim, "router-2", Arc::default());
    pause(20_000).await;
    pay_everywhere(&sim, "empty store").await;
}

fn crash(router: &Router) {
    router.session.crash();
    router.running.abort();
}

/// Each process that has followed or restored the states decides alike, and nothing of an older
/// epoch stays in `order-states` once the entry has changed again.
#[tokio::test(start_paused = true)]
async fn a_standby_takes_over_with_the_directory() {
    let sim = sim();
    let first = start(&sim, "router-0", Arc::default());
    pause(2_000).await;
    append(&sim, vec![change(key("M", None), 1, merchant(true)), change(key("M", Some("S")), 1, store(None))]).await;
    pause(2_000).await;
    let second = start(&sim, "router-1", Arc::default());
    pause(5_000).await;
    append(&sim, vec![change(key("M", Some("S")), 2, store(Some(99)))]).await;
    pause(2_000).await;
    crash(&first);
    pause(5_000).await;
    (0..SHARDS).for_each(|shard| sim.compact(states(shard)));
    for shard in 0..SHARDS {
        pay(&sim, shard, &format!("{shard}/1"), "M", "S").await;
    }
    append(&sim, vec![change(key("M", Some("S")), 3, store(None))]).await;
    pause(2_000).await;
    for shard in 0..SHARDS {
        pay(&sim, shard, &format!("{shard}/2"), "M", "S").await;
    }
    pause(5_000).await;
    let all = [("0/1", "932"), ("0/2", "sent"), ("1/1", "932"), ("1/2", "sent")];
    assert_eq!(decisions(&sim), expected(all));
    assert!(second.health.is_ready(), "{:?}", second.health.report());
    (0..SHARDS).for_each(|shard| sim.compact(states(shard)));
    for shard in 0..SHARDS {
        let stores = sim.records(states(shard)).into_iter().filter(|record| {
            let body = record.entry.value.clone().and_then(|value| decode_state(value).ok()).map(|entry| entry.body);
            matches!(body, Some(StateBody::Listing(versions))
                if versions.newest().unwrap().key == key("M", Some("S")))
        });
        assert_eq!(stores.count(), 1, "shard {shard}");
    }
}

/// A build of before the directory follows a shard, and skips the listings.
#[tokio::test(start_paused = true)]
async fn a_store_that_an_earlier_build_has_written_gets_the_listings() {
    let sim = sim_of(1);
    let router = start(&sim, "router-0", Arc::default());
    pause(2_000).await;
    append(&sim, vec![change(key("M", None), 1, merchant(true)), change(key("M", Some("S")), 1, store(None))]).await;
    pause(3_000).await;
    crash(&router);
    let records = sim.records(states(0));
    let is_policy = |record: &&twqr_journal::Record| record.entry.key.get(KIND) == Some(&b'v');
    let policy = records.iter().rfind(is_policy).and_then(|record| record.entry.value.clone()).unwrap();
    let position = decode_state(policy.clone()).unwrap().position;
    let policy = StoredState { key: Bytes::from_static(&[0]), position, record: policy };
    let states_offset = records.last().unwrap().offset + 1;
    let mark = StoreMark { position: marker(&sim, 0).0, states_offset, ..StoreMark::default() };
    let earlier = Arc::new(MemoryStore::default());
    earlier.put(0, &[policy], mark).unwrap();

    let router = start(&sim, "router-1", earlier);
    pause(5_000).await;
    pay(&sim, 0, "T", "M", "S").await;
    pause(2_000).await;
    assert_eq!(decisions(&sim), expected([("T", "sent")]));
    assert!(router.health.is_ready(), "{:?}", router.health.report());
}
