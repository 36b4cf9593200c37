//! Each movement counts in exactly one range of time that was closed, whenever its record lands,
//! and a closed range gives the same list each time: with a router, a tracker and a real journal.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, dead_code, reason = "a test fails by panicking")]

#[path = "support/payments.rs"]
mod payments;
#[path = "support/tracker.rs"]
mod tracker;

use std::{num::NonZeroU32, path::Path, sync::Arc, time::Duration};

use tokio::task::JoinHandle;
use tonic::{Code, Status};
use twqr_journal::{
    Entry, Journal, Partition, Topic,
    embedded::{EmbeddedJournal, EmbeddedSettings},
};
use twqr_order::{
    Alphabet, Command, EffectId, MovementOutcome, Outcome, Pay, Policy, Record, Route, RouteTarget, TaskResult,
};
use twqr_router::MemoryStore;
use twqr_service::{CancellationToken, Clock, Context, Health, SystemClock};
use twqr_types::{Amount, Issuer, OrderKey, ShardId, UnixMs};
use twqr_wire::{
    convert::encode_record,
    ops::{ListSettlementRequest, SettlementEntry},
};

use tracker::TestTracker;

const SHARDS: u32 = 2;
const HOUR_MS: i64 = 3_600_000;
/// Books can be closed this long after the end of a range.
const CLOSING_DELAY_MS: i64 = 60_000;

fn open_journal(folder: &Path) -> Arc<EmbeddedJournal> {
    let shards = NonZeroU32::new(SHARDS).unwrap();
    let settings = EmbeddedSettings { dir: folder.join("journal"), shards, task_partitions: NonZeroU32::MIN };
    EmbeddedJournal::open(settings).unwrap()
}

fn policy(protocol_version: u32) -> Policy {
    let route = Route {
        prefix: "22".into(),
        target: RouteTarget::Issuer(Issuer::Wallet),
        code_lengths: vec![18],
        alphabet: Alphabet::Printable,
    };
    Policy { routes: vec![route], protocol_version, ..Policy::default() }
}

struct Router {
    shutdown: CancellationToken,
    running: JoinHandle<Result<(), twqr_router::Error>>,
}

impl Router {
    fn start(journal: &Arc<EmbeddedJournal>, policy: Policy) -> Self {
        let shutdown = CancellationToken::new();
        let store = Arc::new(MemoryStore::default());
        let settings = twqr_router::Settings {
            member: "router-0".into(),
            policy,
            checkpoint_interval_ms: 20,
            standby: true,
            store,
        };
        let context = Context { clock: Arc::new(SystemClock), shutdown: shutdown.clone(), health: Health::default() };
        Self { shutdown, running: tokio::spawn(twqr_router::run(settings, journal.clone(), context)) }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
    }
}

/// Appends a record to a shard. Returns its offset.
async fn append(journal: &EmbeddedJournal, shard: u32, at: UnixMs, command: Command) -> u64 {
    let orders = Partition { topic: Topic::Orders, index: shard };
    let record = encode_record(&Record { at, signed_by: None, nonce: None, command });
    journal.append(orders, vec![Entry::plain(record)]).await.unwrap();
    journal.end(orders).await.unwrap() - 1
}

async fn pay(journal: &EmbeddedJournal, shard: u32, at: UnixMs, number: &str) -> OrderKey {
    let form = payments::form("M1", number, 9);
    let key = form.key.clone();
    append(journal, shard, at, Command::Pay(Box::new(Pay { form, reply_to: None }))).await;
    key
}

/// Appends the issuer's approval, with the worker's time `at`. An approval counts whichever task it
/// answers.
async fn settle(journal: &EmbeddedJournal, shard: u32, at: UnixMs, key: &OrderKey) {
    let task = EffectId { shard: ShardId(u16::try_from(shard).unwrap()), offset: 0, n: 0 };
    let approval = payments::approval(Amount::parse(9).unwrap(), 0);
    let movement = MovementOutcome::Charge(TaskResult::Done(approval));
    append(journal, shard, at, Command::Outcome(Box::new(Outcome { key: key.clone(), task, movement }))).await;
}

/// Closes a range and lists it, once routers and the tracker are ready.
async fn closed(tracker: &TestTracker, from: UnixMs, to: UnixMs) -> Vec<SettlementEntry> {
    for _ in 0..100 {
        match list(tracker, from, to).await {
            Ok(entries) => return entries,
            Err(status) if status.code() == Code::Unavailable => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(status) => panic!("{status:?}"),
        }
    }
    panic!("the range was not closed within 5 s");
}

async fn list(tracker: &TestTracker, from: UnixMs, to: UnixMs) -> Result<Vec<SettlementEntry>, Status> {
    let request = ListSettlementRequest { from_ms: from.0, to_ms: to.0, close: true, ..Default::default() };
    let mut stream = tracker.client.clone().list_settlement(request).await?.into_inner();
    let mut entries = Vec::new();
    while let Some(response) = stream.message().await? {
        entries.push(response.entry.unwrap());
    }
    Ok(entries)
}

fn numbers(entries: &[SettlementEntry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.merchant_trade_no.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_movement_that_lands_after_its_day_was_closed_is_in_the_next_day_only() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_journal(folder.path());
    let router = Router::start(&journal, policy(2));
    let tracker = TestTracker::open(folder.path(), journal.clone()).await;
    let now = SystemClock.now().plus(-10 * CLOSING_DELAY_MS);
    let (from, to) = (now.plus(-2 * HOUR_MS), now.plus(-HOUR_MS));
    // The second shard stays idle until the day is closed.
    let in_time = pay(&journal, 0, from, "INTIME").await;
    let late = pay(&journal, 0, from, "LATE").await;
    settle(&journal, 0, to.plus(-2), &in_time).await;
    let day = closed(&tracker, from, to).await;
    assert_eq!(numbers(&day), ["INTIME"]);

    // Workers settled these in the day; their appends waited until it was closed.
    settle(&journal, 0, to.plus(-2), &late).await;
    let idle = pay(&journal, 1, from, "IDLE").await;
    settle(&journal, 1, to.plus(-1), &idle).await;
    assert_eq!(closed(&tracker, from, to).await, day, "the closed day is the same again");
    let next = closed(&tracker, to, now).await;
    assert_eq!(numbers(&next), ["IDLE", "LATE"]);
    let times = |entry: &SettlementEntry| (entry.settled_at_ms < to.0, entry.booked_at_ms == to.0);
    assert!(next.iter().map(times).all(|times| times == (true, true)), "{next:?}");

    // Also after a restart of both, with an empty store and an empty read model.
    tracker.close().await;
    router.stop().await;
    std::fs::remove_file(folder.path().join("read-model.sqlite")).unwrap();
    let router = Router::start(&journal, policy(2));
    let tracker = TestTracker::open(folder.path(), journal.clone()).await;
    let last = pay(&journal, 1, from, "LAST").await;
    settle(&journal, 1, to.plus(-1), &last).await;
    assert_eq!(closed(&tracker, from, to).await, day);
    assert_eq!(closed(&tracker, to, now).await, next);
    let last_end = SystemClock.now().plus(-CLOSING_DELAY_MS);
    assert_eq!(numbers(&closed(&tracker, now, last_end).await), ["LAST"]);
    tracker.close().await;
    router.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_that_cannot_be_closed_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_journal(folder.path());
    let tracker = TestTracker::open(folder.path(), journal.clone()).await;
    let now = SystemClock.now();
    // Fails if a range can be closed while records of it may be on their way.
    for end in [now.plus(HOUR_MS), now, now.plus(-CLOSING_DELAY_MS / 2)] {
        let refused = list(&tracker, now.plus(-HOUR_MS), end).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert!(refused.message().contains("by the tracker's clock; try again after that time"), "{refused:?}");
    }
    let refused = list(&tracker, now.plus(-HOUR_MS), now.plus(-CLOSING_DELAY_MS)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("the policy has not been read yet"), "{refused:?}");
    tracker.close().await;
}

/// Earlier builds may run then, and write no record kind that they do not know.
#[tokio::test(flavor = "multi_thread")]
async fn before_protocol_version_2_no_closing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_journal(folder.path());
    let router = Router::start(&journal, policy(1));
    let tracker = TestTracker::open(folder.path(), journal.clone()).await;
    let now = SystemClock.now();
    let (from, to) = (now.plus(-2 * HOUR_MS), now.plus(-HOUR_MS));
    let late = pay(&journal, 0, from, "LATE").await;
    assert_eq!(closed(&tracker, from, to).await, []);
    settle(&journal, 0, to.plus(-2), &late).await;
    assert_eq!(numbers(&closed(&tracker, from, to).await), ["LATE"]);
    tracker.close().await;
    router.stop().await;
}
