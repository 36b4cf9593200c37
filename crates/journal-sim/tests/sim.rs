//! The simulated journal passes the conformance suite, with and without delays, and each fault does
//! what its documentation says.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, time::Duration};

use twqr_journal::{Journal, JournalError, Topic};
use twqr_journal_conformance::{ORDERS, STATES, TwoProcesses, conformance, plain, read_all, text};
use twqr_journal_sim::{Faults, Layout, Sim};

const LAYOUT: Layout = Layout { shards: 2, task_partitions: 2 };

fn open(faults: Faults) -> TwoProcesses {
    let sim = Sim::new(LAYOUT, faults, 7);
    TwoProcesses { one: sim.session("one"), two: sim.session("two"), keep_alive: None }
}

mod without_faults {
    use super::*;

    async fn open_new() -> TwoProcesses {
        open(Faults::default())
    }

    conformance!(open_new);
}

mod slow_and_compacting {
    use super::*;

    async fn open_new() -> TwoProcesses {
        open(Faults { append_delay_ms_max: 3, compacted: 300, batches_vary: true, ..Faults::default() })
    }

    conformance!(open_new);
}

/// Appends one record under these faults. Returns whether it was acknowledged, and how many records
/// were in the log then and a minute later.
async fn append_under(faults: Faults) -> (bool, usize, usize) {
    let sim = Sim::new(LAYOUT, faults, 7);
    let session = sim.session("one");
    let result = session.append(ORDERS, vec![plain("x")]).await;
    let at_once = sim.records(ORDERS).len();
    tokio::time::sleep(Duration::from_mins(1)).await;
    (result.is_ok(), at_once, sim.records(ORDERS).len())
}

#[tokio::test(start_paused = true)]
async fn each_fault_has_its_documented_outcome() {
    let no_faults = Faults::default;
    for (name, faults, expected) in [
        ("no fault", no_faults(), (true, 1, 1)),
        ("acknowledgement lost", Faults { ack_lost: 1_000, ..no_faults() }, (false, 1, 1)),
        ("append lost", Faults { append_lost: 1_000, ..no_faults() }, (false, 0, 0)),
        ("append late", Faults { append_late: 1_000, late_ms_max: 30_000, ..no_faults() }, (false, 0, 1)),
    ] {
        assert_eq!(append_under(faults).await, expected, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_crashed_session_fails_and_its_appends_land_by_chance() {
    let mut landed = BTreeSet::new();
    for seed in 0..20 {
        let sim = Sim::new(LAYOUT, Faults { append_delay_ms_max: 50, ..Faults::default() }, seed);
        let session = sim.session("one");
        let mut reader = session.reader(ORDERS, 0).await.unwrap();
        let ack = session.append(ORDERS, vec![plain("x")]);
        session.crash();
        assert!(matches!(ack.await, Err(JournalError::AppendUnknown { .. }) | Ok(())));
        assert!(reader.next(1).await.is_err() && session.end(ORDERS).await.is_err());
        landed.insert(sim.records(ORDERS).len());
    }
    assert_eq!(landed, BTreeSet::from([0, 1]));
}

#[tokio::test(start_paused = true)]
async fn a_paused_session_loses_its_share_and_regains_it_after_resuming() {
    let sim = Sim::new(LAYOUT, Faults { session_timeout_ms: 1_000, ..Faults::default() }, 7);
    let (one, two) = (sim.session("one"), sim.session("two"));
    let mut first = one.assignments(Topic::Orders, "one").await.unwrap();
    let mut second = two.assignments(Topic::Orders, "two").await.unwrap();
    assert_eq!((first.changed().await.unwrap().len(), second.changed().await.unwrap().len()), (1, 1));
    let mut reader = one.reader(ORDERS, 0).await.unwrap();
    one.pause();
    let stale = one.append(ORDERS, vec![plain("stale")]);
    assert_eq!(second.changed().await.unwrap().len(), 2, "the other session takes over");
    two.append(ORDERS, vec![plain("new owner")]).await.unwrap();
    let read = tokio::time::timeout(Duration::from_hours(1), reader.next(10)).await;
    assert!(read.is_err(), "a paused session reads nothing");
    one.resume();
    stale.await.unwrap();
    let all: Vec<String> = read_all(&*two, ORDERS, 0).await.iter().map(text).collect();
    assert_eq!(all, ["new owner", "stale"]);
    assert_eq!(text(&reader.next(10).await.unwrap()[0]), "new owner");
    assert_eq!(second.changed().await.unwrap().len(), 1, "the resumed session regains its share");
}

#[tokio::test(start_paused = true)]
async fn compaction_leaves_gaps_and_the_newest_record() {
    let sim = Sim::new(LAYOUT, Faults::default(), 7);
    let session = sim.session("one");
    for n in 0..10 {
        let entry = twqr_journal::Entry { key: "k".into(), value: Some(n.to_string().into()) };
        session.append(STATES, vec![entry]).await.unwrap();
    }
    sim.compact(STATES);
    let left = read_all(&*session, STATES, 0).await;
    assert_eq!((left.len(), left[0].offset, text(&left[0])), (1, 9, "9".to_owned()));
}
