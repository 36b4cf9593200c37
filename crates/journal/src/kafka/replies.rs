//! A partition of `replies` for each ingress instance, taken and given back without anybody who
//! keeps the books. Who wants one writes a probe into it and listens: a living holder answers.
//! Silence means that it is free. Should two instances ever hold the same one, because a holder
//! stood still just then, both read the other's replies too and know that nobody of theirs waits
//! for them: it costs reading, never an answer.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use rand::Rng;
use tracing::{info, warn};

use super::{
    client::Client,
    fetcher::{Fetchers, KafkaReader},
    lock,
    producer::Producer,
};
use crate::{Entry, JournalError, Partition, Reader, Record, Topic};

/// The keys of records that are not replies: those have none.
const PROBE: &[u8] = b"probe";
const HELD: &[u8] = b"held";
/// How long whoever wants a partition listens for its holder, in ms.
const LISTEN_MS: u64 = 500;
/// How many records are taken at once.
const BATCH_RECORDS_MAX: usize = 256;

/// Gives a partition back.
pub(super) struct Held {
    pub(super) index: u32,
    pub(super) held: Arc<Mutex<BTreeSet<u32>>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        lock(&self.held).remove(&self.index);
    }
}

/// The first partition, from the member's own number on, that nobody holds.
pub(super) async fn take(
    producer: &Producer,
    fetchers: &Fetchers,
    client: &Arc<Client>,
    (member, count): (&str, u32),
    held: &Mutex<BTreeSet<u32>>,
) -> Result<u32, JournalError> {
    let first = number_of(member);
    for index in (0..count).map(|n| (first.wrapping_add(n)) % count) {
        let partition = Partition { topic: Topic::Replies, index };
        if lock(held).contains(&index) {
            continue;
        }
        let (_, from) = client.ends(partition).await?;
        let reader = fetchers.open(partition, from)?;
        if is_free(producer, reader, partition).await? && lock(held).insert(index) {
            info!(member, index, "holds a partition of replies");
            return Ok(index);
        }
        info!(member, index, "a partition of replies is held by somebody else");
    }
    Err(JournalError::Unusable(
        format!("all {count} partitions of replies are held; stop an ingress, or create more").into(),
    ))
}

/// The number at the end of a member's name, or one drawn from the name.
fn number_of(member: &str) -> u32 {
    let digits = member.len() - member.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let number = member[member.len() - digits..].parse();
    number.unwrap_or_else(|_| member.bytes().fold(0, |sum: u32, byte| sum.wrapping_mul(31).wrapping_add(byte.into())))
}

async fn is_free(producer: &Producer, mut reader: KafkaReader, partition: Partition) -> Result<bool, JournalError> {
    let nonce = Bytes::copy_from_slice(&rand::rng().random::<[u8; 16]>());
    let probe = Entry { key: Bytes::from_static(PROBE), value: Some(nonce.clone()) };
    producer.append(partition, &[probe]).await?;
    let listen = tokio::time::sleep(Duration::from_millis(LISTEN_MS));
    tokio::pin!(listen);
    let mut own_seen = false;
    loop {
        let records = tokio::select! {
            () = &mut listen => return Ok(true),
            records = reader.next(BATCH_RECORDS_MAX) => records?,
        };
        for Record { entry, .. } in records {
            let is_own = entry.value.as_ref() == Some(&nonce);
            match &*entry.key {
                HELD if is_own => return Ok(false),
                PROBE if is_own => own_seen = true,
                // Two want it at once: whose probe comes first may have it.
                PROBE if !own_seen => return Ok(false),
                _ => {}
            }
        }
    }
}

/// Answers probes for a partition that this process holds.
pub(super) struct Answerer {
    pub(super) partition: Partition,
    pub(super) held: Arc<Mutex<BTreeSet<u32>>>,
    pub(super) producer: Producer,
}

/// Reads replies, and answers for the partition while it does.
pub(super) struct RepliesReader {
    pub(super) reader: KafkaReader,
    pub(super) answer: Answerer,
}

#[async_trait]
impl Reader for RepliesReader {
    async fn next(&mut self, max: usize) -> Result<Vec<Record>, JournalError> {
        loop {
            let mut records = self.reader.next(max).await?;
            records.retain(|record| record.entry.key.is_empty() || !self.answer.take(record));
            if !records.is_empty() {
                return Ok(records);
            }
        }
    }
}

impl Answerer {
    /// Whether the record was about the holding of the partition.
    fn take(&self, record: &Record) -> bool {
        let is_probe = &*record.entry.key == PROBE;
        if is_probe && lock(&self.held).contains(&self.partition.index) {
            let held = Entry { key: Bytes::from_static(HELD), value: record.entry.value.clone() };
            drop(self.producer.append(self.partition, &[held]));
        } else if is_probe {
            warn!(partition = %self.partition, "somebody wants the partition, and this process does not hold it any more");
        }
        is_probe || &*record.entry.key == HELD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_members_own_number_comes_first() {
        assert_eq!((number_of("ingress-3"), number_of("ingress-12")), (3, 12));
        assert_eq!(number_of("ingress"), number_of("ingress"));
        assert_ne!(number_of("pod-abc"), number_of("pod-abd"));
    }
}
