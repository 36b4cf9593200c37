//! A backlog of unresolved orders does not decide how many due records are written: the issuer's
//! budget of inquiries does, over all shards. In virtual time.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test fails by panicking")]
#![allow(clippy::wildcard_enum_match_arm, reason = "a test names the variants that it is about")]

#[path = "support/payments.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod payments;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::Instant;
use twqr_journal::{Entry, Journal, Partition, Topic};
use twqr_journal_sim::{Faults, Layout, Sim};
use twqr_order::{
    Alphabet, Command, IssuerRules, Limits, Movement, Order, Phase, Policy, PolicyChange, PolicyVersions, Route,
    RouteTarget,
};
use twqr_service::{CancellationToken, Clock, Context, Health};
use twqr_tracker::MemoryModel;
use twqr_types::{InstitutionCode, Issuer, ShardId, TradeNo, UnixMs};
use twqr_wire::convert::{StateBody, StatesEntry, decode_record, encode_state};

const SHARDS: u32 = 4;
const BACKLOG: u64 = 5_000;
const PER_S: u32 = 50;
const BEGAN: UnixMs = UnixMs(1_790_000_000_000);

/// A clock that moves with the virtual time.
struct VirtualClock(Instant);

impl Clock for VirtualClock {
    fn now(&self) -> UnixMs {
        BEGAN.plus(i64::try_from(self.0.elapsed().as_millis()).unwrap())
    }
}

fn issuer(code: &str) -> Issuer {
    Issuer::Institution(InstitutionCode::parse(code).unwrap())
}

/// The state of the n-th payment at this issuer: unresolved, and due.
fn due_payment(n: u64, code: &str) -> Entry {
    let form = payments::form("M", &format!("T{n}"), 9);
    let charge = Movement::in_phase(BEGAN, Phase::Unresolved { next_check: BEGAN });
    let mut payment = payments::payment(form, TradeNo::new(ShardId(0), n, BEGAN), BEGAN, charge);
    payment.issuer = Some(issuer(code));
    entry(n + 1, StateBody::Order(Box::new(Order::Payment(payment))))
}

/// A policy that allows the issuer 391 a few inquiries per second.
fn policy() -> Entry {
    let limits = Limits { inquiries_per_s: PER_S, ..Limits::default() };
    let rules = IssuerRules { limits, ..IssuerRules::default_of(issuer("391")) };
    let route = Route {
        prefix: "22".into(),
        target: RouteTarget::Issuer(issuer("391")),
        code_lengths: vec![18],
        alphabet: Alphabet::Printable,
    };
    let policy = Policy { routes: vec![route], issuers: vec![rules], ..Policy::default() };
    let change = PolicyChange { version: 1, policy, who: "test".into(), why: "".into(), at: BEGAN };
    let mut versions = PolicyVersions::default();
    versions.insert(0, Arc::new(change));
    entry(1, StateBody::Policies(versions))
}

fn entry(position: u64, body: StateBody) -> Entry {
    let (key, value) = encode_state(&StatesEntry { epoch: 1, position, body });
    Entry { key, value: Some(value) }
}

/// The due records of a shard: their times and their orders.
fn due(sim: &Sim, index: u32) -> Vec<(UnixMs, String)> {
    let records = sim.records(Partition { topic: Topic::Orders, index });
    let decoded = records.into_iter().map(|record| decode_record(record.entry.value.unwrap()).unwrap());
    let of = |record: twqr_order::Record| match record.command {
        Command::Due(key) => Some((record.at, key.merchant_trade_no.to_string())),
        _ => None,
    };
    decoded.filter_map(of).collect()
}

#[tokio::test(start_paused = true)]
async fn due_records_follow_the_issuers_budget_and_not_its_backlog() {
    let sim = Sim::new(Layout { shards: SHARDS, task_partitions: 1 }, Faults::default(), 7);
    let journal = sim.session("tracker");
    for index in 0..SHARDS {
        // The first shard has most of the backlog.
        let backlog = if index == 0 { BACKLOG / 2 } else { BACKLOG / 2 / u64::from(SHARDS - 1) };
        let numbers = u64::from(index) * BACKLOG..u64::from(index) * BACKLOG + backlog;
        let mut states = vec![policy()];
        states.extend(numbers.map(|n| due_payment(n, "391")));
        states.push(due_payment(100_000 + u64::from(index), "812"));
        journal.append(Partition { topic: Topic::OrderStates, index }, states).await.unwrap();
    }
    let shutdown = CancellationToken::new();
    let clock = Arc::new(VirtualClock(Instant::now()));
    let context = Context { clock, shutdown: shutdown.clone(), health: Health::default() };
    let running = tokio::spawn(twqr_tracker::follow(Arc::new(MemoryModel::default()), journal, context));
    let seconds = 60;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    shutdown.cancel();
    running.await.unwrap();

    let mut by_second: BTreeMap<i64, u32> = BTreeMap::new();
    for index in 0..SHARDS {
        let (others, backlog): (Vec<_>, Vec<_>) =
            due(&sim, index).into_iter().partition(|(_, number)| number.len() == "T100000".len());
        assert!(others[0].0.since(BEGAN) < 1_000, "another issuer does not wait: {others:?}");
        let share = u64::from(PER_S) * seconds / u64::from(SHARDS) / 2;
        assert!(backlog.len() as u64 >= share, "shard {index} has its turns: {}", backlog.len());
        for (at, _) in backlog {
            *by_second.entry(at.since(BEGAN) / 1_000).or_default() += 1;
        }
    }
    let all: u32 = by_second.values().sum();
    let burst = PER_S / 10;
    assert!(by_second.values().all(|count| *count <= PER_S + burst), "{by_second:?}");
    assert!(u64::from(all) >= u64::from(PER_S) * (seconds - 2), "the budget is used: {all}, {by_second:?}");
}
