//! The embedded journal: order, durability, and what a kill -9 at any moment leaves behind.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{BufRead, BufReader},
    num::NonZeroU32,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use rand::{Rng, SeedableRng};
use twqr_journal::{
    Entry, Group, Journal, JournalError, Partition, Position, Record, Topic,
    embedded::{EmbeddedJournal, Settings},
};

fn settings(dir: &Path, shards: u32) -> Settings {
    let count = |n| NonZeroU32::new(n).unwrap();
    Settings { dir: dir.to_owned(), shards: count(shards), task_partitions: count(2) }
}

fn open(dir: &Path) -> Arc<EmbeddedJournal> {
    EmbeddedJournal::open(settings(dir, 2)).unwrap()
}

const ORDERS: Partition = Partition { topic: Topic::Orders, index: 1 };
const STATES: Partition = Partition { topic: Topic::OrderStates, index: 0 };

fn plain(text: &str) -> Entry {
    Entry::plain(text.as_bytes().to_vec())
}

fn text(record: &Record) -> String {
    String::from_utf8(record.entry.value.clone().unwrap().to_vec()).unwrap()
}

async fn read_all(journal: &EmbeddedJournal, partition: Partition, from: u64) -> Vec<Record> {
    let end = journal.end(partition).await.unwrap();
    let mut reader = journal.reader(partition, from).await.unwrap();
    let mut all: Vec<Record> = Vec::new();
    while from < end && all.last().is_none_or(|last| last.offset + 1 < end) {
        all.extend(reader.next(7).await.unwrap());
    }
    all
}

#[tokio::test]
async fn what_is_acknowledged_is_read_in_order_also_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    for batch in 0..50 {
        let entries = (0..3).map(|n| plain(&format!("{batch}-{n}"))).collect();
        journal.append(ORDERS, entries).await.unwrap();
    }
    let before = read_all(&journal, ORDERS, 0).await;
    journal.close();
    drop(journal);
    let journal = open(dir.path());
    let after = read_all(&journal, ORDERS, 0).await;
    assert_eq!(before, after);
    let expected: Vec<String> = (0..50).flat_map(|b| (0..3).map(move |n| format!("{b}-{n}"))).collect();
    assert_eq!(after.iter().map(text).collect::<Vec<_>>(), expected);
    let offset = after[40].offset;
    assert_eq!(read_all(&journal, ORDERS, offset).await, after[40..]);
    journal.append(ORDERS, vec![plain("next")]).await.unwrap();
    assert_eq!(text(&read_all(&journal, ORDERS, offset).await[110]), "next");
}

#[tokio::test]
async fn a_reader_far_behind_crosses_from_the_disk_to_the_tail_without_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let big = "x".repeat(50_000);
    let acks: Vec<_> = (0..100).map(|n| journal.append(ORDERS, vec![plain(&format!("{n} {big}"))])).collect();
    for ack in acks {
        ack.await.unwrap();
    }
    let offsets: Vec<u64> = read_all(&journal, ORDERS, 0).await.iter().map(|record| record.offset).collect();
    assert_eq!(offsets, (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn compaction_keeps_the_newest_of_each_key() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let keyed = |key: &'static str, value: Option<&'static str>| Entry {
        key: Bytes::from_static(key.as_bytes()),
        value: value.map(|value| Bytes::from_static(value.as_bytes())),
    };
    journal.append(STATES, vec![keyed("a", Some("1")), keyed("b", Some("2")), keyed("a", Some("3"))]).await.unwrap();
    journal.append(STATES, vec![keyed("b", None), keyed("c", Some("4"))]).await.unwrap();
    journal.close();
    drop(journal);
    let journal = open(dir.path());
    let kept: Vec<_> = read_all(&journal, STATES, 0).await.into_iter().map(|r| (r.entry.key, r.entry.value)).collect();
    let expected = [keyed("a", Some("3")), keyed("b", None), keyed("c", Some("4"))].map(|e| (e.key, e.value));
    assert_eq!(kept, expected);
}

#[tokio::test]
async fn positions_and_replies() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    assert_eq!(journal.position(Group::Workers, ORDERS).await.unwrap(), None);
    let position = Position { next: 42, metadata: Bytes::from_static(b"highest") };
    journal.commit(Group::Workers, ORDERS, position.clone()).await.unwrap();
    let first = journal.hold_replies("a").await.unwrap();
    let second = journal.hold_replies("b").await.unwrap();
    assert_ne!(first.partition, second.partition);
    let freed = first.partition;
    drop(first);
    assert_eq!(journal.hold_replies("c").await.unwrap().partition, freed);
    journal.close();
    drop((journal, second));
    let journal = open(dir.path());
    assert_eq!(journal.position(Group::Workers, ORDERS).await.unwrap(), Some(position));
    assert_eq!(journal.position(Group::Tracker, ORDERS).await.unwrap(), None);
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let second = EmbeddedJournal::open(settings(dir.path(), 2)).err().unwrap().to_string();
    assert!(second.contains("in use by another process"), "{second}");
    let nowhere = Partition { topic: Topic::Orders, index: 2 };
    assert!(matches!(journal.append(nowhere, vec![plain("x")]).await, Err(JournalError::NoPartition(_))));
    let huge = Entry::plain(vec![0; twqr_journal::ENTRY_BYTES_MAX + 1]);
    let refused = journal.append(ORDERS, vec![huge]).await.unwrap_err().to_string();
    assert!(refused.contains("at most 1048576"), "{refused}");
    journal.close();
    let closed = journal.append(ORDERS, vec![plain("x")]).await.unwrap_err().to_string();
    assert!(closed.contains("closed"), "{closed}");
    drop(journal);
    let other = EmbeddedJournal::open(settings(dir.path(), 3)).err().unwrap().to_string();
    assert!(other.contains("created with 2 partitions, configured are 3"), "{other}");
}

/// When this is set, the test binary is the child that is killed.
const CHILD_DIR: &str = "TWQR_TEST_JOURNAL_DIR";

/// The child: appends numbered records and says on stdout which are acknowledged.
#[test]
fn child_that_is_killed() {
    let Ok(dir) = std::env::var(CHILD_DIR) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let journal = open(Path::new(&dir));
        let mut n = journal.end(ORDERS).await.unwrap();
        loop {
            let acks: Vec<_> = (n..n + 20).map(|i| journal.append(ORDERS, vec![plain(&i.to_string())])).collect();
            n += 20;
            for ack in acks {
                ack.await.unwrap();
            }
            println!("acknowledged {n}");
        }
    });
}

#[tokio::test]
async fn killed_at_any_moment_nothing_acknowledged_is_lost_and_nothing_is_out_of_order() {
    let seed = std::env::var("TWQR_SEED").map_or(7, |seed| seed.parse().unwrap());
    println!("seed {seed} (set TWQR_SEED for another)");
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    for round in 0..8 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child_that_is_killed", "--exact", "--nocapture"])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut acknowledged = 0;
        let mut take = |line: Option<String>| {
            acknowledged =
                line.as_deref().and_then(|l| l.strip_prefix("acknowledged ")?.parse().ok()).unwrap_or(acknowledged);
        };
        for _ in 0..random.random_range(3..40) {
            take(lines.next());
        }
        std::thread::sleep(Duration::from_micros(random.random_range(0..3_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        lines.for_each(|line| take(Some(line)));
        let journal = open(dir.path());
        let found: Vec<String> = read_all(&journal, ORDERS, 0).await.iter().map(text).collect();
        let expected: Vec<String> = (0..found.len()).map(|i| i.to_string()).collect();
        assert_eq!(found, expected, "round {round}");
        assert!(
            acknowledged > 0 && found.len() as u64 >= acknowledged,
            "round {round}: {acknowledged} of {}",
            found.len()
        );
    }
}
