//! A tracker continues only on the `order-states` that its read model comes from. Another topic
//! under the same name is refused by name, by the alarms and by the read model.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test fails by panicking, and does not need all of its support"
)]

#[path = "support/payments.rs"]
mod payments;
#[path = "support/tracker.rs"]
mod tracker;

use std::time::Duration;

use twqr_journal::{Entry, Journal};
use twqr_order::{Approval, Phase};
use twqr_service::PartState;
use twqr_types::UnixMs;
use twqr_wire::convert::{StateBody, StatesEntry, encode_marker, encode_state};

use tracker::{BEGAN_MS, ORDERS, STATES, TestTracker, open_journal, paid, payment, state};

fn due() -> Phase<Approval> {
    Phase::Unresolved { next_check: UnixMs(BEGAN_MS) }
}

fn beginning(epoch: u64, number: u64, newest: Option<u64>) -> Entry {
    let (key, value) = encode_state(&StatesEntry { epoch, position: 0, body: StateBody::Beginning { number, newest } });
    Entry { key, value: Some(value) }
}

fn marker(epoch: u64, position: u64) -> Entry {
    let (key, value) = encode_marker(epoch, position, None, Some(epoch));
    Entry { key, value: Some(value) }
}

/// What the read model comes from.
fn first_records() -> Vec<Entry> {
    vec![beginning(1, 11, None), state(payment(1, paid()), 2), marker(1, 2)]
}

/// What `order-states` has at the next start, and what the refusal says.
fn cases() -> [(&'static str, Vec<Entry>, Option<&'static str>); 5] {
    let grown = || vec![state(payment(2, paid()), 7), marker(5, 7)];
    let after = |first: Vec<Entry>| first.into_iter().chain(grown()).collect();
    let whole = [first_records(), vec![beginning(5, 55, Some(1))], grown()].concat();
    let by_earlier_builds = [first_records(), vec![state(payment(2, paid()), 7)]].concat();
    [
        ("whole", whole, None),
        ("continued by a build without beginnings", by_earlier_builds, None),
        (
            "created again",
            after(vec![beginning(1, 12, None), state(payment(3, paid()), 2), beginning(5, 55, Some(1))]),
            Some("order-states/0 is not whole: its record 0 is not the beginning"),
        ),
        (
            "without its oldest records",
            after(vec![state(payment(1, paid()), 2), marker(1, 2), beginning(5, 55, Some(1))]),
            Some("order-states/0 is not whole: its record 0 is not the beginning"),
        ),
        (
            "truncated and grown",
            after(vec![beginning(1, 11, None), state(payment(1, paid()), 2), beginning(5, 55, Some(1))]),
            Some("order-states/0 is not whole: its record 4 follows the beginning of the epoch 5"),
        ),
    ]
}

#[tokio::test]
async fn states_that_are_not_those_of_the_read_model_are_refused_by_name() {
    for (name, records, refusal) in cases() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut tracker = TestTracker::open(folder.path(), open_journal(folder.path())).await;
        tracker.journal.append(STATES, first_records()).await.unwrap();
        tracker.status_when(|status| status.orders == 1).await;
        tracker.close().await;

        let journal = open_journal(other.path());
        journal.append(STATES, records).await.unwrap();
        let mut tracker = TestTracker::open(folder.path(), journal.clone()).await;
        let Some(refusal) = refusal else {
            tracker.status_when(|status| status.orders == 2).await;
            assert!(tracker.health.is_ready(), "{name}: {:?}", tracker.health.report());
            tracker.close().await;
            continue;
        };
        // An alarm of the other topic must not fire.
        journal.append(STATES, vec![state(payment(9, due()), 9)]).await.unwrap();
        let is_refused = || {
            let report = tracker.health.report();
            let refuses = |part: &PartState| matches!(part, PartState::NotReady(why) if why.contains(refusal));
            // The writer of the read model waits for the follower.
            let waits = |part: &PartState| matches!(part, PartState::Degraded(_));
            report.get("tracker/shard-0").is_some_and(refuses) && report.get("tracker/read-model-0").is_some_and(waits)
        };
        for _ in 0..500 {
            if is_refused() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(is_refused(), "{name}: {:?}", tracker.health.report());
        let status = tracker.status_when(|_| true).await;
        assert_eq!((status.orders, status.in_progress), (1, 0), "{name}: something was skipped");
        assert_eq!(journal.end(ORDERS).await.unwrap(), 0, "{name}: an alarm rang");
        tracker.close().await;
    }
}
