//! Tests of the policy in the operators' API, with a real tracker and a real router: reading,
//! changing and replaying it, and the refusals.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/served.rs"]
mod served;

use std::{num::NonZeroU16, sync::Arc, time::Duration};

use served::{SHARDS, TestTracker, first_policy, open_journal, policy};
use tonic::{Code, Status};
use tonic_types::StatusExt;
use twqr_journal::{Entry, Journal, Partition, Topic};
use twqr_order::{Command, IssuerRules, Policy, PolicyChange, PolicyVersions, Window};
use twqr_service::{Clock, SystemClock};
use twqr_types::{Issuer, PayForm, RawPay, ShardCount, UnixMs};
use twqr_wire::{
    convert::{StateBody, StatesEntry, decode_record, encode_pay, encode_state, policy_from, policy_out},
    ops::{ApplyPolicyRequest, GetPolicyResponse, ReplayPolicyResponse},
};

const ORDERS: Partition = Partition { topic: Topic::Orders, index: 0 };
const STATES: Partition = Partition { topic: Topic::OrderStates, index: 0 };

fn reason_of(status: &Status) -> (Code, String, Option<String>) {
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo: {status:?}"));
    (status.code(), info.reason, info.metadata.get("newest_version").cloned())
}

fn policy_name(found: GetPolicyResponse) -> String {
    policy_from(found.change.unwrap().policy.unwrap()).unwrap().name
}

#[tokio::test(flavor = "multi_thread")]
async fn every_shard_takes_a_change_and_it_survives_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_journal(folder.path());
    let tracker = TestTracker::open(folder.path(), &journal, true, 10_000).await;
    assert_eq!(policy_name(tracker.wait_for_all_shards(1).await), "first");
    let second = policy("second", &[("22", ""), ("QX", "391")]);
    assert_eq!(tracker.apply(&second, 1, "alice").await.unwrap(), 2);
    let refused = tracker.apply(&second, 1, "bob").await.unwrap_err();
    assert_eq!(reason_of(&refused), (Code::Aborted, "VERSION_CONFLICT".into(), Some("2".into())));
    let too_high = tracker.apply(&second, u64::MAX, "bob").await.unwrap_err();
    assert_eq!(reason_of(&too_high).1, "VERSION_CONFLICT");
    tracker.wait_for_all_shards(2).await;
    assert_eq!(tracker.get(3).await.unwrap_err().code(), Code::NotFound);
    tracker.close().await;

    // Without a router, the answers come from the read model.
    let tracker = TestTracker::open(folder.path(), &journal, false, 10_000).await;
    let found = tracker.wait_for_all_shards(2).await;
    let history: Vec<(u64, &str, &str, &str)> = found
        .history
        .iter()
        .map(|entry| (entry.version, entry.name.as_str(), entry.who.as_str(), entry.why.as_str()))
        .collect();
    assert!(found.history.iter().all(|entry| entry.day_begins_min == Some(0)), "{:?}", found.history);
    assert_eq!(history[1], (2, "second", "alice", "因為測試"));
    assert_eq!((history.len(), history[0].1, history[0].2), (2, "first", "router-0"));
    assert_eq!(policy_name(tracker.get(1).await.unwrap()), "first");
    assert_eq!(policy_from(found.change.unwrap().policy.unwrap()).unwrap(), second);
    tracker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_several_concurrent_changes_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_journal(folder.path());
    let tracker = TestTracker::open(folder.path(), &journal, true, 10_000).await;
    tracker.wait_for_all_shards(1).await;
    for version in 2..7 {
        let changes = [policy("a", &[("22", "")]), policy("b", &[("22", "")]), policy("a", &[("22", "")])];
        let (a, b, c) = tokio::join!(
            tracker.apply(&changes[0], version - 1, "same"),
            tracker.apply(&changes[1], version - 1, "same"),
            tracker.apply(&changes[2], version - 1, "same"),
        );
        let results = [a, b, c];
        let won: Vec<usize> = (0..3).filter(|i| results[*i].is_ok()).collect();
        assert_eq!(won.len(), 1, "{results:?}");
        for lost in results.iter().filter_map(|result| result.as_ref().err()) {
            assert_eq!(reason_of(lost), (Code::Aborted, "VERSION_CONFLICT".into(), Some(version.to_string())));
        }
        assert_eq!(policy_name(tracker.get(0).await.unwrap()), changes[won[0]].name);
    }
    tracker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_change_is_refused_with_every_fault_and_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_journal(folder.path());
    let tracker = TestTracker::open(folder.path(), &journal, true, 10_000).await;
    tracker.wait_for_all_shards(1).await;
    let end = journal.end(ORDERS).await.unwrap();
    let bad = Policy { send_within_ms: 1, ..policy("bad", &[("22", ""), ("22", "391"), ("", "")]) };
    let request = ApplyPolicyRequest {
        policy: Some(policy_out(&bad)),
        expected_version: 1,
        who: " ".into(),
        why: "字".repeat(201),
    };
    let refused = tracker.client.clone().apply_policy(request.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let violations = refused.get_details_bad_request().unwrap().field_violations;
    let fields: Vec<&str> = violations.iter().map(|violation| violation.field.as_str()).collect();
    let expected = ["who", "why", "policy.send_within_ms", "policy.routes[1].prefix", "policy.routes[2].prefix"];
    assert_eq!(fields, expected, "{refused:?}");
    let empty = tracker.client.clone().apply_policy(ApplyPolicyRequest::default()).await.unwrap_err();
    assert!(empty.message().contains("policy is required"), "{empty:?}");
    let window = Window { from: UnixMs(0), to: UnixMs(1_790_000_000_000) };
    let rules = IssuerRules { maintenance: vec![window], ..IssuerRules::default_of(Issuer::Wallet) };
    let foreign = policy_out(&Policy { issuers: vec![rules], ..first_policy() });
    let foreign = ApplyPolicyRequest { policy: Some(foreign), who: "w".into(), why: "w".into(), ..request.clone() };
    let refused = tracker.client.clone().apply_policy(foreign).await.unwrap_err();
    assert!(refused.message().contains("maintenance[0] from and to must be of a Gregorian year"), "{refused:?}");
    assert_eq!(tracker.replay(&bad, 1).await.unwrap_err().code(), Code::InvalidArgument);
    // An earlier protocol version does not let a replay guess at the codes of earlier records.
    for protocol_version in [0, 3] {
        let guess = Policy { protocol_version, ..policy("guess", &[("22SECRE", "")]) };
        let refused = tracker.replay(&guess, 1).await.unwrap_err();
        assert!(refused.message().contains("policy.routes[0].prefix is \"22SECRE\", must be at most 6"), "{refused:?}");
    }
    assert_eq!(tracker.replay(&first_policy(), 1_000_001).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(journal.end(ORDERS).await.unwrap(), end, "no record was written");
    let longest = ApplyPolicyRequest {
        who: "字".repeat(200),
        why: "w".into(),
        policy: Some(policy_out(&first_policy())),
        ..request
    };
    assert_eq!(tracker.client.clone().apply_policy(longest).await.unwrap().into_inner().version, 2);
    tracker.close().await;
}

fn versions(changes: &[(u64, PolicyChange)], position: u64) -> Entry {
    let mut versions = PolicyVersions::default();
    for (offset, change) in changes {
        versions.insert(*offset, Arc::new(change.clone()));
    }
    let (key, value) = encode_state(&StatesEntry { epoch: 1, position, body: StateBody::Policies(versions) });
    Entry { key, value: Some(value) }
}

fn change(version: u64, policy: Policy, at: i64) -> PolicyChange {
    PolicyChange { version, policy, who: "bob".into(), why: "first".into(), at: UnixMs(at) }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_router_a_change_is_undecided_rather_than_refused() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_journal(folder.path());
    let tracker = TestTracker::open(folder.path(), &journal, false, 300).await;
    assert_eq!(tracker.get(0).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(tracker.apply(&first_policy(), 0, "alice").await.unwrap_err().code(), Code::Unavailable);
    journal.append(STATES, vec![versions(&[(1, change(1, first_policy(), 1))], 5)]).await.unwrap();
    while tracker.get(0).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let second = policy("second", &[("22", "")]);
    let undecided = tracker.apply(&second, 1, "alice").await.unwrap_err();
    assert_eq!(reason_of(&undecided), (Code::Unavailable, "POLICY_UNDECIDED".into(), None));
    assert!(undecided.message().contains("twqr policy get"), "{undecided:?}");
    let mut orders = journal.reader(ORDERS, 0).await.unwrap();
    let records = orders.next(10).await.unwrap();
    assert_eq!(records.len(), 1, "the record is written, so a router may still take it");
    let Command::Policy(written) = decode_record(records[0].entry.value.clone().unwrap()).unwrap().command else {
        panic!("no policy")
    };
    assert_eq!((written.version, &*written.who, &written.policy), (2, "alice", &second));
    tracker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_loses_to_an_earlier_one_is_a_conflict() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_journal(folder.path());
    let tracker = TestTracker::open(folder.path(), &journal, false, 60_000).await;
    let one = change(1, first_policy(), 1);
    journal.append(STATES, vec![versions(&[(1, one.clone())], 5)]).await.unwrap();
    while tracker.get(0).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let second = policy("second", &[("22", "")]);
    let applying = tracker.apply(&second, 1, "alice");
    let write_other = async {
        let mut orders = journal.reader(ORDERS, 0).await.unwrap();
        let record = orders.next(1).await.unwrap().remove(0);
        let Command::Policy(written) = decode_record(record.entry.value.unwrap()).unwrap().command else { panic!() };
        // It differs from the written change only in its time.
        let other = PolicyChange { at: written.at.plus(1), ..*written };
        // The older versions that a stalled router writes late change nothing.
        journal
            .append(STATES, vec![versions(&[(1, one.clone()), (2, other)], 9), versions(&[(1, one)], 7)])
            .await
            .unwrap();
    };
    let (result, ()) = tokio::join!(applying, write_other);
    assert_eq!(reason_of(&result.unwrap_err()), (Code::Aborted, "VERSION_CONFLICT".into(), Some("2".into())));
    assert_eq!(tracker.get(0).await.unwrap().newest_version, 2);
    tracker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_shows_changed_routings_but_never_a_payment_code() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_journal(folder.path());
    let tracker = TestTracker::open(folder.path(), &journal, true, 10_000).await;
    tracker.wait_for_all_shards(1).await;
    let count = ShardCount(NonZeroU16::new(SHARDS as u16).unwrap());
    let pay = async |number: String, token: &str| {
        let raw = RawPay {
            merchant_id: "M1".into(),
            merchant_trade_no: number,
            card_token: token.into(),
            trade_amount: 9,
            ..RawPay::default()
        };
        let form = PayForm::parse(raw).unwrap();
        let shard = Partition { topic: Topic::Orders, index: u32::from(form.key.shard(count).0) };
        journal.append(shard, vec![Entry::plain(encode_pay(SystemClock.now(), &form, None))]).await.unwrap();
    };
    for n in 0..200 {
        pay(format!("W{n}"), "22SECRETSECRETSECR").await;
        pay(format!("W{n}"), "22SECRETSECRETSECR").await;
        pay(format!("Q{n}"), "QXSECRETSECRETSECR").await;
    }
    let second = policy("second", &[("22", ""), ("QX", "391")]);
    let found = tracker.replay(&second, 0).await.unwrap();
    let counts = |found: &ReplayPolicyResponse| -> Vec<(String, String, u64)> {
        found.counts.iter().map(|c| (c.before.clone(), c.after.clone(), c.payments)).collect()
    };
    assert_eq!((found.replayed, found.not_comparable, found.changes.len()), (400, 0, 100));
    assert_eq!(counts(&found), [("refused 927".into(), "391".into(), 200)]);
    assert!(found.changes.iter().all(|c| c.merchant_id == "M1" && c.merchant_trade_no.starts_with('Q')));
    assert!(!format!("{found:?}").contains("SECRET"));

    tracker.apply(&second, 1, "alice").await.unwrap();
    tracker.wait_for_all_shards(2).await;
    for n in 0..20 {
        pay(format!("N{n}"), "QXSECRETSECRETSECR").await;
    }
    // Payments before the change were routed by version 1, those after it by version 2.
    let third = policy("third", &[("22", ""), ("QX", "392")]);
    let expected = [("refused 927".into(), "392".into(), 200), ("391".into(), "392".into(), 20)];
    assert_eq!(counts(&tracker.replay(&third, 0).await.unwrap()), expected);
    for orders_max in [1, 7, 30] {
        let newest = tracker.replay(&third, orders_max).await.unwrap();
        assert_eq!(newest.replayed, orders_max, "the newest payments only");
    }
    assert!(tracker.replay(&third, 10).await.unwrap().changes.iter().all(|c| c.merchant_trade_no.starts_with('N')));
    assert!(tracker.replay(&second, 10).await.unwrap().counts.is_empty(), "nothing differs among the newest");
    tracker.close().await;
}
