//! The messages of a partition are written once and in order, whatever a broker answers: single
//! cases and seeded histories.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::time::Duration;

use kafka_protocol::records::{Record, RecordBatchDecoder};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    super::simulated_log::{SimulatedLog, values},
    *,
};
use crate::{Ack, JournalError, Partition, Topic};

const PARTITION: Partition = Partition { topic: Topic::Orders, index: 1 };
const WAIT: Duration = Duration::from_secs(10);

/// A queue, and the acknowledgements of its appends.
struct Stage {
    queue: Queue,
    acks: Vec<Ack>,
    now: Instant,
    producers: i64,
}

impl Stage {
    fn new() -> Self {
        let mut stage = Self { queue: Queue::default(), acks: Vec::new(), now: Instant::now(), producers: 0 };
        stage.identify();
        stage
    }

    fn identify(&mut self) {
        self.producers += 1;
        self.queue.identify(self.producers, 0);
    }

    /// Appends these values as one append.
    fn append(&mut self, values: &[&str]) {
        let (delivery, ack) = Delivery::new(PARTITION, values.len());
        let delivery = Arc::new(delivery);
        for value in values {
            let entry = Entry::plain((*value).to_owned());
            self.queue.add(Message { entry, delivery: delivery.clone(), until: self.now + WAIT });
        }
        self.acks.push(ack);
    }

    /// Sends a batch, and returns what it holds.
    fn send(&mut self) -> Vec<Record> {
        if self.queue.needs_identity() {
            self.identify();
        }
        let mut batch = self.queue.take().unwrap();
        RecordBatchDecoder::decode(&mut batch).unwrap().records
    }

    /// The result of the oldest append that has not been looked at.
    async fn result(&mut self) -> Result<(), JournalError> {
        settled(self.acks.remove(0)).await
    }
}

/// The result of an append, which must be there.
async fn settled(ack: Ack) -> Result<(), JournalError> {
    tokio::time::timeout(Duration::from_secs(5), ack).await.expect("the append has no result")
}

#[tokio::test]
async fn a_batch_is_sent_again_unchanged_until_its_result_is_certain() {
    let mut stage = Stage::new();
    stage.append(&["a", "b"]);
    let first = stage.send();
    stage.append(&["c"]);
    assert!(!stage.queue.is_ready(), "nothing is sent while a batch is in flight");
    for _ in 0..2 {
        assert_eq!(stage.queue.settle(Outcome::Again), (0, 0));
        assert_eq!(stage.send(), first);
    }
    assert_eq!(stage.queue.settle(Outcome::Written(Some(7))), (2, 2));
    assert_eq!(stage.acks.remove(0).log_time().await.unwrap(), Some(7));
    let second = stage.send();
    assert_eq!((values(&second), second[0].sequence), (vec!["c".to_owned()], 2));
}

#[tokio::test]
async fn numbers_that_the_broker_does_not_know_are_replaced_only_if_the_batch_was_sent_once() {
    let mut stage = Stage::new();
    stage.append(&["a"]);
    stage.append(&["b"]);
    stage.send();
    stage.queue.settle(Outcome::UnknownNumbers("unknown"));
    stage.append(&["c"]);
    let again = stage.send();
    assert_eq!((values(&again).concat().as_str(), again[0].sequence, again[0].producer_id), ("abc", 0, 2));
    stage.queue.settle(Outcome::Again);
    stage.send();
    stage.queue.settle(Outcome::UnknownNumbers("unknown"));
    for _ in 0..3 {
        assert!(matches!(stage.result().await, Err(JournalError::AppendUnknown { .. })), "it may have been written");
    }
    stage.append(&["d"]);
    let next = stage.send();
    assert_eq!((values(&next).concat().as_str(), next[0].sequence, next[0].producer_id), ("d", 0, 3));
}

#[tokio::test]
async fn numbers_that_are_used_are_those_of_the_batch_only_if_it_was_sent_before() {
    let mut stage = Stage::new();
    stage.append(&["a"]);
    stage.send();
    stage.queue.settle(Outcome::UsedNumbers("used"));
    assert_eq!(stage.send()[0].producer_id, 2, "those of another batch");
    stage.queue.settle(Outcome::Again);
    stage.send();
    assert_eq!(stage.queue.settle(Outcome::UsedNumbers("used")), (1, 1));
    assert!(stage.result().await.is_ok());
}

#[tokio::test]
async fn what_waits_too_long_is_refused_if_it_was_never_sent_and_unknown_otherwise() {
    let mut stage = Stage::new();
    stage.append(&["sent"]);
    stage.send();
    stage.append(&["waits", "with it"]);
    let late = stage.now + WAIT;
    assert_eq!(stage.queue.expire(late.checked_sub(Duration::from_millis(1)).unwrap(), "late"), (0, 0));
    assert_eq!(stage.queue.expire(late, "late"), (2, 12), "what is in flight waits for its answer");
    stage.queue.settle(Outcome::Again);
    assert_eq!(stage.queue.expire(late, "late"), (1, 4));
    assert!(matches!(stage.result().await, Err(JournalError::AppendUnknown { .. })));
    assert!(matches!(stage.result().await, Err(JournalError::AppendRefused { .. })));
    assert!(stage.queue.identity.is_none(), "the numbers of the batch may be used up");
}

#[tokio::test]
async fn an_append_that_is_sent_in_part_is_unknown_when_its_rest_is_given_up() {
    let mut stage = Stage::new();
    let large = "x".repeat(MESSAGE_BYTES_MAX / 2);
    stage.append(&[&large, &large, &large]);
    assert_eq!(stage.send().len(), 1);
    stage.queue.settle(Outcome::Written(None));
    stage.queue.expire(stage.now + WAIT, "late");
    assert!(matches!(stage.result().await, Err(JournalError::AppendUnknown { .. })));
}

#[test]
fn the_largest_entry_fits_alone_into_a_batch_that_a_broker_takes() {
    let mut stage = Stage::new();
    let largest = "x".repeat(crate::ENTRY_BYTES_MAX);
    stage.append(&[&largest]);
    stage.append(&["small"]);
    let batch = stage.queue.take().unwrap();
    assert!(batch.len() > crate::ENTRY_BYTES_MAX && batch.len() <= MESSAGE_BYTES_MAX);
}

/// Random histories of appends, lost requests, lost answers, forgotten numbers and expiry: what is
/// acknowledged is in the log once and in order, and what is refused is not there.
#[tokio::test]
async fn histories_write_what_is_acknowledged_once_and_in_order() {
    for seed in 0..300 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let (mut stage, mut log, mut appended) = (Stage::new(), SimulatedLog::default(), Vec::new());
        for step in 0..200 {
            if random.random_bool(0.5) {
                let value = format!("{step}");
                stage.append(&[&value]);
                appended.push(value);
            }
            stage.now += Duration::from_millis(random.random_range(0..1_000));
            stage.queue.expire(stage.now, "late");
            if stage.queue.is_ready() {
                let records = stage.send();
                let outcome = match random.random_range(0..10) {
                    0 => Outcome::Again,
                    1 => {
                        log.write(&records);
                        Outcome::Again
                    }
                    2 => {
                        log.forget_numbers();
                        log.write(&records)
                    }
                    _ => log.write(&records),
                };
                stage.queue.settle(outcome);
            }
        }
        drop(stage.queue);
        let mut positions = Vec::new();
        for (value, ack) in appended.iter().zip(stage.acks) {
            let found: Vec<usize> = (0..log.values.len()).filter(|at| log.values[*at] == *value).collect();
            assert!(found.len() <= 1, "seed {seed}: {value} is written {found:?}");
            match settled(ack).await {
                Ok(()) => positions.push(*found.first().unwrap_or_else(|| panic!("seed {seed}: {value} is lost"))),
                Err(JournalError::AppendRefused { .. }) => {
                    assert!(found.is_empty(), "seed {seed}: {value} was refused");
                }
                Err(_) => {}
            }
        }
        assert!(positions.is_sorted(), "seed {seed}: {positions:?}");
    }
}
