//! Gives each ingress instance its own partition of `replies`, without a registry of holders.
//!
//! An instance that wants a partition writes a probe into it and reads it for a while: a living
//! holder responds, and silence means that the partition is free. If a paused holder does not
//! respond in time, two instances hold the same partition. Then each also reads the replies of the
//! other and ignores them, because it has no pending call for them. That costs additional reads but
//! loses no answer.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use rand::Rng;
use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};
use tracing::{debug, info};

use super::{
    client::{Client, QUERY_MS},
    fetcher::{Fetchers, KafkaReader, Pace},
    lock,
    producer::Producer,
};
use crate::{Entry, JournalError, Partition, Reader, Record, Topic};

/// The key of a probe. Replies have no key.
const PROBE: &[u8] = b"probe";
/// The length of a probe's value, of random bytes, in a search for a free partition.
const SEARCH_BYTES: usize = 16;
/// The same in a probe that only asks who holds the partition.
const QUESTION_BYTES: usize = 17;
/// The key of a holder's response, whose value is that of the probe.
const HELD: &[u8] = b"held";
/// How long a probe waits for a response, in ms.
const LISTEN_MS: u64 = 500;
/// How many records one read returns while waiting for a response.
const BATCH_RECORDS_MAX: usize = 256;

/// Releases a partition of `replies` when it is dropped.
pub(super) struct KafkaRepliesGuard {
    pub(super) index: u32,
    pub(super) held: Arc<Mutex<BTreeSet<u32>>>,
}

impl Drop for KafkaRepliesGuard {
    fn drop(&mut self) {
        lock(&self.held).remove(&self.index);
    }
}

/// Searches for a partition of `replies` that no process holds.
pub(super) struct HoldSearch<'a> {
    pub(super) producer: &'a Producer,
    pub(super) fetchers: &'a Arc<Fetchers>,
    pub(super) client: &'a Arc<Client>,
    /// How many partitions `replies` has.
    pub(super) count: u32,
    /// Indices of the partitions that this process holds.
    pub(super) held: &'a Mutex<BTreeSet<u32>>,
}

impl HoldSearch<'_> {
    /// Holds the first free partition and returns its index. The search begins at the number in the
    /// member's name, so that members with different numbers do not compete.
    pub(super) async fn hold_free(&self, member: &str) -> Result<u32, JournalError> {
        let first = number_of(member);
        let count = self.count;
        for index in (0..count).map(|n| (first.wrapping_add(n)) % count) {
            let partition = Partition { topic: Topic::Replies, index };
            if lock(self.held).contains(&index) {
                continue;
            }
            // Read from the present end, so that the reader sees this search's probe.
            let from = self.client.bounds(partition).await?.end;
            let reader = self.fetchers.open(partition, from, Pace::Prompt)?;
            if is_free(self.producer, reader, partition).await? && lock(self.held).insert(index) {
                info!(member, index, "this process holds a partition of replies");
                return Ok(index);
            }
            info!(member, index, "another process holds a partition of replies");
        }
        Err(JournalError::Unusable(
            format!("all {count} partitions of replies are held; stop an ingress, or create more").into(),
        ))
    }
}

/// The number at the end of a member's name, or a hash of a name without one.
fn number_of(member: &str) -> u32 {
    let digits = member.len() - member.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let number = member[member.len() - digits..].parse();
    number.unwrap_or_else(|_| member.bytes().fold(0, |sum: u32, byte| sum.wrapping_mul(31).wrapping_add(byte.into())))
}

/// Probes a partition; returns true if no holder responds in time.
async fn is_free(producer: &Producer, mut reader: KafkaReader, partition: Partition) -> Result<bool, JournalError> {
    let nonce = probe::<SEARCH_BYTES>(producer, partition).await?;
    let silence = tokio::time::sleep(Duration::from_millis(LISTEN_MS));
    tokio::pin!(silence);
    let mut search = PartitionSearch { nonce, own_probe_read: false };
    loop {
        let records = tokio::select! {
            () = &mut silence => return Ok(true),
            records = reader.next(BATCH_RECORDS_MAX) => records?,
        };
        if records.iter().any(|record| search.is_taken_by(&record.entry)) {
            return Ok(false);
        }
    }
}

/// What a search has read from a partition since it probed it.
struct PartitionSearch {
    nonce: Bytes,
    own_probe_read: bool,
}

impl PartitionSearch {
    /// Whether the entry shows that another process holds the partition, or gets it.
    fn is_taken_by(&mut self, entry: &Entry) -> bool {
        let is_own = entry.value.as_ref() == Some(&self.nonce);
        let is_question = entry.value.as_ref().is_some_and(|value| value.len() == QUESTION_BYTES);
        match &*entry.key {
            HELD => is_own,
            PROBE if is_own => {
                self.own_probe_read = true;
                false
            }
            // Two processes probe at once: the one whose probe is first in the log gets it.
            PROBE => !self.own_probe_read && !is_question,
            _ => false,
        }
    }
}

/// Appends a probe and returns what it is recognised by.
async fn probe<const BYTES: usize>(producer: &Producer, partition: Partition) -> Result<Bytes, JournalError> {
    let mut nonce = [0; BYTES];
    rand::rng().fill(&mut nonce[..]);
    let nonce = Bytes::copy_from_slice(&nonce);
    let probe = Entry { key: Bytes::from_static(PROBE), value: Some(nonce.clone()) };
    producer.append(partition, vec![probe]).await?;
    Ok(nonce)
}

/// The partitions whose holder responds to a question. Holders of every build do. A search of an
/// earlier build takes a question for a competitor's probe, and takes another partition.
pub(super) async fn holders(
    producer: &Producer,
    fetchers: &Arc<Fetchers>,
    client: &Arc<Client>,
    count: u32,
) -> Result<BTreeSet<u32>, JournalError> {
    let mut asking = JoinSet::new();
    for index in 0..count {
        let (producer, fetchers, client) = (producer.clone(), fetchers.clone(), client.clone());
        asking.spawn(async move {
            let partition = Partition { topic: Topic::Replies, index };
            let from = client.bounds(partition).await?.end;
            let mut reader = fetchers.open(partition, from, Pace::Prompt)?;
            let nonce = probe::<QUESTION_BYTES>(&producer, partition).await?;
            Ok(is_held(&mut reader, &nonce, partition).await?.then_some(index))
        });
    }
    let asked: Result<Vec<_>, JournalError> = asking.join_all().await.into_iter().collect();
    Ok(asked?.into_iter().flatten().collect())
}

/// Whether a holder responds to this question, which was appended.
async fn is_held(reader: &mut dyn Reader, nonce: &Bytes, partition: Partition) -> Result<bool, JournalError> {
    let mut until = Instant::now() + Duration::from_millis(QUERY_MS);
    let mut is_asked = false;
    // The reader of a busy partition always has records, so the time is looked at besides.
    while Instant::now() < until
        && let Ok(records) = timeout_at(until, reader.next(BATCH_RECORDS_MAX)).await
    {
        for Record { entry, .. } in records? {
            if entry.value.as_ref() != Some(nonce) {
                continue;
            }
            if &*entry.key == HELD {
                return Ok(true);
            }
            // Only from here on silence means that nobody holds it: a new reader may be slow.
            (is_asked, until) = (true, Instant::now() + Duration::from_millis(LISTEN_MS));
        }
    }
    if is_asked {
        return Ok(false);
    }
    let reason = format!("a record was not read within {QUERY_MS} ms after it was appended");
    Err(JournalError::Read { partition, reason: reason.into() })
}

/// Responds to probes of a partition that this process holds.
pub(super) struct ProbeResponder {
    pub(super) partition: Partition,
    pub(super) held: Arc<Mutex<BTreeSet<u32>>>,
    pub(super) producer: Producer,
}

/// Reads replies, and responds to the probes among them.
pub(super) struct RepliesReader {
    pub(super) reader: KafkaReader,
    pub(super) responder: ProbeResponder,
}

#[async_trait]
impl Reader for RepliesReader {
    async fn next(&mut self, max: usize) -> Result<Vec<Record>, JournalError> {
        loop {
            let mut records = self.reader.next(max).await?;
            records.retain(|record| record.entry.key.is_empty() || !self.responder.consume(record));
            if !records.is_empty() {
                return Ok(records);
            }
        }
    }
}

impl ProbeResponder {
    /// Returns whether the record is a probe or a response, and responds to a probe.
    fn consume(&self, record: &Record) -> bool {
        let is_probe = &*record.entry.key == PROBE;
        if is_probe && lock(&self.held).contains(&self.partition.index) {
            let held = Entry { key: Bytes::from_static(HELD), value: record.entry.value.clone() };
            drop(self.producer.append(self.partition, vec![held]));
        } else if is_probe {
            debug!(partition = %self.partition, "a process probes this partition, which this process reads and does not hold");
        }
        is_probe || &*record.entry.key == HELD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &'static [u8], value: &[u8]) -> Entry {
        Entry { key: Bytes::from_static(key), value: Some(Bytes::copy_from_slice(value)) }
    }

    #[test]
    fn a_search_yields_to_the_holder_and_to_an_earlier_search_but_to_no_question() {
        let (own, other, question) = ([1; SEARCH_BYTES], [2; SEARCH_BYTES], [3; QUESTION_BYTES]);
        let cases: [(&str, Vec<Entry>, bool); 7] = [
            ("nothing else", vec![entry(PROBE, &own)], false),
            ("the holder responds", vec![entry(PROBE, &own), entry(HELD, &own)], true),
            ("it responds to another search", vec![entry(PROBE, &own), entry(HELD, &other)], false),
            ("an earlier search", vec![entry(PROBE, &other), entry(PROBE, &own)], true),
            ("a later search", vec![entry(PROBE, &own), entry(PROBE, &other)], false),
            ("a question", vec![entry(PROBE, &question), entry(PROBE, &own)], false),
            ("a reply", vec![entry(b"", &other), entry(PROBE, &own)], false),
        ];
        for (case, entries, expected) in cases {
            let mut search = PartitionSearch { nonce: Bytes::copy_from_slice(&own), own_probe_read: false };
            assert_eq!(entries.iter().any(|entry| search.is_taken_by(entry)), expected, "{case}");
        }
    }

    /// Gives each entry after so many ms, and then the last one again and again.
    struct Timed(Vec<(u64, Entry)>);

    #[async_trait]
    impl Reader for Timed {
        async fn next(&mut self, _max: usize) -> Result<Vec<Record>, JournalError> {
            let (after_ms, entry) = self.0[0].clone();
            tokio::time::sleep(Duration::from_millis(after_ms)).await;
            if self.0.len() > 1 {
                self.0.remove(0);
            }
            Ok(vec![Record { offset: 0, entry }])
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_partition_is_held_if_a_holder_responds_soon_after_the_question_was_read() {
        let (question, other) = ([3; QUESTION_BYTES], [4; QUESTION_BYTES]);
        let (asked, held) = (entry(PROBE, &question), entry(HELD, &question));
        let reply = || (10, entry(b"", b"a reply"));
        let cases = [
            ("a response", vec![(5, asked.clone()), reply(), (100, held.clone()), reply()], Some(true)),
            ("a slow reader", vec![(3_000, asked.clone()), (400, held.clone()), reply()], Some(true)),
            ("a busy partition without a holder", vec![(5, asked.clone()), reply()], Some(false)),
            ("a response to another", vec![(5, asked), (100, entry(HELD, &other)), reply()], Some(false)),
            ("a reader that never reads it", vec![reply()], None),
        ];
        let partition = Partition { topic: Topic::Replies, index: 0 };
        for (case, entries, expected) in cases {
            let is_held = is_held(&mut Timed(entries), &Bytes::copy_from_slice(&question), partition).await;
            assert_eq!(is_held.ok(), expected, "{case}");
        }
    }

    #[test]
    fn the_search_begins_at_the_number_in_the_members_name() {
        assert_eq!((number_of("ingress-3"), number_of("ingress-12")), (3, 12));
        assert_eq!(number_of("ingress"), number_of("ingress"));
        assert_ne!(number_of("pod-abc"), number_of("pod-abd"));
    }
}
