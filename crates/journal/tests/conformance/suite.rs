//! What every implementation of the journal must do, case by case. An implementation's test file
//! says how to open one, and [`conformance!`] makes a test of each case.

#![allow(unreachable_pub, clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test fails by panicking")]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use twqr_journal::{
    ENTRY_BYTES_MAX, Entry, Group, Journal, JournalError, POSITION_METADATA_BYTES_MAX, Partition, Position, Record,
    Topic,
};

/// A journal with two shards as two processes see it (the same one twice where there can be only
/// one process), and what keeps it alive.
pub struct Open {
    pub one: Arc<dyn Journal>,
    pub two: Arc<dyn Journal>,
    pub _alive: Option<Box<dyn Send + Sync>>,
}

pub const ORDERS: Partition = Partition { topic: Topic::Orders, index: 1 };
pub const STATES: Partition = Partition { topic: Topic::OrderStates, index: 0 };
const NOWHERE: Partition = Partition { topic: Topic::Orders, index: 2 };

/// Makes a test of each case, with further attributes; `$open` is an async function that opens a
/// new journal.
macro_rules! conformance {
    ($open:path; $(#[$attribute:meta])*; $($case:ident)*) => {
        conformance!(each $open; [$(#[$attribute])*]; $($case)*);
    };
    (each $open:path; $attributes:tt; $($case:ident)*) => {
        $(conformance!(one $open; $attributes; $case);)*
    };
    (one $open:path; [$(#[$attribute:meta])*]; $case:ident) => {
        #[tokio::test]
        $(#[$attribute])*
        async fn $case() {
            suite::$case($open().await).await;
        }
    };
    ($open:path) => {
        conformance!($open,);
    };
    ($open:path, $($attribute:meta)?) => {
        conformance!($open; $(#[$attribute])?;
            what_is_acknowledged_is_read_in_the_order_of_the_calls
            two_writers_keep_each_its_own_order
            offsets_grow_and_reading_begins_anywhere
            a_reader_at_the_end_waits_and_may_be_cancelled_without_loss
            a_reader_far_behind_reads_everything_once
            readers_do_not_disturb_one_another
            the_end_covers_what_is_acknowledged
            compaction_never_takes_the_newest_of_a_key
            positions_are_kept_with_their_metadata_in_the_order_of_the_calls
            what_is_too_large_or_nowhere_is_refused_and_leaves_nothing
            every_partition_is_assigned_to_somebody
            replies_are_held_by_one_and_given_back
        );
    };
}
pub(crate) use conformance;

pub fn plain(text: &str) -> Entry {
    Entry::plain(text.as_bytes().to_vec())
}

pub fn text(record: &Record) -> String {
    String::from_utf8(record.entry.value.clone().unwrap().to_vec()).unwrap()
}

fn keyed(key: &str, value: Option<&str>) -> Entry {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    Entry { key: bytes(key), value: value.map(bytes) }
}

/// From an offset to the present end.
pub async fn read_all(journal: &dyn Journal, partition: Partition, from: u64) -> Vec<Record> {
    let end = journal.end(partition).await.unwrap();
    let mut reader = journal.reader(partition, from).await.unwrap();
    let mut all: Vec<Record> = Vec::new();
    while from < end && all.last().is_none_or(|last| last.offset + 1 < end) {
        all.extend(reader.next(7).await.unwrap());
    }
    all
}

pub async fn what_is_acknowledged_is_read_in_the_order_of_the_calls(open: Open) {
    let mut acks = Vec::new();
    for batch in 0..50 {
        let entries = (0..3).map(|n| plain(&format!("{batch}-{n}"))).collect();
        acks.push(open.one.append(ORDERS, entries));
    }
    for ack in acks {
        ack.await.unwrap();
    }
    let read: Vec<String> = read_all(&*open.two, ORDERS, 0).await.iter().map(text).collect();
    let expected: Vec<String> = (0..50).flat_map(|b| (0..3).map(move |n| format!("{b}-{n}"))).collect();
    assert_eq!(read, expected);
}

pub async fn two_writers_keep_each_its_own_order(open: Open) {
    let write = |journal: Arc<dyn Journal>, name: &'static str| async move {
        for n in 0..40 {
            let ack = journal.append(ORDERS, vec![plain(&format!("{name}{n:02}"))]);
            if n % 7 == 0 {
                ack.await.unwrap();
            } else {
                drop(ack);
            }
        }
        journal.append(ORDERS, vec![plain(&format!("{name}99"))]).await.unwrap();
    };
    tokio::join!(write(open.one.clone(), "a"), write(open.two.clone(), "b"));
    let read: Vec<String> = read_all(&*open.one, ORDERS, 0).await.iter().map(text).collect();
    for name in ["a", "b"] {
        let own: Vec<&String> = read.iter().filter(|text| text.starts_with(name)).collect();
        assert_eq!(own.len(), 41, "{name}: a dropped acknowledgement changes nothing");
        assert!(own.is_sorted(), "{name}: {own:?}");
    }
}

pub async fn offsets_grow_and_reading_begins_anywhere(open: Open) {
    for n in 0..20 {
        open.one.append(ORDERS, vec![plain(&n.to_string())]).await.unwrap();
    }
    let all = read_all(&*open.one, ORDERS, 0).await;
    assert!(all.is_sorted_by(|a, b| a.offset < b.offset));
    for (n, record) in all.iter().enumerate() {
        assert_eq!(read_all(&*open.two, ORDERS, record.offset).await, all[n..]);
    }
}

pub async fn a_reader_at_the_end_waits_and_may_be_cancelled_without_loss(open: Open) {
    let mut reader = open.two.reader(ORDERS, 0).await.unwrap();
    for n in 0..10 {
        let early = tokio::time::timeout(Duration::from_millis(5), reader.next(10)).await;
        assert!(early.is_err(), "{n}: there is nothing to read");
        open.one.append(ORDERS, vec![plain(&n.to_string())]).await.unwrap();
        let read = tokio::time::timeout(Duration::from_secs(10), reader.next(10)).await.unwrap().unwrap();
        assert_eq!(read.iter().map(text).collect::<Vec<_>>(), [n.to_string()]);
    }
}

pub async fn a_reader_far_behind_reads_everything_once(open: Open) {
    let big = "x".repeat(20_000);
    let acks: Vec<_> = (0..200).map(|n| open.one.append(ORDERS, vec![plain(&format!("{n} {big}"))])).collect();
    for ack in acks {
        ack.await.unwrap();
    }
    let read: Vec<String> =
        read_all(&*open.two, ORDERS, 0).await.iter().map(|r| text(r).split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(read, (0..200).map(|n| n.to_string()).collect::<Vec<_>>());
}

pub async fn readers_do_not_disturb_one_another(open: Open) {
    let mut readers = Vec::new();
    for _ in 0..4 {
        readers.push(open.one.reader(ORDERS, 0).await.unwrap());
    }
    for n in 0..30 {
        open.two.append(ORDERS, vec![plain(&n.to_string())]).await.unwrap();
    }
    for (size, mut reader) in (1..).zip(readers) {
        let mut read = Vec::new();
        while read.len() < 30 {
            let batch = reader.next(size).await.unwrap();
            assert!(!batch.is_empty() && batch.len() <= size);
            read.extend(batch.iter().map(text));
        }
        assert_eq!(read, (0..30).map(|n| n.to_string()).collect::<Vec<_>>());
    }
}

pub async fn the_end_covers_what_is_acknowledged(open: Open) {
    assert_eq!((open.two.start(ORDERS).await.unwrap(), open.two.end(ORDERS).await.unwrap()), (0, 0));
    for n in 1..20 {
        open.one.append(ORDERS, vec![plain("x"), plain("y")]).await.unwrap();
        let end = open.two.end(ORDERS).await.unwrap();
        assert!(read_all(&*open.two, ORDERS, 0).await.len() == 2 * n && end >= 2 * n as u64, "{n}: {end}");
    }
}

pub async fn compaction_never_takes_the_newest_of_a_key(open: Open) {
    for round in 0..20 {
        let value = round.to_string();
        let entries = vec![keyed("a", Some(&value)), keyed("b", Some(&value)), keyed("a", Some("newest of a"))];
        open.one.append(STATES, entries).await.unwrap();
    }
    open.one.append(STATES, vec![keyed("b", None)]).await.unwrap();
    let read = read_all(&*open.two, STATES, 0).await;
    assert!(open.two.start(STATES).await.unwrap() <= read[read.len() - 1].offset, "the newest record is always there");
    let newest = |key: &str| read.iter().rev().find(|record| record.entry.key == key.as_bytes());
    assert_eq!(text(newest("a").unwrap()), "newest of a");
    assert!(newest("b").is_none_or(|record| record.entry.value.is_none()), "removed");
}

pub async fn positions_are_kept_with_their_metadata_in_the_order_of_the_calls(open: Open) {
    assert_eq!(open.one.position(Group::Workers, ORDERS).await.unwrap(), None);
    let position = |next| Position { next, metadata: Bytes::from(vec![7; POSITION_METADATA_BYTES_MAX]) };
    let acks: Vec<_> = (0..20).map(|next| open.one.commit(Group::Workers, ORDERS, position(next))).collect();
    for ack in acks {
        ack.await.unwrap();
    }
    assert_eq!(open.two.position(Group::Workers, ORDERS).await.unwrap(), Some(position(19)));
    assert_eq!(open.two.position(Group::Tracker, ORDERS).await.unwrap(), None);
    assert_eq!(open.two.position(Group::Workers, Partition { index: 0, ..ORDERS }).await.unwrap(), None);
    let long = Position { next: 99, metadata: Bytes::from(vec![0; POSITION_METADATA_BYTES_MAX + 1]) };
    let refused = open.one.commit(Group::Workers, ORDERS, long).await;
    assert!(matches!(refused, Err(JournalError::AppendRefused { .. })), "{refused:?}");
    assert_eq!(open.two.position(Group::Workers, ORDERS).await.unwrap(), Some(position(19)));
}

pub async fn what_is_too_large_or_nowhere_is_refused_and_leaves_nothing(open: Open) {
    let huge = Entry::plain(vec![0; ENTRY_BYTES_MAX + 1]);
    let refused = open.one.append(ORDERS, vec![plain("small"), huge]).await.unwrap_err();
    assert!(
        matches!(refused, JournalError::AppendRefused { .. }) && refused.to_string().contains("1048576"),
        "{refused}"
    );
    assert_eq!(open.two.end(ORDERS).await.unwrap(), 0, "nothing of it landed");
    assert!(matches!(open.one.append(NOWHERE, vec![plain("x")]).await, Err(JournalError::NoPartition(_))));
    assert!(matches!(open.one.end(NOWHERE).await, Err(JournalError::NoPartition(_))));
    assert!(matches!(open.one.start(NOWHERE).await, Err(JournalError::NoPartition(_))));
    assert!(matches!(open.one.reader(NOWHERE, 0).await.err(), Some(JournalError::NoPartition(_))));
    open.one.append(ORDERS, vec![plain("after")]).await.unwrap();
    assert_eq!(read_all(&*open.two, ORDERS, 0).await.iter().map(text).collect::<Vec<_>>(), ["after"]);
}

pub async fn every_partition_is_assigned_to_somebody(open: Open) {
    let mut one = open.one.assignments(Topic::Orders, "router-0").await.unwrap();
    let first = tokio::time::timeout(Duration::from_secs(30), one.changed()).await.unwrap().unwrap();
    assert_eq!(first, (0..open.one.partitions(Topic::Orders)).collect());
}

pub async fn replies_are_held_by_one_and_given_back(open: Open) {
    let first = open.one.hold_replies("ingress-0").await.unwrap();
    let second = open.two.hold_replies("ingress-1").await.unwrap();
    assert_ne!(first.partition, second.partition);
    open.two.append(first.partition, vec![plain("a reply")]).await.unwrap();
    assert_eq!(read_all(&*open.one, first.partition, 0).await.len(), 1);
    drop(first);
    let third = open.two.hold_replies("ingress-2").await.unwrap();
    assert_ne!(third.partition, second.partition);
}
