//! More changes between two checkpoints than a shard keeps versions: after a crash in the second
//! checkpoint, a replay still decides each record by the version in force at its offset. A payment
//! that was sent may not be refused.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/stage.rs"]
mod stage;
#[path = "support/torn.rs"]
mod torn;

use std::{collections::BTreeMap, sync::Arc};

use stage::{Router, form, pause, policy, start_configured};
use torn::{SHARDS, decisions, marker, orders, states, torn};
use twqr_journal::{Entry, Journal};
use twqr_journal_sim::{Faults, Layout, Sim};
use twqr_order::{
    AcceptedMerchants, Command, Listing, ListingChange, ListingKey, MerchantListing, Policy, PolicyChange, Record,
    RouteTarget,
};
use twqr_router::MemoryStore;
use twqr_service::{Clock, SystemClock};
use twqr_wire::convert::{POLICY_BYTES_MAX, StateBody, decode_state, encode_pay, encode_record};

/// Any store of a listed merchant may be paid.
fn listed() -> Policy {
    Policy { accepted_merchants: AcceptedMerchants::Listed, ..policy() }
}

fn start(sim: &Sim, member: &str) -> Router {
    let session = sim.session(member);
    start_configured(session.clone(), session, member, Arc::new(MemoryStore::default()), listed())
}

fn entry(command: Command) -> Entry {
    Entry::plain(encode_record(&Record { at: SystemClock.now(), signed_by: None, nonce: None, command }))
}

/// A version of the policy whose name has this length. The last one refuses the payments.
fn policy_version(version: u64, is_last: bool, name_len: usize) -> Entry {
    let mut policy = Policy { name: "n".repeat(name_len), ..listed() };
    if is_last {
        policy.routes[0].target = RouteTarget::Refuse;
    }
    let (who, why, at) = ("w".into(), "y".into(), SystemClock.now());
    entry(Command::Policy(Box::new(PolicyChange { version, policy, who, why, at })))
}

/// A version of the merchant's listing. The last one refuses the payments.
fn merchant_version(version: u64, is_last: bool) -> Entry {
    let key = ListingKey { merchant_id: form("T").key.merchant_id, store_id: None };
    let listing = MerchantListing { keys: Vec::new(), payment_max: None, is_open: !is_last, takes_any_store: true };
    let (who, why, at) = ("w".into(), "y".into(), SystemClock.now());
    let change = ListingChange { key, version, listing: Some(Listing::Merchant(listing)), who, why, at };
    entry(Command::Listing(Box::new(change)))
}

fn payment(number: &str) -> Entry {
    Entry::plain(encode_pay(SystemClock.now(), &form(number), None))
}

/// How many versions of the policy the newest state of shard 1 has.
fn policies_kept(sim: &Sim) -> usize {
    let bodies = sim.records(states(1)).into_iter().filter_map(|record| decode_state(record.entry.value?).ok());
    let kept = bodies.filter_map(|state| match state.body {
        StateBody::Policies(versions) => Some(versions.iter().count()),
        StateBody::Order(_) | StateBody::Listing(_) | StateBody::Marker | StateBody::Beginning { .. } => None,
    });
    kept.last().unwrap()
}

/// Fails if a version that is in force at the last marker is dropped with the oldest ones: `first`
/// is refused then after it was sent, with 982 for want of a policy, or 907 for want of a listing.
#[tokio::test(start_paused = true)]
async fn a_replay_over_many_changes_decides_as_before() {
    let large = POLICY_BYTES_MAX - 4_096;
    let policies = |count: u64, len| (2..=count).map(|n| policy_version(n, n == count, len)).collect::<Vec<_>>();
    let merchants = |count: u64| (2..=count).map(|n| merchant_version(n, n == count)).collect::<Vec<_>>();
    for (name, changes, refusal) in [
        ("more policies than are kept", policies(90, 1), "927"),
        ("the largest policies", policies(8, large), "927"),
        ("more listings of a merchant than are kept", merchants(200), "980"),
    ] {
        let before = Sim::new(Layout { shards: SHARDS, task_partitions: 1 }, Faults::default(), 7);
        let router = start(&before, "router-0");
        pause(2_000).await;
        before.session("operator").append(orders(0), vec![merchant_version(1, false)]).await.unwrap();
        pause(2_000).await;
        let (marked, kept) = marker(&before, 1);
        // One append is one batch, so all of it is in one checkpoint.
        let entries = [vec![payment("first")], changes, vec![payment("last")]].concat();
        before.session("caller").append(orders(1), entries).await.unwrap();
        pause(2_000).await;
        let expected = [("first", "sent"), ("last", refusal)].map(|(n, d)| (n.to_owned(), d.to_owned()));
        let expected = BTreeMap::from(expected);
        assert_eq!(decisions(&before), expected, "{name}");
        assert!(policies_kept(&before) <= 64, "{name}");
        router.session.crash();
        router.running.abort();

        let is_rule = |body: &StateBody| matches!(body, StateBody::Policies(_) | StateBody::Listing(_));
        let after = torn(&before, kept, is_rule).await;
        assert_eq!((marker(&after, 1).0, decisions(&after).len()), (marked, 0), "{name}: the replay begins before it");
        let router = start(&after, "router-1");
        pause(3_000).await;
        assert_eq!(decisions(&after), expected, "{name}");
        assert!(router.health.is_ready(), "{name}: {:?}", router.health.report());
        router.session.crash();
        router.running.abort();
    }
}
