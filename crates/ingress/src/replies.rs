//! The one task that reads the replies partition and hands each answer to the call that waits for it.

use std::{sync::Arc, time::Duration};

use prost::Message;
use tokio::time::{sleep, timeout};
use twqr_journal::{Entry, Journal, JournalError, Offset, Partition, Reader, Record, Topic};
use twqr_service::{CancellationToken, Clock, Part};
use twqr_wire::{RECORD_VERSION, bus};

use crate::{Error, correlation::Table, metrics::Meters, reply::Reply};

/// Records taken at once.
const BATCH_RECORDS_MAX: usize = 512;
/// How long the probe may take from the append to its return.
const PROBE_S_MAX: u64 = 10;
/// The pause between attempts to read again doubles from the first to the last, in ms.
const REOPEN_MS: (u64, u64) = (100, 5_000);

/// Reads one partition of `replies`.
pub(crate) struct Replies {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) partition: Partition,
    pub(crate) table: Arc<Table>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) part: Part,
}

/// Writes an answer to the partition, and waits until it has come back to this process.
pub(crate) async fn probe(journal: &dyn Journal, partition: Partition, table: &Arc<Table>) -> Result<(), Error> {
    let (ticket, reply) = table.await_first();
    let record = bus::ReplyRecord {
        version: RECORD_VERSION,
        correlation: ticket.correlation(),
        body: Some(bus::reply_record::Body::NotFound(bus::NotFound {})),
        ..Default::default()
    };
    let round_trip = async {
        journal.append(partition, vec![Entry::plain(record.encode_to_vec())]).await?;
        reply.await.map_err(|_| Error::Probe { partition, within_s: PROBE_S_MAX })
    };
    let late = |_| Error::Probe { partition, within_s: PROBE_S_MAX };
    timeout(Duration::from_secs(PROBE_S_MAX), round_trip).await.map_err(late)?.map(|_| ())
}

impl Replies {
    /// Reads from the partition's present end until `stop`, through all errors of the journal.
    pub(crate) async fn run(self, mut reader: Box<dyn Reader>, from: Offset, stop: CancellationToken) {
        let mut next = from;
        loop {
            let read = tokio::select! {
                () = stop.cancelled() => return,
                read = reader.next(BATCH_RECORDS_MAX) => read,
            };
            match read {
                Ok(records) => {
                    for record in records {
                        next = record.offset + 1;
                        self.take(record);
                    }
                }
                Err(error) => {
                    let Some(again) = self.reopen(next, error, &stop).await else { return };
                    reader = again;
                }
            }
        }
    }

    fn take(&self, Record { offset, entry }: Record) {
        let bytes = entry.value.unwrap_or_default();
        match Reply::decode(bytes.clone()) {
            Ok((correlation, reply)) => self.table.deliver(correlation, reply),
            Err(reason) => {
                self.meters.reply_undecodable.increment(1);
                tracing::warn!(partition = %self.partition, offset, reason, "a reply goes to the dead letters");
                let letter = bus::DeadLetter {
                    version: RECORD_VERSION,
                    topic: self.partition.topic.name().to_owned(),
                    partition: self.partition.index,
                    offset,
                    payload: bytes,
                    reason: reason.to_owned(),
                    at_ms: self.clock.now().0,
                };
                let dead = Partition { topic: Topic::DeadLetters, index: 0 };
                drop(self.journal.append(dead, vec![Entry::plain(letter.encode_to_vec())]));
            }
        }
    }

    /// A new reader, or none if it is time to stop. Meanwhile this part is not ready.
    async fn reopen(
        &self,
        next: Offset,
        mut error: JournalError,
        stop: &CancellationToken,
    ) -> Option<Box<dyn Reader>> {
        let (mut pause_ms, pause_ms_max) = REOPEN_MS;
        loop {
            tracing::warn!(partition = %self.partition, offset = next, %error, "cannot read replies, trying again");
            self.part.not_ready(format!("cannot read replies: {error}"));
            tokio::select! {
                () = stop.cancelled() => return None,
                () = sleep(Duration::from_millis(pause_ms)) => {}
            }
            match self.journal.reader(self.partition, next).await {
                Ok(reader) => {
                    self.part.ready();
                    return Some(reader);
                }
                Err(again) => error = again,
            }
            pause_ms = (pause_ms * 2).min(pause_ms_max);
        }
    }
}
