//! Tests of the policy preview: it decides as the machine does, and each order once.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use twqr_order::{
    Alphabet, CancelRequest, Command, Merchant, Pay, Policy, PolicyChange, PolicyVersions, Position, Record, Replay,
    Route, RouteTarget, Routing, apply,
};
use twqr_types::{Issuer, KeyName, MerchantId, PayForm, RawPay, ShardId, UnixMs};

const SHARD: ShardId = ShardId(3);

fn route(prefix: &str, target: RouteTarget) -> Route {
    Route { prefix: prefix.into(), target, code_lengths: vec![6], alphabet: Alphabet::Printable }
}

fn to(institution: &str) -> RouteTarget {
    RouteTarget::Issuer(Issuer::from_wire(institution).unwrap())
}

fn policy(routes: &[(&str, RouteTarget)]) -> Policy {
    Policy { routes: routes.iter().map(|(prefix, target)| route(prefix, *target)).collect(), ..Policy::default() }
}

fn change(version: u64, policy: Policy) -> PolicyChange {
    PolicyChange { version, policy, who: "w".into(), why: "y".into(), at: UnixMs(0) }
}

fn form(number: &str, token: &str) -> PayForm {
    let raw = RawPay {
        merchant_id: "M".into(),
        merchant_trade_no: number.into(),
        card_token: token.into(),
        trade_amount: 9,
        ..RawPay::default()
    };
    PayForm::parse(raw).unwrap()
}

fn pay(number: &str, token: &str) -> Command {
    Command::Pay(Box::new(Pay { form: form(number, token), reply_to: None }))
}

fn cancel(number: &str) -> Command {
    Command::Cancel(Box::new(CancelRequest { form: form(number, "QXabcd"), reply_to: None }))
}

fn of(command: Command) -> Record {
    Record { at: UnixMs(5), signed_by: None, nonce: None, command }
}

/// Version 1 from offset 1 on, and version 2 from offset 10 on.
fn versions() -> PolicyVersions {
    let mut versions = PolicyVersions::default();
    versions.insert(1, Arc::new(change(1, policy(&[("22", to(""))]))));
    versions.insert(10, Arc::new(change(2, policy(&[("22", to("")), ("QX", to("391"))]))));
    versions
}

fn shown(replay: Replay, max: usize) -> Vec<String> {
    let line = |replayed: &twqr_order::ReplayedPayment| {
        let before = replayed.before.as_ref().map_or_else(|| "?".to_owned(), Routing::to_string);
        format!("{} {before} -> {}", replayed.key.merchant_trade_no, replayed.after)
    };
    replay.finish(max).iter().map(line).collect()
}

#[test]
fn each_order_is_compared_once_by_the_version_at_its_record() {
    let other = Arc::new(policy(&[("22", RouteTarget::Refuse), ("QX", to("392"))]));
    let log = [
        (0, pay("T0", "22abcd")),
        (2, pay("T2", "22abcd")),
        (3, pay("T3", "QXabcd")),
        (4, cancel("T4")),
        (5, pay("T4", "QXabcd")),
        (11, pay("T11", "QXabcd")),
        (12, pay("T3", "QXabcd")),
        (13, pay("T13", "QXabcde")),
        (14, Command::Policy(Box::new(change(3, policy(&[("QX", to("388"))]))))),
        (15, pay("T15", "QXabcd")),
    ];
    let expected = [
        "T15 388 -> 392",
        "T13 refused 927 -> refused 927",
        "T11 391 -> 392",
        "T3 refused 927 -> 392",
        "T2 wallet -> refused 927",
        "T0 refused 982 -> refused 927",
    ];
    let forward: Vec<usize> = (0..log.len()).collect();
    // In the order in which windows are read from the end of a log.
    let windows = [8, 9, 5, 6, 7, 0, 1, 2, 3, 4].to_vec();
    for order in [forward, windows] {
        let mut replay = Replay::new(SHARD, versions(), other.clone());
        for i in order {
            replay.take(log[i].0, of(log[i].1.clone()));
        }
        assert_eq!(replay.payments(), 6);
        assert_eq!(shown(replay, 100), expected);
    }
    let mut replay = Replay::new(SHARD, versions(), other.clone());
    for (offset, command) in log {
        replay.take(offset, of(command));
    }
    assert_eq!(shown(replay, 2), expected[..2]);
}

#[test]
fn a_request_with_a_refused_key_is_no_payment() {
    let with_key = |key: &str| {
        let merchant = Merchant {
            id: MerchantId::parse("M".into()).unwrap(),
            stores: Vec::new(),
            keys: vec![KeyName::parse(key.into()).unwrap()],
            payment_max: None,
            is_open: true,
        };
        Policy { merchants: vec![merchant], ..policy(&[("22", to(""))]) }
    };
    let mut versions = PolicyVersions::default();
    versions.insert(1, Arc::new(change(1, with_key("old"))));
    let mut replay = Replay::new(SHARD, versions, Arc::new(with_key("new")));
    for (offset, number, key) in [(2, "T2", "new"), (3, "T2", "old"), (4, "T4", "old")] {
        let signed_by = Some(KeyName::parse(key.into()).unwrap());
        replay.take(offset, Record { signed_by, ..of(pay(number, "22abcd")) });
    }
    assert_eq!(shown(replay, 9), ["T4 wallet -> refused 904", "T2 wallet -> refused 904"]);
}

#[test]
fn decisions_of_dropped_versions_are_unknown() {
    let mut kept = PolicyVersions::default();
    kept.insert(10, Arc::new(change(2, policy(&[("22", to(""))]))));
    let other = Arc::new(policy(&[("22", to(""))]));
    for (versions, expected) in [(kept, "T ? -> wallet"), (PolicyVersions::default(), "T ? -> wallet")] {
        let mut replay = Replay::new(SHARD, versions, other.clone());
        replay.take(5, of(pay("T", "22abcd")));
        assert_eq!(shown(replay, 1), [expected]);
    }
}

/// Fails if the other policy is compared with the code itself: then a sender of policies finds out
/// the whole code, character by character.
#[test]
fn the_other_policy_sees_no_more_of_a_code_than_a_protected_record_shows() {
    for (prefix, after) in [("22a", "392"), ("22b", "refused 927"), ("22ab", "refused 927"), ("22abcd", "refused 927")]
    {
        let mut replay = Replay::new(SHARD, versions(), Arc::new(policy(&[(prefix, to("392"))])));
        replay.take(5, of(pay("T", "22abcd")));
        assert_eq!(shown(replay, 1), [format!("T wallet -> {after}")], "{prefix}");
    }
    let in_force = policy(&[("22abc", to("391"))]);
    let mut versions = PolicyVersions::default();
    versions.insert(1, Arc::new(change(1, in_force)));
    let mut replay = Replay::new(SHARD, versions, Arc::new(policy(&[("22a", to("391"))])));
    replay.take(5, of(pay("T", "22abcd")));
    assert_eq!(shown(replay, 1), ["T 391 -> 391"], "the version in force decided by the whole code");
}

#[test]
fn the_replay_decides_as_the_machine_does() {
    let policy = policy(&[("22", to("")), ("QX", to("391")), ("QY", RouteTarget::Refuse)]);
    for token in ["22abcd", "22abc", "QXabcd", "QYabcd", "ZZabcd"] {
        let mut order = None;
        let cause = Position { shard: SHARD, offset: 1 };
        apply(&mut order, &of(pay("T", token)), cause, Some(&policy), &mut Vec::new());
        let payment = order.unwrap().as_payment().unwrap().clone();
        let decided = match payment.charge.failure() {
            Some(failure) => Routing::Refused(failure.status_code),
            None => Routing::Issuer(payment.issuer.unwrap()),
        };
        assert_eq!(Routing::of(&form("T", token), Some(&policy), UnixMs(5)), decided, "{token}");
    }
}
