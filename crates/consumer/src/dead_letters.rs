//! Writes records that a service cannot use to `dead-letters`, so that one such record does not
//! stop the records behind it and is not lost.

use std::{fmt::Display, sync::Arc};

use bytes::Bytes;
use tracing::error;
use twqr_journal::{Ack, Entry, Journal, Offset, Partition, Topic};
use twqr_service::Clock;
use twqr_wire::convert::{DeadLetter, encode_dead_letter};

/// Writes the dead letters of one service.
#[derive(Clone)]
pub struct DeadLetters {
    journal: Arc<dyn Journal>,
    clock: Arc<dyn Clock>,
    counter: &'static str,
}

impl DeadLetters {
    /// `counter` is the name of the metric that counts the letters; each service has its own.
    pub fn new(journal: Arc<dyn Journal>, clock: Arc<dyn Clock>, counter: &'static str) -> Self {
        metrics::describe_counter!(counter, "Records that could not be used and were written to dead-letters");
        Self { journal, clock, counter }
    }

    /// Writes the letter of the record at `offset` of the partition `source`, logs it and counts
    /// it. The payload may hold a card token: it is written to the letter but never logged, and
    /// `reason` must not repeat any of it.
    ///
    /// The record may be committed as read once the returned acknowledgement has arrived. A caller
    /// for whom the letter need not be durable may drop the acknowledgement.
    pub fn write(&self, source: Partition, offset: Offset, payload: &Bytes, reason: impl Display) -> Ack {
        error!(partition = %source, offset, %reason, "a record cannot be used; it is written to dead-letters");
        metrics::counter!(self.counter).increment(1);
        let letter = DeadLetter {
            topic: source.topic.name().to_owned(),
            partition: source.index,
            offset,
            payload: payload.clone(),
            reason: reason.to_string(),
            at: self.clock.now(),
        };
        let dead_letters = Partition { topic: Topic::DeadLetters, index: 0 };
        self.journal.append(dead_letters, vec![Entry::plain(encode_dead_letter(&letter))])
    }
}

#[cfg(test)]
mod tests {
    use twqr_journal_sim::{Faults, Layout, Sim};
    use twqr_types::UnixMs;
    use twqr_wire::convert::decode_dead_letter;

    use super::*;

    struct FixedClock;

    impl Clock for FixedClock {
        fn now(&self) -> UnixMs {
            UnixMs(1_790_000_000_000)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_letter_has_the_position_of_the_record_and_the_reason() {
        let sim = Sim::new(Layout { shards: 8, task_partitions: 1 }, Faults::default(), 7);
        let letters = DeadLetters::new(sim.session("router-0"), Arc::new(FixedClock), "twqr_test_dead_letters_total");
        let source = Partition { topic: Topic::Orders, index: 5 };
        letters.write(source, 42, &Bytes::from_static(b"payload"), "version 9 is unknown").await.unwrap();
        let written = sim.records(Partition { topic: Topic::DeadLetters, index: 0 });
        let letter = decode_dead_letter(written[0].entry.value.clone().unwrap()).unwrap();
        let expected = DeadLetter {
            topic: "orders".to_owned(),
            partition: 5,
            offset: 42,
            payload: Bytes::from_static(b"payload"),
            reason: "version 9 is unknown".to_owned(),
            at: UnixMs(1_790_000_000_000),
        };
        assert_eq!((letter, written.len()), (expected, 1));
    }
}
