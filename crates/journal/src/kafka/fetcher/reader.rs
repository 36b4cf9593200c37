//! A reader takes the records of one partition from its buffer, which a fetcher fills. When it is
//! dropped, its fetcher gives up the partition.

use std::sync::Arc;

use async_trait::async_trait;
use tracing::info;

use super::{
    Fetchers, Pace, Source,
    buffer::{Buffer, Stop, Taken},
};
use crate::{JournalError, Offset, Partition, Reader, Record};

/// A reader of one partition.
pub(in crate::kafka) struct KafkaReader {
    pub(super) fetchers: Arc<Fetchers>,
    pub(super) partition: Partition,
    pub(super) pace: Pace,
    /// The offset of the next record to return.
    pub(super) next: Offset,
    pub(super) buffer: Arc<Buffer>,
    pub(super) source: Box<dyn Source>,
}

#[async_trait]
impl Reader for KafkaReader {
    async fn next(&mut self, max: usize) -> Result<Vec<Record>, JournalError> {
        loop {
            let (taken, is_resumed) = self.buffer.take(max, || self.source.resume());
            if is_resumed {
                self.source.resumed();
            }
            match taken {
                Taken::Records(records) => return self.check(records),
                Taken::Stop(stop) => self.stop(stop)?,
                Taken::Nothing => self.buffer.changed().await,
            }
        }
    }
}

impl KafkaReader {
    /// Fetchers never return a record before the requested offset, unless the log ends before that
    /// offset: then the client library begins again with the oldest record.
    fn check(&mut self, records: Vec<Record>) -> Result<Vec<Record>, JournalError> {
        for record in &records {
            if record.offset < self.next {
                let reason = format!(
                    "its record {} came after the records below {}: it lost its newest records, or the topic is another one",
                    record.offset, self.next
                );
                return Err(JournalError::NotWhole { partition: self.partition, reason: reason.into() });
            }
            self.next = record.offset + 1;
        }
        Ok(records)
    }

    /// Fails, or goes on with the client library.
    fn stop(&mut self, stop: Stop) -> Result<(), JournalError> {
        let partition = self.partition;
        match stop {
            Stop::Failed(reason) => Err(JournalError::Read { partition, reason }),
            Stop::NotWhole(reason) => Err(JournalError::NotWhole { partition, reason }),
            Stop::Compressed => {
                info!(%partition, "the client library reads this partition, because its records are compressed");
                (self.buffer, self.source) = self.fetchers.open_with_library(partition, self.next, self.pace)?;
                Ok(())
            }
        }
    }
}
