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
    client::Client,
    fetcher::{Fetchers, KafkaReader, Pace},
    lock,
    producer::Producer,
};
use crate::{Entry, JournalError, Partition, Reader, Record, Topic};

/// The key of a probe. Replies have no key.
const PROBE: &[u8] = b"probe";
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
    pub(super) fetchers: &'a Fetchers,
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
    let nonce = probe(producer, partition).await?;
    let silence = tokio::time::sleep(Duration::from_millis(LISTEN_MS));
    tokio::pin!(silence);
    let mut own_probe_read = false;
    loop {
        let records = tokio::select! {
            () = &mut silence => return Ok(true),
            records = reader.next(BATCH_RECORDS_MAX) => records?,
        };
        for Record { entry, .. } in records {
            let is_own = entry.value.as_ref() == Some(&nonce);
            match &*entry.key {
                HELD if is_own => return Ok(false),
                PROBE if is_own => own_probe_read = true,
                // Two processes probe at once: the one whose probe is first in the log gets it.
                PROBE if !own_probe_read => return Ok(false),
                _ => {}
            }
        }
    }
}

/// Appends a probe and returns what it is recognised by.
async fn probe(producer: &Producer, partition: Partition) -> Result<Bytes, JournalError> {
    let nonce = Bytes::copy_from_slice(&rand::rng().random::<[u8; 16]>());
    let probe = Entry { key: Bytes::from_static(PROBE), value: Some(nonce.clone()) };
    producer.append(partition, vec![probe]).await?;
    Ok(nonce)
}

/// The partitions whose holder responds to a probe. A process that searches for a partition at the
/// same time may take the probe for a competitor's, and takes another one.
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
            let nonce = probe(&producer, partition).await?;
            let until = Instant::now() + Duration::from_millis(LISTEN_MS);
            while let Ok(records) = timeout_at(until, reader.next(BATCH_RECORDS_MAX)).await {
                let responds =
                    |record: &Record| &*record.entry.key == HELD && record.entry.value.as_ref() == Some(&nonce);
                if records?.iter().any(responds) {
                    return Ok(Some(index));
                }
                if Instant::now() >= until {
                    break;
                }
            }
            Ok(None)
        });
    }
    let asked: Result<Vec<_>, JournalError> = asking.join_all().await.into_iter().collect();
    Ok(asked?.into_iter().flatten().collect())
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

    #[test]
    fn the_search_begins_at_the_number_in_the_members_name() {
        assert_eq!((number_of("ingress-3"), number_of("ingress-12")), (3, 12));
        assert_eq!(number_of("ingress"), number_of("ingress"));
        assert_ne!(number_of("pod-abc"), number_of("pod-abd"));
    }
}
