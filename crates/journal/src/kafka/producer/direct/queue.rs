//! The waiting messages of one partition, in the order in which they must be written.
//!
//! A batch that was sent keeps its bytes and numbers until its result is certain, and no later
//! batch is sent before. So a broker writes each message once and in order, whichever requests are
//! repeated. If a batch is given up although it may have been written, the partition continues with
//! a new producer ID.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use bytes::Bytes;

use super::batch::{self, Identity, RECORD_OVERHEAD};
use crate::{Entry, LogTime, kafka::client::MESSAGE_BYTES_MAX, kafka::producer::delivery::Delivery};

/// An entry to append, with its append.
pub(super) struct Message {
    pub(super) entry: Entry,
    pub(super) delivery: Arc<Delivery>,
    /// When it is given up.
    pub(super) until: Instant,
}

/// The messages of a partition.
#[derive(Default)]
pub(super) struct Queue {
    waiting: VecDeque<Message>,
    /// The batch that was sent and has no result.
    sent: Option<Sent>,
    is_in_flight: bool,
    /// How the next batch is identified. Absent until the broker has given a number.
    identity: Option<Identity>,
}

struct Sent {
    records: Bytes,
    messages: Vec<Message>,
    /// How often it was sent.
    times: u32,
}

/// The result of a batch that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome<'a> {
    /// It is in the log.
    Written(Option<LogTime>),
    /// Perhaps it is not, and the same bytes must be sent again.
    Again,
    /// The broker does not know the numbers before it.
    UnknownNumbers(&'a str),
    /// An earlier batch with its numbers is in the log: this one, if it was sent before.
    UsedNumbers(&'a str),
    /// The broker will never take it.
    Refused(&'a str),
}

/// How many messages have a result now, and how many bytes they are.
pub(super) type Settled = (usize, usize);

impl Queue {
    pub(super) fn add(&mut self, message: Message) {
        self.waiting.push_back(message);
    }

    /// Whether there is something to send.
    pub(super) fn is_ready(&self) -> bool {
        !self.is_in_flight && (self.sent.is_some() || !self.waiting.is_empty())
    }

    /// Whether a producer's number is needed before something can be sent.
    pub(super) fn needs_identity(&self) -> bool {
        self.is_ready() && self.identity.is_none()
    }

    /// Sets the producer's number, unless there is one.
    pub(super) fn identify(&mut self, producer: i64, epoch: i16) {
        self.identity.get_or_insert(Identity { producer, epoch, next: 0 });
    }

    /// The batch to send now, which is in flight from now on.
    pub(super) fn take(&mut self) -> Option<Bytes> {
        if !self.is_ready() {
            return None;
        }
        if self.sent.is_none() {
            self.sent = self.next_batch();
        }
        let sent = self.sent.as_mut()?;
        sent.times += 1;
        self.is_in_flight = true;
        Some(sent.records.clone())
    }

    fn next_batch(&mut self) -> Option<Sent> {
        let identity = self.identity?;
        let count = fitting(&self.waiting);
        let messages: Vec<Message> = self.waiting.drain(..count).collect();
        let encoded = batch::encode(messages.iter().map(|message| &message.entry), identity);
        match encoded {
            Ok(records) => {
                for message in &messages {
                    message.delivery.note_sent();
                }
                self.identity = Some(identity.after(count));
                Some(Sent { records, messages, times: 0 })
            }
            // Only more than two thousand million records cannot be encoded.
            Err(reason) => {
                settle_all(&messages, |delivery| delivery.fail(&reason));
                None
            }
        }
    }

    /// Takes the result of the batch in flight.
    pub(super) fn settle(&mut self, outcome: Outcome<'_>) -> Settled {
        self.is_in_flight = false;
        let Some(sent) = self.sent.take() else { return (0, 0) };
        match outcome {
            Outcome::Written(at) => settle_all(&sent.messages, |delivery| delivery.written(at)),
            Outcome::Again => {
                self.sent = Some(sent);
                (0, 0)
            }
            // The first time it cannot be in the log, so it may be sent under other numbers.
            Outcome::UnknownNumbers(_) | Outcome::UsedNumbers(_) if sent.times == 1 => {
                self.identity = None;
                for message in sent.messages.into_iter().rev() {
                    self.waiting.push_front(message);
                }
                (0, 0)
            }
            Outcome::UsedNumbers(_) => settle_all(&sent.messages, |delivery| delivery.written(None)),
            Outcome::UnknownNumbers(reason) | Outcome::Refused(reason) => self.abandon(&sent, reason),
        }
    }

    /// Gives up what has waited until now for too long.
    pub(super) fn expire(&mut self, now: Instant, reason: &str) -> Settled {
        let is_late = |message: &Message| message.until <= now;
        let mut settled = (0, 0);
        if !self.is_in_flight
            && let Some(sent) = self.sent.take_if(|sent| sent.messages.first().is_some_and(is_late))
        {
            settled = self.abandon(&sent, reason);
        }
        // All messages wait for the same time, so the oldest are in front.
        let late = self.waiting.iter().take_while(|message| is_late(message)).count();
        let late: Vec<Message> = self.waiting.drain(..late).collect();
        let given_up = settle_all(&late, |delivery| delivery.give_up(reason));
        (settled.0 + given_up.0, settled.1 + given_up.1)
    }

    /// Fails a batch that may have been written. Its numbers are used up or not, so the next batch
    /// gets a new producer's number.
    fn abandon(&mut self, sent: &Sent, reason: &str) -> Settled {
        self.identity = None;
        settle_all(&sent.messages, |delivery| delivery.fail(reason))
    }
}

/// How many of the messages fit into one batch.
fn fitting(waiting: &VecDeque<Message>) -> usize {
    let mut bytes = RECORD_OVERHEAD;
    let fits = |message: &&Message| {
        bytes += message.entry.byte_len() + RECORD_OVERHEAD;
        bytes <= MESSAGE_BYTES_MAX
    };
    // The largest entry fits alone.
    waiting.iter().take_while(fits).count().max(1)
}

fn settle_all(messages: &[Message], result: impl Fn(&Delivery)) -> Settled {
    let bytes = messages.iter().map(|message| message.entry.byte_len()).sum();
    for message in messages {
        result(&message.delivery);
    }
    (messages.len(), bytes)
}

#[cfg(test)]
mod tests;
