//! The one task that reads this instance's partition of `replies`. It says ready only after a probe
//! that it wrote came back, and not ready for as long as reading fails.

use std::sync::Arc;

use prost::Message;
use rand::Rng;
use tracing::{error, warn};
use twqr_journal::{Entry, Journal, JournalError, Partition, Reader, Record, Topic};
use twqr_service::{Backoff, Clock, Part};
use twqr_wire::{
    RECORD_VERSION,
    bus::{ReplyRecord, reply_record::Body},
    convert::{DeadLetter, encode_dead_letter},
};

use crate::{desk::Desk, metrics, repeats::Repeats};

/// How many replies are taken at once.
const BATCH_RECORDS_MAX: usize = 1_024;
/// The pause before reading again after a failure, in ms; doubles up to the maximum.
const PAUSE_MS_MIN: u64 = 20;
const PAUSE_MS_MAX: u64 = 1_000;

/// Reads replies and hands them over.
pub(crate) struct Replies {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) partition: Partition,
    pub(crate) desk: Arc<Desk>,
    pub(crate) repeats: Arc<Repeats>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) part: Part,
}

impl Replies {
    /// Reads until the task is dropped. `ready` hears of the first time that a probe came back.
    pub(crate) async fn run(self, ready: tokio::sync::oneshot::Sender<()>) {
        let mut ready = Some(ready);
        let mut next = None;
        let mut backoff = Backoff::new(PAUSE_MS_MIN, PAUSE_MS_MAX);
        loop {
            let read = self.read(&mut next, &mut ready, &mut backoff).await;
            let pause = backoff.next_pause();
            if let Err(error) = read {
                self.part.not_ready(format!("replies cannot be read ({error}); trying again"));
                error!(%error, ?pause, "replies cannot be read; trying again, calls in flight end at their deadlines");
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn read(
        &self,
        next: &mut Option<u64>,
        ready: &mut Option<tokio::sync::oneshot::Sender<()>>,
        backoff: &mut Backoff,
    ) -> Result<(), JournalError> {
        let from = match *next {
            Some(next) => next,
            None => self.journal.end(self.partition).await?,
        };
        let mut reader: Box<dyn Reader> = self.journal.reader(self.partition, from).await?;
        let probe: u64 = rand::rng().random();
        let record = ReplyRecord { version: RECORD_VERSION, correlation: probe, ..ReplyRecord::default() };
        self.journal.append(self.partition, vec![Entry::plain(record.encode_to_vec())]).await?;
        loop {
            for record in reader.next(BATCH_RECORDS_MAX).await? {
                *next = Some(record.offset + 1);
                match decode(&record) {
                    Ok(reply) if reply.correlation == probe => {
                        backoff.reset();
                        // The first time, whoever waits says ready when everything else is.
                        match ready.take() {
                            Some(ready) => drop(ready.send(())),
                            None => self.part.ready(),
                        }
                    }
                    Ok(ReplyRecord { body: Some(Body::Forget(key)), .. }) => {
                        self.repeats.forget_numbers(&key.merchant_id, &key.merchant_trade_no);
                    }
                    Ok(ReplyRecord { body: Some(Body::RulesChanged(_)), .. }) => self.repeats.forget_all(),
                    Ok(reply) => self.desk.deliver(reply),
                    Err(reason) => self.bury(&record, &reason),
                }
            }
        }
    }

    /// To the dead letters; whoever waited for it is told at its deadline that the order is in
    /// progress.
    fn bury(&self, record: &Record, reason: &str) {
        warn!(partition = %self.partition, offset = record.offset, reason, "a reply cannot be used; it goes to the dead letters");
        metrics::dead_letter();
        let payload = record.entry.value.clone().unwrap_or_default();
        let letter = DeadLetter {
            topic: self.partition.topic.name().to_owned(),
            partition: self.partition.index,
            offset: record.offset,
            payload,
            reason: reason.to_owned(),
            at: self.clock.now(),
        };
        let dead_letters = Partition { topic: Topic::DeadLetters, index: 0 };
        drop(self.journal.append(dead_letters, vec![Entry::plain(encode_dead_letter(&letter))]));
    }
}

fn decode(record: &Record) -> Result<ReplyRecord, String> {
    let bytes = record.entry.value.clone().unwrap_or_default();
    match ReplyRecord::decode(bytes) {
        Ok(reply) if reply.version == RECORD_VERSION => Ok(reply),
        Ok(reply) => Err(format!("version {} is not known", reply.version)),
        Err(_) => Err("the bytes are no protobuf record".to_owned()),
    }
}
