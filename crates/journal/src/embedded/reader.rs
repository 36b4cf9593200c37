//! Reads a partition in order: old records from the disk, new ones from the tail in memory.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use super::{
    disk::Disk,
    tail::{Tail, TailRead},
};
use crate::{JournalError, Offset, Partition, Reader, Record, Topic};

pub(super) struct EmbeddedReader {
    partition: Partition,
    next: Offset,
    tail: Arc<Tail>,
    end: watch::Receiver<Offset>,
    disk: Arc<Disk>,
}

impl EmbeddedReader {
    pub(super) fn new(partition: Partition, from: Offset, tail: Arc<Tail>, disk: Arc<Disk>) -> Self {
        let end = tail.watch();
        Self { partition, next: from, tail, end, disk }
    }

    async fn read_disk(&self, below: Offset, max: usize) -> Result<Vec<Record>, JournalError> {
        let (disk, partition, from) = (self.disk.clone(), self.partition, self.next);
        let failed = |error: tokio::task::JoinError| JournalError::Read { partition, reason: error.to_string().into() };
        tokio::task::spawn_blocking(move || disk.read(partition, from, below, max)).await.map_err(failed)?
    }
}

#[async_trait]
impl Reader for EmbeddedReader {
    async fn next(&mut self, max: usize) -> Result<Vec<Record>, JournalError> {
        loop {
            // This precedes the read, so that a record that is published after the read ends the
            // wait below.
            self.end.mark_unchanged();
            let records = match self.tail.read(self.next, max) {
                TailRead::Records(records) => records,
                TailRead::OnDiskBelow(first) if self.partition.topic == Topic::Replies => {
                    // Replies are never on disk: those below the tail are gone.
                    self.next = first;
                    continue;
                }
                TailRead::OnDiskBelow(first) => {
                    let records = self.read_disk(first, max).await?;
                    if records.is_empty() {
                        // Compaction has removed everything between here and the tail.
                        self.next = first;
                        continue;
                    }
                    records
                }
            };
            if let Some(last) = records.last() {
                self.next = last.offset + 1;
                return Ok(records);
            }
            if self.end.changed().await.is_err() {
                return Err(JournalError::Read { partition: self.partition, reason: "the journal was closed".into() });
            }
        }
    }
}
