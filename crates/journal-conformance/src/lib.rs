//! The conformance suite of the journal: what every implementation must do, case by case.
//!
//! An implementation's test file says how to open a new journal, and [`conformance!`] makes a test
//! of each case. The test crate needs `tokio` with its macros.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use twqr_journal::{
    ENTRY_BYTES_MAX, Entry, Group, Journal, JournalError, Member, POSITION_METADATA_BYTES_MAX, Partition, Position,
    Record, Topic,
};

/// One new, empty journal with two shards, as two processes see it.
pub struct TwoProcesses {
    /// The journal as the first process sees it.
    pub one: Arc<dyn Journal>,
    /// The journal as the second process sees it; the same object as `one` where only one process
    /// can have the journal open.
    pub two: Arc<dyn Journal>,
    /// Dropped after the case: for example, a temporary folder.
    pub keep_alive: Option<Box<dyn Send + Sync>>,
}

/// The partition that most cases append to.
pub const ORDERS: Partition = Partition { topic: Topic::Orders, index: 1 };
/// A partition of a compacted topic.
pub const STATES: Partition = Partition { topic: Topic::OrderStates, index: 0 };
/// A partition that does not exist.
const MISSING: Partition = Partition { topic: Topic::Orders, index: 2 };

/// Makes a test of each case. The first argument is an async function that opens a new journal as
/// [`TwoProcesses`]; a second one is an attribute for every test, such as `ignore = "needs a
/// broker"`.
#[macro_export]
macro_rules! conformance {
    ($open:path; $(#[$attribute:meta])*; $($case:ident)*) => {
        $crate::conformance!(each $open; [$(#[$attribute])*]; $($case)*);
    };
    (each $open:path; $attributes:tt; $($case:ident)*) => {
        $($crate::conformance!(one $open; $attributes; $case);)*
    };
    (one $open:path; [$(#[$attribute:meta])*]; $case:ident) => {
        #[tokio::test]
        $(#[$attribute])*
        async fn $case() {
            $crate::$case($open().await).await;
        }
    };
    ($open:path) => {
        $crate::conformance!($open,);
    };
    ($open:path, $($attribute:meta)?) => {
        $crate::conformance!($open; $(#[$attribute])?;
            acknowledged_entries_are_read_in_the_order_of_the_calls
            each_writer_keeps_its_order
            offsets_grow_and_reading_starts_at_any_record
            a_reader_at_the_end_waits_and_can_be_cancelled_without_loss
            a_reader_far_behind_reads_everything_once
            readers_are_independent
            the_end_covers_acknowledged_entries
            compaction_keeps_the_newest_entry_of_each_key
            positions_are_stored_in_the_order_of_the_calls
            an_oversized_entry_or_missing_partition_is_refused
            a_single_member_is_assigned_every_partition
            members_and_holders_are_known
            a_replies_partition_has_one_holder_until_released
        );
    };
}

/// An entry with a text as its value and no key.
pub fn plain(text: &str) -> Entry {
    Entry::plain(text.as_bytes().to_vec())
}

/// The value of a record that was appended as text.
pub fn text(record: &Record) -> String {
    String::from_utf8(record.entry.value.clone().unwrap().to_vec()).unwrap()
}

fn keyed(key: &str, value: Option<&str>) -> Entry {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    Entry { key: bytes(key), value: value.map(bytes) }
}

/// Reads from an offset to the partition's end at the time of the call.
pub async fn read_all(journal: &dyn Journal, partition: Partition, from: u64) -> Vec<Record> {
    let end = journal.end(partition).await.unwrap();
    let mut reader = journal.reader(partition, from).await.unwrap();
    let mut all: Vec<Record> = Vec::new();
    while from < end && all.last().is_none_or(|last| last.offset + 1 < end) {
        all.extend(reader.next(7).await.unwrap());
    }
    all
}

/// Acknowledged entries are read in the order of the calls, by the other process too, also by a
/// follower.
pub async fn acknowledged_entries_are_read_in_the_order_of_the_calls(journal: TwoProcesses) {
    let mut acks = Vec::new();
    for batch in 0..50 {
        let entries = (0..3).map(|n| plain(&format!("{batch}-{n}"))).collect();
        acks.push(journal.one.append(ORDERS, entries));
    }
    for ack in acks {
        ack.await.unwrap();
    }
    let read: Vec<String> = read_all(&*journal.two, ORDERS, 0).await.iter().map(text).collect();
    let expected: Vec<String> = (0..50).flat_map(|b| (0..3).map(move |n| format!("{b}-{n}"))).collect();
    assert_eq!(read, expected);
    let mut reader = journal.two.follower(ORDERS, 0).await.unwrap();
    let mut followed = Vec::new();
    while followed.len() < read.len() {
        followed.extend(reader.next(7).await.unwrap().iter().map(text));
    }
    assert_eq!(followed, read);
}

/// Each of two writers keeps its order, and a dropped acknowledgement withdraws nothing.
pub async fn each_writer_keeps_its_order(journal: TwoProcesses) {
    let write = |process: Arc<dyn Journal>, name: &'static str| async move {
        for n in 0..40 {
            let ack = process.append(ORDERS, vec![plain(&format!("{name}{n:02}"))]);
            if n % 7 == 0 {
                ack.await.unwrap();
            } else {
                drop(ack);
            }
        }
        process.append(ORDERS, vec![plain(&format!("{name}99"))]).await.unwrap();
    };
    tokio::join!(write(journal.one.clone(), "a"), write(journal.two.clone(), "b"));
    let read: Vec<String> = read_all(&*journal.one, ORDERS, 0).await.iter().map(text).collect();
    for name in ["a", "b"] {
        let own: Vec<&String> = read.iter().filter(|text| text.starts_with(name)).collect();
        assert_eq!(own.len(), 41, "{name}: a dropped acknowledgement withdrew an append");
        assert!(own.is_sorted(), "{name}: {own:?}");
    }
}

/// Offsets grow strictly, and a reader can start at any record.
pub async fn offsets_grow_and_reading_starts_at_any_record(journal: TwoProcesses) {
    for n in 0..20 {
        journal.one.append(ORDERS, vec![plain(&n.to_string())]).await.unwrap();
    }
    let all = read_all(&*journal.one, ORDERS, 0).await;
    assert!(all.is_sorted_by(|a, b| a.offset < b.offset));
    for (n, record) in all.iter().enumerate() {
        assert_eq!(read_all(&*journal.two, ORDERS, record.offset).await, all[n..]);
    }
}

/// A reader at the end waits for a record, and cancelling the wait loses nothing.
pub async fn a_reader_at_the_end_waits_and_can_be_cancelled_without_loss(journal: TwoProcesses) {
    let mut reader = journal.two.reader(ORDERS, 0).await.unwrap();
    for n in 0..10 {
        let early = tokio::time::timeout(Duration::from_millis(5), reader.next(10)).await;
        assert!(early.is_err(), "{n}: the reader returned although there was no new record");
        journal.one.append(ORDERS, vec![plain(&n.to_string())]).await.unwrap();
        let read = tokio::time::timeout(Duration::from_secs(10), reader.next(10)).await.unwrap().unwrap();
        assert_eq!(read.iter().map(text).collect::<Vec<_>>(), [n.to_string()]);
    }
}

/// A reader that starts 4 MB behind the end reads every record exactly once.
pub async fn a_reader_far_behind_reads_everything_once(journal: TwoProcesses) {
    let big = "x".repeat(20_000);
    let acks: Vec<_> = (0..200).map(|n| journal.one.append(ORDERS, vec![plain(&format!("{n} {big}"))])).collect();
    for ack in acks {
        ack.await.unwrap();
    }
    let read: Vec<String> = read_all(&*journal.two, ORDERS, 0)
        .await
        .iter()
        .map(|r| text(r).split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(read, (0..200).map(|n| n.to_string()).collect::<Vec<_>>());
}

/// Several readers of one partition are independent, and respect their batch size.
pub async fn readers_are_independent(journal: TwoProcesses) {
    let mut readers = Vec::new();
    for _ in 0..4 {
        readers.push(journal.one.reader(ORDERS, 0).await.unwrap());
    }
    for n in 0..30 {
        journal.two.append(ORDERS, vec![plain(&n.to_string())]).await.unwrap();
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

/// The end is after everything that was acknowledged before the query.
pub async fn the_end_covers_acknowledged_entries(journal: TwoProcesses) {
    assert_eq!((journal.two.start(ORDERS).await.unwrap(), journal.two.end(ORDERS).await.unwrap()), (0, 0));
    for n in 1..20 {
        journal.one.append(ORDERS, vec![plain("x"), plain("y")]).await.unwrap();
        let end = journal.two.end(ORDERS).await.unwrap();
        assert!(read_all(&*journal.two, ORDERS, 0).await.len() == 2 * n && end >= 2 * n as u64, "{n}: {end}");
    }
}

/// Compaction keeps the newest entry of each key. A removed key may remain, but only without a
/// value.
pub async fn compaction_keeps_the_newest_entry_of_each_key(journal: TwoProcesses) {
    for round in 0..20 {
        let value = round.to_string();
        let entries = vec![keyed("a", Some(&value)), keyed("b", Some(&value)), keyed("a", Some("newest of a"))];
        journal.one.append(STATES, entries).await.unwrap();
    }
    journal.one.append(STATES, vec![keyed("b", None)]).await.unwrap();
    let read = read_all(&*journal.two, STATES, 0).await;
    assert!(
        journal.two.start(STATES).await.unwrap() <= read[read.len() - 1].offset,
        "compaction removed the newest record"
    );
    let newest = |key: &str| read.iter().rev().find(|record| record.entry.key == key.as_bytes());
    assert_eq!(text(newest("a").unwrap()), "newest of a");
    assert!(newest("b").is_none_or(|record| record.entry.value.is_none()), "the removed key b still has a value");
}

/// Positions are stored with their metadata, in the order of the calls, per group and partition.
pub async fn positions_are_stored_in_the_order_of_the_calls(journal: TwoProcesses) {
    assert_eq!(journal.one.position(Group::Workers, ORDERS).await.unwrap(), None);
    let position = |next| Position { next, metadata: Bytes::from(vec![7; POSITION_METADATA_BYTES_MAX]) };
    let acks: Vec<_> = (0..20).map(|next| journal.one.commit(Group::Workers, ORDERS, position(next))).collect();
    for ack in acks {
        ack.await.unwrap();
    }
    assert_eq!(journal.two.position(Group::Workers, ORDERS).await.unwrap(), Some(position(19)));
    assert_eq!(journal.two.position(Group::Tracker, ORDERS).await.unwrap(), None);
    assert_eq!(journal.two.position(Group::Workers, Partition { index: 0, ..ORDERS }).await.unwrap(), None);
    let long = Position { next: 99, metadata: Bytes::from(vec![0; POSITION_METADATA_BYTES_MAX + 1]) };
    let refused = journal.one.commit(Group::Workers, ORDERS, long).await;
    assert!(matches!(refused, Err(JournalError::AppendRefused { .. })), "{refused:?}");
    assert_eq!(journal.two.position(Group::Workers, ORDERS).await.unwrap(), Some(position(19)));
}

/// An oversized entry or a missing partition is refused, and no entry of the append is written.
pub async fn an_oversized_entry_or_missing_partition_is_refused(journal: TwoProcesses) {
    let huge = Entry::plain(vec![0; ENTRY_BYTES_MAX + 1]);
    let refused = journal.one.append(ORDERS, vec![plain("small"), huge]).await.unwrap_err();
    assert!(
        matches!(refused, JournalError::AppendRefused { .. }) && refused.to_string().contains("1048576"),
        "{refused}"
    );
    assert_eq!(journal.two.end(ORDERS).await.unwrap(), 0, "a part of a refused append was written");
    assert!(matches!(journal.one.append(MISSING, vec![plain("x")]).await, Err(JournalError::NoPartition(_))));
    assert!(matches!(journal.one.end(MISSING).await, Err(JournalError::NoPartition(_))));
    assert!(matches!(journal.one.start(MISSING).await, Err(JournalError::NoPartition(_))));
    assert!(matches!(journal.one.reader(MISSING, 0).await.err(), Some(JournalError::NoPartition(_))));
    journal.one.append(ORDERS, vec![plain("after")]).await.unwrap();
    assert_eq!(read_all(&*journal.two, ORDERS, 0).await.iter().map(text).collect::<Vec<_>>(), ["after"]);
}

/// A group with one member assigns every partition to it.
pub async fn a_single_member_is_assigned_every_partition(journal: TwoProcesses) {
    let mut one = journal.one.assignments(Topic::Orders, "router-0").await.unwrap();
    let first = tokio::time::timeout(Duration::from_secs(30), one.changed()).await.unwrap().unwrap();
    assert_eq!(first, (0..journal.one.partitions(Topic::Orders)).collect());
}

/// Where several processes share the journal, it knows the members of its groups, and who holds and
/// reads a partition of `replies` until it is released.
pub async fn members_and_holders_are_known(journal: TwoProcesses) {
    let mut joined = journal.one.assignments(Topic::Orders, "router-0").await.unwrap();
    tokio::time::timeout(Duration::from_secs(30), joined.changed()).await.unwrap().unwrap();
    let held = journal.one.hold_replies("ingress-0").await.unwrap();
    let mut reader = journal.one.reader(held.partition, 0).await.unwrap();
    let reading = tokio::spawn(async move { while reader.next(100).await.is_ok() {} });
    let both = [Member::Group("router-0".to_owned()), Member::Replies(held.partition.index)];
    let shared = |members: &[Member]| -> BTreeSet<Member> {
        members.iter().filter(|_| journal.one.is_shared()).cloned().collect()
    };
    assert_eq!(journal.two.members().await.unwrap(), shared(&both));
    drop(held);
    assert_eq!(journal.two.members().await.unwrap(), shared(&both[..1]));
    reading.abort();
}

/// A partition of `replies` has one holder, and can be held again after its release.
pub async fn a_replies_partition_has_one_holder_until_released(journal: TwoProcesses) {
    let first = journal.one.hold_replies("ingress-0").await.unwrap();
    let second = journal.two.hold_replies("ingress-1").await.unwrap();
    assert_ne!(first.partition, second.partition);
    journal.two.append(first.partition, vec![plain("a reply")]).await.unwrap();
    assert_eq!(read_all(&*journal.one, first.partition, 0).await.len(), 1);
    drop(first);
    let third = journal.two.hold_replies("ingress-2").await.unwrap();
    assert_ne!(third.partition, second.partition);
}
