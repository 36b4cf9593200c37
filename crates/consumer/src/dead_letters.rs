//! Writes records that a service cannot use to `dead-letters`, so that one such record does not
//! stop the records behind it and is not lost.
//!
//! No payment waits for a dead letter: one that cannot be written only makes the diagnosis harder.
//! The log output names the record's position, and the record itself stays there until the
//! retention of its topic ends.

use std::{
    fmt::Display,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tracing::error;
use twqr_journal::{Entry, Journal, JournalError, Offset, Partition, Topic};
use twqr_service::{Clock, Context, Metric, Part};
use twqr_wire::convert::{DeadLetter, encode_dead_letter};

use crate::metrics::LETTERS_LOST;

/// The pauses between the attempts to write a letter, in ms.
const RETRY_PAUSES_MS: [u64; 4] = [100, 1_000, 5_000, 25_000];

/// How much unacknowledged letters may take together, in bytes. Further letters are not written:
/// while `dead-letters` fails, they would fill the queue to the broker that payments share.
const UNACKNOWLEDGED_BYTES_MAX: usize = 4 << 20;

/// Writes the dead letters of one service.
#[derive(Clone)]
pub struct DeadLetters {
    journal: Arc<dyn Journal>,
    clock: Arc<dyn Clock>,
    counter: Metric,
    part: Part,
    /// The size of all unacknowledged letters, in bytes.
    unacknowledged: Arc<AtomicUsize>,
}

impl DeadLetters {
    /// `counter` is the metric that counts the letters; each service has its own. The
    /// part `dead-letters` of the process is degraded while letters cannot be written.
    pub fn new(journal: Arc<dyn Journal>, context: &Context, counter: Metric) -> Self {
        counter.describe();
        LETTERS_LOST.describe();
        let part = context.health.side_part(Topic::DeadLetters.name());
        Self { journal, clock: context.clock.clone(), counter, part, unacknowledged: Arc::default() }
    }

    /// Writes the letter of the record at `offset` of the partition `source`, logs it and counts
    /// it. The record counts as read at once. The payload may hold a card token: it is written to
    /// the letter but never logged, and `reason` must not repeat any of it.
    pub fn write(&self, source: Partition, offset: Offset, payload: &Bytes, reason: impl Display) {
        error!(partition = %source, offset, %reason, "a record cannot be used; it is written to dead-letters");
        self.counter.counter(&[]).increment(1);
        let letter = DeadLetter {
            topic: source.topic.name().to_owned(),
            partition: source.index,
            offset,
            payload: payload.clone(),
            reason: reason.to_string(),
            at: self.clock.now(),
        };
        let entry = Entry::plain(encode_dead_letter(&letter));
        let bytes = entry.byte_len();
        if self.unacknowledged.fetch_add(bytes, Ordering::Relaxed) > UNACKNOWLEDGED_BYTES_MAX {
            self.unacknowledged.fetch_sub(bytes, Ordering::Relaxed);
            return self.report_lost(source, offset, &"too many letters wait to be written already");
        }
        let letters = self.clone();
        tokio::spawn(async move {
            match letters.append(entry).await {
                Ok(()) => letters.part.ready(),
                Err(error) => letters.report_lost(source, offset, &error),
            }
            letters.unacknowledged.fetch_sub(bytes, Ordering::Relaxed);
        });
    }

    /// Appends a letter, again after a failure; returns the error of the last attempt.
    async fn append(&self, entry: Entry) -> Result<(), JournalError> {
        let partition = Partition { topic: Topic::DeadLetters, index: 0 };
        for pause_ms in RETRY_PAUSES_MS {
            match self.journal.append(partition, vec![entry.clone()]).await {
                Ok(()) => return Ok(()),
                Err(error) => self.degrade(&error),
            }
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        }
        self.journal.append(partition, vec![entry]).await
    }

    fn degrade(&self, why: &dyn Display) {
        self.part.degraded(format!("records that cannot be used are only logged: {why}"));
    }

    fn report_lost(&self, source: Partition, offset: Offset, why: &dyn Display) {
        error!(
            partition = %source, offset, %why,
            "a dead letter may not have been written; the record is at its position while its topic keeps it"
        );
        LETTERS_LOST.counter(&[]).increment(1);
        self.degrade(why);
    }
}

#[cfg(test)]
mod tests {
    use twqr_journal_sim::{Faults, Layout, Sim, SimSession};
    use twqr_service::{CancellationToken, Health, PartState};
    use twqr_types::UnixMs;
    use twqr_wire::convert::decode_dead_letter;

    use super::*;

    const DEAD_LETTERS: Partition = Partition { topic: Topic::DeadLetters, index: 0 };
    const SOURCE: Partition = Partition { topic: Topic::Orders, index: 5 };

    struct FixedClock;

    impl Clock for FixedClock {
        fn now(&self) -> UnixMs {
            UnixMs(1_790_000_000_000)
        }
    }

    fn letters(session: Arc<SimSession>) -> (DeadLetters, Health) {
        let (clock, health) = (Arc::new(FixedClock), Health::default());
        let context = Context { clock, shutdown: CancellationToken::new(), health: health.clone() };
        (DeadLetters::new(session, &context, LETTERS_LOST), health)
    }

    async fn write(letters: &DeadLetters, bytes: usize) {
        letters.write(SOURCE, 42, &vec![b'x'; bytes].into(), "version 9 is unknown");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_letter_has_the_position_of_the_record_and_the_reason() {
        let sim = Sim::new(Layout { shards: 8, task_partitions: 1 }, Faults::default(), 7);
        write(&letters(sim.session("router-0")).0, 3).await;
        let written = sim.records(DEAD_LETTERS);
        let letter = decode_dead_letter(written[0].entry.value.clone().unwrap()).unwrap();
        let expected = DeadLetter {
            topic: "orders".to_owned(),
            partition: 5,
            offset: 42,
            payload: Bytes::from_static(b"xxx"),
            reason: "version 9 is unknown".to_owned(),
            at: UnixMs(1_790_000_000_000),
        };
        assert_eq!((letter, written.len()), (expected, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn letters_that_cannot_be_written_degrade_the_process_until_one_is_written() {
        let sim = Sim::new(
            Layout { shards: 8, task_partitions: 1 },
            Faults { failing_topic: Some(Topic::DeadLetters), ..Faults::default() },
            7,
        );
        let (letters, health) = letters(sim.session("router-0"));
        assert!(health.is_ready());
        write(&letters, 3).await;
        let state = health.report()["dead-letters"].clone();
        assert!(matches!(&state, PartState::Degraded(why) if why.contains("dead-letters/0")), "{state:?}");
        sim.set_faults(Faults::default());
        write(&letters, 3).await;
        assert_eq!(health.report()["dead-letters"], PartState::Ready);
    }

    #[tokio::test(start_paused = true)]
    async fn unacknowledged_letters_have_a_bound() {
        let sim = Sim::new(Layout { shards: 8, task_partitions: 1 }, Faults::default(), 7);
        let session = sim.session("router-0");
        let (letters, health) = letters(session.clone());
        session.pause();
        for _ in 0..20 {
            write(&letters, 500_000).await;
        }
        assert!(!health.report()["dead-letters"].eq(&PartState::Ready), "{:?}", health.report());
        session.resume();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(sim.records(DEAD_LETTERS).len(), 9, "4 MiB and the letter that passes the bound");
    }
}
