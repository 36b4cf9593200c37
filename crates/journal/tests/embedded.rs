//! The embedded journal passes the conformance suite, keeps everything when it is reopened, and
//! loses nothing acknowledged when its process is killed with kill -9 at any moment.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking and prints its seed")]

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
    Entry, Group, Journal, NewestByKey, Partition, Position,
    embedded::{EmbeddedJournal, EmbeddedSettings},
};
use twqr_journal_conformance::{ORDERS, STATES, TwoProcesses, conformance, plain, read_all, text};

fn settings(dir: &Path, shards: u32) -> EmbeddedSettings {
    let count = |n| NonZeroU32::new(n).unwrap();
    EmbeddedSettings { dir: dir.to_owned(), shards: count(shards), task_partitions: count(2) }
}

fn open(dir: &Path) -> Arc<EmbeddedJournal> {
    EmbeddedJournal::open(settings(dir, 2)).unwrap()
}

async fn open_new() -> TwoProcesses {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    TwoProcesses { one: journal.clone(), two: journal, keep_alive: Some(Box::new(dir)) }
}

conformance!(open_new);

#[tokio::test]
async fn reopening_finds_records_states_and_positions() {
    let dir = tempfile::tempdir().unwrap();
    let keyed = |key: &'static str, value: Option<&'static str>| Entry {
        key: Bytes::from_static(key.as_bytes()),
        value: value.map(|value| Bytes::from_static(value.as_bytes())),
    };
    let position = Position { next: 42, metadata: Bytes::from_static(b"highest") };
    {
        let journal = open(dir.path());
        for n in 0..150 {
            journal.append(ORDERS, vec![plain(&n.to_string())]).await.unwrap();
        }
        let states = vec![keyed("a", Some("1")), keyed("b", Some("2")), keyed("a", Some("3")), keyed("b", None)];
        journal.append(STATES, states).await.unwrap();
        journal.commit(Group::Workers, ORDERS, position.clone()).await.unwrap();
        journal.close();
    }
    let journal = open(dir.path());
    let orders: Vec<String> = read_all(&*journal, ORDERS, 0).await.iter().map(text).collect();
    assert_eq!(orders, (0..150).map(|n| n.to_string()).collect::<Vec<_>>());
    let kept: Vec<Entry> = read_all(&*journal, STATES, 0).await.into_iter().map(|record| record.entry).collect();
    assert_eq!(kept, [keyed("a", Some("3")), keyed("b", None)]);
    assert_eq!(journal.position(Group::Workers, ORDERS).await.unwrap(), Some(position));
    journal.append(ORDERS, vec![plain("next")]).await.unwrap();
    assert_eq!(text(&read_all(&*journal, ORDERS, 150).await[0]), "next");
}

/// States are replaced, deleted and read at once: each reading finds the newest state or the one
/// before, never none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_entry_of_a_key_is_found_also_while_it_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let entry = |value: Option<u64>| Entry { key: "a".into(), value: value.map(|value| value.to_string().into()) };
    let number = |value: Bytes| std::str::from_utf8(&value).unwrap().parse::<u64>().unwrap();
    let journal = open(dir.path());
    assert_eq!(journal.newest(STATES, b"a").unwrap(), None);
    journal.append(STATES, vec![entry(Some(0))]).await.unwrap();
    let reading = {
        let journal = journal.clone();
        tokio::task::spawn_blocking(move || {
            let mut newest = 0;
            while newest < 300 {
                let found = number(journal.newest(STATES, b"a").unwrap().unwrap());
                assert!(found >= newest, "{found} after {newest}");
                newest = found;
            }
        })
    };
    for value in 1..=300 {
        journal.append(STATES, vec![entry(Some(value))]).await.unwrap();
    }
    reading.await.unwrap();
    let other = Partition { index: 1, ..STATES };
    journal.append(other, vec![entry(Some(7))]).await.unwrap();
    journal.append(STATES, vec![entry(None)]).await.unwrap();
    journal.close();
    drop(journal);
    let journal = open(dir.path());
    assert_eq!(journal.newest(STATES, b"a").unwrap(), None, "it was deleted");
    assert_eq!(journal.newest(other, b"a").unwrap().map(number), Some(7));
}

/// The files below a folder that contain the text.
fn files_with(dir: &Path, text: &str) -> String {
    let found = Command::new("grep").args(["-r", "-l", "-F", "-e", text]).arg(dir).output().unwrap();
    String::from_utf8(found.stdout).unwrap()
}

#[tokio::test]
async fn trimmed_records_are_not_read_and_offsets_continue_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let texts = |records: Vec<twqr_journal::Record>| {
        records.iter().map(|record| (record.offset, text(record))).collect::<Vec<_>>()
    };
    {
        let journal = open(dir.path());
        for n in 0..10 {
            journal.append(ORDERS, vec![plain(&n.to_string())]).await.unwrap();
        }
        assert!(journal.trim(ORDERS, 11).await.is_err(), "the end is 10");
        assert!(journal.trim(STATES, 0).await.is_err(), "a compacted topic is not trimmed");
        journal.trim(ORDERS, 7).await.unwrap();
        journal.trim(ORDERS, 3).await.unwrap();
        assert_eq!((journal.start(ORDERS).await.unwrap(), journal.end(ORDERS).await.unwrap()), (7, 10));
        journal.close();
    }
    {
        let journal = open(dir.path());
        let kept = texts(read_all(&*journal, ORDERS, 0).await);
        assert_eq!(kept, [(7, "7".into()), (8, "8".into()), (9, "9".into())]);
        journal.trim(ORDERS, 10).await.unwrap();
        journal.compact(ORDERS.topic).await.unwrap();
        assert_eq!((journal.start(ORDERS).await.unwrap(), journal.end(ORDERS).await.unwrap()), (10, 10));
        journal.close();
    }
    let journal = open(dir.path());
    assert_eq!((journal.start(ORDERS).await.unwrap(), journal.end(ORDERS).await.unwrap()), (10, 10));
    journal.append(ORDERS, vec![plain("ten")]).await.unwrap();
    assert_eq!(texts(read_all(&*journal, ORDERS, 0).await), [(10, "ten".into())]);
}

#[tokio::test]
async fn compaction_erases_trimmed_records_from_the_raw_files() {
    const TOKEN: &str = "22TokenToBeErased";
    const KEPT: &str = "22TokenToBeKept";
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    journal.append(ORDERS, vec![plain(TOKEN), plain(KEPT)]).await.unwrap();
    // The write-ahead log is replaced only after 64 MB.
    for seed in 0..66 {
        let mut filler = vec![0_u8; 1_000_000];
        rand_chacha::ChaCha8Rng::seed_from_u64(seed).fill(&mut filler[..]);
        let filler = Entry { key: Bytes::from_static(b"filler"), value: Some(filler.into()) };
        journal.append(STATES, vec![filler]).await.unwrap();
    }
    assert!(!files_with(dir.path(), TOKEN).is_empty());
    journal.trim(ORDERS, 1).await.unwrap();
    for topic in [ORDERS.topic, STATES.topic] {
        journal.compact(topic).await.unwrap();
    }
    journal.close();
    drop(journal);
    assert_eq!(files_with(dir.path(), TOKEN), "");
    assert!(!files_with(dir.path(), KEPT).is_empty());
}

#[tokio::test]
async fn opening_twice_appending_when_closed_and_another_layout_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let second = EmbeddedJournal::open(settings(dir.path(), 2)).err().unwrap().to_string();
    assert!(second.contains("in use by another process"), "{second}");
    journal.close();
    let closed = journal.append(ORDERS, vec![plain("x")]).await.unwrap_err().to_string();
    assert!(closed.contains("closed"), "{closed}");
    drop(journal);
    let other = EmbeddedJournal::open(settings(dir.path(), 3)).err().unwrap().to_string();
    assert!(other.contains("created with 2 partitions, configured are 3"), "{other}");
}

/// If this variable is set, the test binary is the child process that is killed.
const CHILD_DIR: &str = "TWQR_TEST_JOURNAL_DIR";

/// The child process: appends numbered records and prints how many are acknowledged.
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
async fn kill_9_loses_no_acknowledged_record_and_keeps_the_order() {
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
        let mut read_line = |line: Option<String>| {
            acknowledged =
                line.as_deref().and_then(|l| l.strip_prefix("acknowledged ")?.parse().ok()).unwrap_or(acknowledged);
        };
        for _ in 0..random.random_range(3..40) {
            read_line(lines.next());
        }
        std::thread::sleep(Duration::from_micros(random.random_range(0..3_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        lines.for_each(|line| read_line(Some(line)));
        let journal = open(dir.path());
        let found: Vec<String> = read_all(&*journal, ORDERS, 0).await.iter().map(text).collect();
        let expected: Vec<String> = (0..found.len()).map(|i| i.to_string()).collect();
        assert_eq!(found, expected, "round {round}");
        assert!(
            acknowledged > 0 && found.len() as u64 >= acknowledged,
            "round {round}: {acknowledged} of {}",
            found.len()
        );
    }
}
