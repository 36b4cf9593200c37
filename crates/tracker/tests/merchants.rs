//! Tests of the directory of merchants in the operators' API, with a real tracker and a real
//! router: reading and changing it, conflicts, and shards that are behind.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/served.rs"]
mod served;

use std::{sync::Arc, time::Duration};

use served::{TestTracker, first_policy, open_journal};
use tonic::{Code, Status};
use twqr_journal::{Entry, Journal, Partition, Topic};
use twqr_order::{
    AcceptedMerchants, Listing, ListingChange, ListingKey, ListingVersions, MerchantListing, Policy, StoreListing,
};
use twqr_types::{MerchantId, StoreId, UnixMs};
use twqr_wire::{
    convert::{StateBody, StatesEntry, encode_state, listing_change_from, listing_change_out},
    ops::{
        ChangeMerchantsRequest, ListMerchantsRequest, ListMerchantsResponse, ListedMerchant, listing_result::Outcome,
    },
};

const ORDERS: Partition = Partition { topic: Topic::Orders, index: 0 };

fn key(merchant: &str, store: Option<&str>) -> ListingKey {
    let store_id = store.map(|store| StoreId::parse(store.into()).unwrap());
    ListingKey { merchant_id: MerchantId::parse(merchant.into()).unwrap(), store_id }
}

fn change(key: ListingKey, version: u64, listing: Option<Listing>) -> ListingChange {
    ListingChange { key, version, listing, who: "".into(), why: "".into(), at: UnixMs(0) }
}

fn merchant(id: &str, version: u64) -> ListingChange {
    let listing = MerchantListing {
        keys: Vec::new(),
        payment_max: None,
        is_open: true,
        takes_any_store: version.is_multiple_of(2),
    };
    change(key(id, None), version, Some(Listing::Merchant(listing)))
}

fn store(merchant: &str, id: &str, version: u64) -> ListingChange {
    let listing = StoreListing { payment_max: Some(version.cast_signed()), is_open: true };
    change(key(merchant, Some(id)), version, Some(Listing::Store(listing)))
}

async fn apply(tracker: &TestTracker, changes: &[ListingChange]) -> Result<Vec<(Outcome, u64)>, Status> {
    let changes = changes.iter().map(listing_change_out).collect();
    let request = ChangeMerchantsRequest { changes, who: "alice".into(), why: "因為測試".into() };
    let results = tracker.client.clone().change_merchants(request).await?.into_inner().results;
    Ok(results.into_iter().map(|result| (result.outcome(), result.newest_version)).collect())
}

async fn list(tracker: &TestTracker, request: ListMerchantsRequest) -> Result<ListMerchantsResponse, Status> {
    Ok(tracker.client.clone().list_merchants(request).await?.into_inner())
}

/// The entries of all pages, as their keys and versions.
async fn all(tracker: &TestTracker, filter: ListMerchantsRequest) -> Vec<String> {
    let (mut found, mut page_token) = (Vec::new(), String::new());
    loop {
        let page = list(tracker, ListMerchantsRequest { page_size: 2, page_token, ..filter.clone() }).await.unwrap();
        found.extend(page.entries.into_iter().map(|entry| {
            let change = listing_change_from(entry.change.unwrap()).unwrap();
            format!("{} {}", change.key, change.version)
        }));
        if page.next_page_token.is_empty() {
            return found;
        }
        page_token = page.next_page_token;
    }
}

/// Waits until no shard is behind.
async fn wait_for_all_shards(tracker: &TestTracker) {
    let behind = ListMerchantsRequest { behind_only: true, removed: true, ..ListMerchantsRequest::default() };
    for _ in 0..1_000 {
        if list(tracker, behind.clone()).await.is_ok_and(|found| found.entries.is_empty()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("a shard is behind for 10 s: {:?}", list(tracker, behind).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_taken_one_by_one_and_survive_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_journal(folder.path());
    let tracker = TestTracker::open(folder.path(), &journal, true, 10_000).await;
    tracker.wait_for_all_shards(1).await;
    let first = [merchant("M1", 1), store("M1", "S1", 1), store("M1", "S2", 1), merchant("M2", 1)];
    assert_eq!(apply(&tracker, &first).await.unwrap(), [(Outcome::Taken, 1); 4]);
    let mixed = [store("M1", "S1", 2), store("M1", "S2", 1), store("M1", "S3", 2), change(key("M2", None), 2, None)];
    let expected = [(Outcome::Taken, 2), (Outcome::Conflict, 1), (Outcome::Conflict, 0), (Outcome::Taken, 2)];
    assert_eq!(apply(&tracker, &mixed).await.unwrap(), expected, "a conflict stops no other change");
    wait_for_all_shards(&tracker).await;
    let listed = ["M1 1", "M1/S1 2", "M1/S2 1"];
    assert_eq!(all(&tracker, ListMerchantsRequest::default()).await, listed);
    let removed = ListMerchantsRequest { removed: true, ..ListMerchantsRequest::default() };
    assert_eq!(all(&tracker, removed.clone()).await, ["M1 1", "M1/S1 2", "M1/S2 1", "M2 2"]);
    let of_m2 = ListMerchantsRequest { merchant_id: "M2".into(), ..removed.clone() };
    let found = list(&tracker, of_m2).await.unwrap().entries;
    let [ListedMerchant { change: Some(change), .. }] = &found[..] else { panic!("{found:?}") };
    assert_eq!((change.who.as_str(), change.why.as_str(), change.version), ("alice", "因為測試", 2));
    tracker.close().await;

    // Without a router, the answers come from the read model.
    let tracker = TestTracker::open(folder.path(), &journal, false, 300).await;
    tracker.wait_for_all_shards(1).await;
    wait_for_all_shards(&tracker).await;
    assert_eq!(all(&tracker, removed).await, ["M1 1", "M1/S1 2", "M1/S2 1", "M2 2"]);
    assert_eq!(apply(&tracker, &[merchant("M1", 2)]).await.unwrap(), [(Outcome::Undecided, 1)]);
    tracker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_several_concurrent_changes_of_an_entry_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_journal(folder.path());
    let tracker = TestTracker::open(folder.path(), &journal, true, 10_000).await;
    tracker.wait_for_all_shards(1).await;
    for version in 1..5 {
        let change = [merchant("M1", version)];
        let (a, b, c) = tokio::join!(apply(&tracker, &change), apply(&tracker, &change), apply(&tracker, &change));
        let mut results: Vec<_> = [a, b, c].into_iter().flat_map(Result::unwrap).collect();
        results.sort_by_key(|(outcome, _)| *outcome != Outcome::Taken);
        let conflict = (Outcome::Conflict, version);
        assert_eq!(results, [(Outcome::Taken, version), conflict, conflict]);
    }
    tracker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_request_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_journal(folder.path());
    let tracker = TestTracker::open(folder.path(), &journal, true, 10_000).await;
    tracker.wait_for_all_shards(1).await;
    let end = journal.end(ORDERS).await.unwrap();
    for (name, changes, expected) in [
        ("none", vec![], "changes has 0 entries"),
        ("too many", vec![merchant("M", 1); 1_001], "changes has 1001 entries"),
        ("twice", vec![merchant("M", 1), merchant("M", 2)], "changes[1] is about an earlier entry, too"),
        ("version 0", vec![merchant("M", 1), store("M", "S", 0)], "changes[1].version must be 1 or more"),
        (
            "a store's limit",
            vec![change(
                key("M", Some("S")),
                1,
                Some(Listing::Store(StoreListing { payment_max: Some(-1), is_open: true })),
            )],
            "changes[0] listing: payment_max is -1",
        ),
    ] {
        let refused = apply(&tracker, &changes).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{name}");
        assert!(refused.message().contains(expected), "{name}: {refused:?}");
    }
    let nobody = ChangeMerchantsRequest { changes: vec![listing_change_out(&merchant("M", 1))], ..Default::default() };
    let refused = tracker.client.clone().change_merchants(nobody).await.unwrap_err();
    assert!(refused.message().starts_with("who has 0 characters"), "{refused:?}");
    assert_eq!(journal.end(ORDERS).await.unwrap(), end, "no record was written");
    let early = Policy { protocol_version: 1, accepted_merchants: AcceptedMerchants::Listed, ..first_policy() };
    assert_eq!(tracker.apply(&early, 1, "alice").await.unwrap(), 2, "the version in force is higher, and stays");
    tracker.close().await;
}

fn state(shard: u32, position: u64, change: ListingChange) -> (Partition, Entry) {
    let mut versions = ListingVersions::default();
    versions.insert(position - 1, Arc::new(change));
    let (key, value) = encode_state(&StatesEntry { epoch: 1, position, body: StateBody::Listing(versions) });
    (Partition { topic: Topic::OrderStates, index: shard }, Entry { key, value: Some(value) })
}

/// A router that crashes after it has read a change may leave other shards without it until the
/// next one forwards it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_is_behind_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_journal(folder.path());
    let tracker = TestTracker::open(folder.path(), &journal, true, 10_000).await;
    tracker.wait_for_all_shards(1).await;
    tracker.close().await;
    for (shard, version) in [(0, 2), (1, 1)] {
        let (partition, entry) = state(shard, 9, merchant("M1", version));
        journal.append(partition, vec![entry]).await.unwrap();
    }
    let tracker = TestTracker::open(folder.path(), &journal, false, 300).await;
    tracker.wait_for_all_shards(1).await;
    let behind = ListMerchantsRequest { behind_only: true, ..ListMerchantsRequest::default() };
    for _ in 0..500 {
        if !list(&tracker, behind.clone()).await.unwrap().entries.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let found = list(&tracker, behind.clone()).await.unwrap().entries;
    let shards: Vec<(u32, u64)> = found[0].behind.iter().map(|shard| (shard.shard, shard.version)).collect();
    assert_eq!(shards, [(1, 1)]);
    let (partition, entry) = state(1, 12, merchant("M1", 2));
    journal.append(partition, vec![entry]).await.unwrap();
    wait_for_all_shards(&tracker).await;
    tracker.close().await;
}
