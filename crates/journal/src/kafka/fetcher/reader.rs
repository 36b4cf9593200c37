//! A reader takes the records of one partition from its buffer, which a fetcher fills. When it is
//! dropped, its fetcher gives up the partition.

use std::sync::Arc;

use async_trait::async_trait;
use rdkafka::consumer::Consumer;

use super::{BUFFER_BYTES_MAX, Buffer, Fetcher, Slot};
use crate::{JournalError, Offset, Partition, Reader, Record, kafka::lock};

/// A reader of one partition.
pub(in crate::kafka) struct KafkaReader {
    pub(super) partition: Partition,
    /// The offset of the next record to return.
    pub(super) next: Offset,
    pub(super) fetcher: Arc<Fetcher>,
    pub(super) buffer: Arc<Buffer>,
}

#[async_trait]
impl Reader for KafkaReader {
    async fn next(&mut self, max: usize) -> Result<Vec<Record>, JournalError> {
        loop {
            if let Some(records) = self.take(max)? {
                return Ok(records);
            }
            self.buffer.more.notified().await;
        }
    }
}

impl KafkaReader {
    /// Takes at most `max` records from the buffer. The client library never returns a record
    /// before the requested offset, unless the log ends before that offset: then it begins again
    /// with the oldest record.
    fn take(&mut self, max: usize) -> Result<Option<Vec<Record>>, JournalError> {
        let mut content = lock(&self.buffer.content);
        if let Some(reason) = content.failure.take() {
            return Err(JournalError::Read { partition: self.partition, reason });
        }
        let mut records = Vec::with_capacity(content.records.len().min(max));
        while records.len() < max {
            let Some(record) = content.records.pop_front() else { break };
            content.bytes -= record.entry.byte_len();
            if record.offset < self.next {
                let reason = format!(
                    "its record {} came after the records below {}: it lost its newest records, or the topic is another one",
                    record.offset, self.next
                );
                return Err(JournalError::NotWhole { partition: self.partition, reason: reason.into() });
            }
            self.next = record.offset + 1;
            records.push(record);
        }
        if content.is_paused && content.bytes < BUFFER_BYTES_MAX / 2 {
            content.is_paused = self.fetcher.consumer.resume(&self.fetcher.list([self.partition.index])).is_err();
        }
        Ok((!records.is_empty()).then_some(records))
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        lock(&self.fetcher.slots).by_partition.insert(self.partition.index, Slot::Abandoned);
    }
}
