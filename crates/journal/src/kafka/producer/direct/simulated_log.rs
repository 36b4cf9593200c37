//! A partition of a simulated broker, for the tests of the producer.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use kafka_protocol::records::Record;

use super::queue::Outcome;

/// What the records say.
pub(super) fn values(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8(record.value.clone().unwrap().to_vec()).unwrap()).collect()
}

/// A partition of a broker: it writes each batch once, in the order of its numbers.
#[derive(Default)]
pub(super) struct SimulatedLog {
    pub(super) values: Vec<String>,
    producer: i64,
    /// The first numbers of the batches that it has written, and how many messages they have.
    written: Vec<(i32, usize)>,
    next: i32,
}

impl SimulatedLog {
    /// Writes a batch, unless it was written before; returns what the broker says.
    pub(super) fn write(&mut self, records: &[Record]) -> Outcome<'static> {
        let (producer, first) = (records[0].producer_id, records[0].sequence);
        if producer != self.producer {
            (self.producer, self.next) = (producer, 0);
            self.written.clear();
        }
        if self.written.contains(&(first, records.len())) {
            return Outcome::Written(None);
        }
        if first != self.next {
            return Outcome::UnknownNumbers("a gap");
        }
        self.values.extend(values(records));
        self.written.push((first, records.len()));
        self.next += i32::try_from(records.len()).unwrap();
        Outcome::Written(None)
    }

    /// Forgets the numbers of its producer, as after a truncation.
    pub(super) fn forget_numbers(&mut self) {
        if self.producer != 0 {
            self.next = -1;
            self.written.clear();
        }
    }
}
