//! The figures of the producer: its measurements of brokers, and the amounts that it has sent.

use std::{
    collections::BTreeMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use crate::{
    kafka::lock,
    metrics::{self, BrokerFigures},
};

/// How often the figures are shown.
const EVERY: Duration = Duration::from_secs(5);
/// How many answers of an interval are measured at most; later ones are left out.
const ANSWERS_MAX: usize = 65_536;
/// The share of answers that took at most the time that is shown.
const PERCENT: usize = 99;

#[derive(Default)]
pub(super) struct Figures(Mutex<Content>);

#[derive(Default)]
struct Content {
    shown: Option<Instant>,
    messages: u64,
    bytes: u64,
    brokers: BTreeMap<i32, OfBroker>,
}

#[derive(Default)]
struct OfBroker {
    is_up: bool,
    errors: u64,
    /// How long the answers of this interval took, in µs.
    answers_us: Vec<i64>,
}

impl Figures {
    /// Notes whether there is a connection to the broker.
    pub(super) fn set_up(&self, broker: i32, is_up: bool) {
        lock(&self.0).brokers.entry(broker).or_default().is_up = is_up;
    }

    /// Counts a request that failed, or of which something must be sent again.
    pub(super) fn failed(&self, broker: i32) {
        lock(&self.0).brokers.entry(broker).or_default().errors += 1;
    }

    /// Counts an answered request with so many bytes of records.
    pub(super) fn answered(&self, broker: i32, after: Duration, bytes: usize) {
        let content = &mut *lock(&self.0);
        content.bytes += u64::try_from(bytes).unwrap_or_default();
        let answers = &mut content.brokers.entry(broker).or_default().answers_us;
        if answers.len() < ANSWERS_MAX {
            answers.push(i64::try_from(after.as_micros()).unwrap_or(i64::MAX));
        }
    }

    /// Counts messages that have a result.
    pub(super) fn sent(&self, messages: usize) {
        lock(&self.0).messages += u64::try_from(messages).unwrap_or_default();
    }

    /// Shows the figures, if it is time to, with how many messages wait.
    pub(super) fn show(&self, now: Instant, waiting: usize) {
        let content = &mut *lock(&self.0);
        if content.shown.is_some_and(|shown| now < shown + EVERY) {
            return;
        }
        content.shown = Some(now);
        metrics::producer(u64::try_from(waiting).unwrap_or_default(), content.messages, content.bytes);
        for (id, of_broker) in &mut content.brokers {
            let mut answers = std::mem::take(&mut of_broker.answers_us);
            answers.sort_unstable();
            let rtt_us = answers.get(answers.len() * PERCENT / 100).copied();
            metrics::broker(&BrokerFigures { id: *id, is_up: of_broker.is_up, rtt_us, errors: of_broker.errors });
        }
    }
}
