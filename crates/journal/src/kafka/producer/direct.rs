//! Appends records without the client library. For each broker, one task sends the waiting messages
//! of all partitions that the broker leads in one request, and has at most one request in flight.
//! Appends that arrive meanwhile form the next request: an idle system sends each append at once,
//! and a busy one sends larger requests.
//!
//! Brokers recognise messages that they have already written by the producer ID and the sequence
//! number. Each partition has its own producer ID, so that a failure in one partition does not
//! affect another (`direct/queue.rs`).

mod batch;
mod cluster;
mod figures;
mod pace;
mod queue;
mod round;
mod sender;
#[cfg(test)]
mod simulated_log;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::delivery::{CLOSE, Delivery, QUEUE_FULL, QUEUED_MESSAGES_MAX};
use crate::{
    Ack, Entry, Partition, Topic,
    kafka::{
        KafkaSettings, lock,
        wire::{Address, LeaderSearch},
    },
};
use figures::Figures;
use queue::{Message, Queue};

/// How often closing looks whether appends are still in progress.
const CLOSING_STEP: Duration = Duration::from_millis(5);

/// The producer of the process. Cloning gives another handle of the same one.
#[derive(Clone)]
pub(in crate::kafka) struct DirectProducer(Arc<Handle>);

/// Ends the producer when the last handle is dropped.
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.ended.cancel();
    }
}

/// The state that the handles and the tasks of a producer share.
struct Shared {
    client_id: String,
    /// The topics' names on the brokers.
    topics: BTreeMap<Topic, String>,
    append_timeout: Duration,
    queue_bytes_max: usize,
    state: Mutex<ProducerState>,
    /// Asks for the partitions' leaders.
    ask_leaders: Notify,
    figures: Figures,
    /// Fires when the producer must do nothing more.
    ended: CancellationToken,
}

#[derive(Default)]
struct ProducerState {
    queues: BTreeMap<Partition, Queue>,
    /// The broker that leads each partition, as far as it is known.
    leaders: BTreeMap<Partition, i32>,
    brokers: BTreeMap<i32, Broker>,
    /// Messages that have no result yet, and their bytes.
    messages: usize,
    bytes: usize,
    /// Nothing more is taken.
    is_closed: bool,
    /// The reason why no request succeeds, if none does.
    problem: Option<String>,
}

struct Broker {
    address: Address,
    /// Wakes the task that sends to this broker.
    wake: Arc<Notify>,
}

impl ProducerState {
    /// Wakes the task that sends to the partition's leader; false if the leader is not known.
    fn wake_leader(&self, partition: Partition) -> bool {
        let broker = self.leaders.get(&partition).and_then(|leader| self.brokers.get(leader));
        broker.inspect(|broker| broker.wake.notify_one()).is_some()
    }

    /// Counts messages that have a result now.
    fn settled(&mut self, messages: usize, bytes: usize) {
        self.messages -= messages;
        self.bytes -= bytes;
    }
}

impl DirectProducer {
    /// Starts the producer's tasks on the present runtime.
    pub(in crate::kafka) fn start(settings: &KafkaSettings, client_id: &str) -> Self {
        let shared = Arc::new(Shared {
            client_id: client_id.to_owned(),
            topics: Topic::ALL.into_iter().map(|topic| (topic, settings.topic(topic))).collect(),
            append_timeout: Duration::from_millis(settings.append_timeout_ms.into()),
            queue_bytes_max: usize::try_from(settings.queue_kib_max).unwrap_or(usize::MAX).saturating_mul(1024),
            state: Mutex::default(),
            ask_leaders: Notify::new(),
            figures: Figures::default(),
            ended: CancellationToken::new(),
        });
        tokio::spawn(cluster::follow(shared.clone(), LeaderSearch::new(settings, client_id)));
        tokio::spawn(expire(shared.clone()));
        Self(Arc::new(Handle(shared)))
    }

    /// Appends the entries in this order.
    pub(in crate::kafka) fn append(&self, partition: Partition, entries: Vec<Entry>) -> Ack {
        if entries.is_empty() {
            return Ack::ready(partition, Ok(()));
        }
        let shared = &self.0.0;
        let (delivery, ack) = Delivery::new(partition, entries.len());
        let delivery = Arc::new(delivery);
        let (messages, bytes) = (entries.len(), entries.iter().map(Entry::byte_len).sum::<usize>());
        let until = Instant::now() + shared.append_timeout;
        let mut state = lock(&shared.state);
        let is_full = state.messages + messages > QUEUED_MESSAGES_MAX || state.bytes + bytes > shared.queue_bytes_max;
        if state.is_closed || (is_full && state.messages > 0) {
            delivery.refuse(QUEUE_FULL);
            return ack;
        }
        state.messages += messages;
        state.bytes += bytes;
        let queue = state.queues.entry(partition).or_default();
        for entry in entries {
            queue.add(Message { entry, delivery: delivery.clone(), until });
        }
        if !state.wake_leader(partition) {
            shared.ask_leaders.notify_one();
        }
        ack
    }

    /// Takes nothing more, and waits up to [`CLOSE`] for the appends in progress.
    pub(in crate::kafka) async fn close(&self) {
        let shared = &self.0.0;
        lock(&shared.state).is_closed = true;
        let give_up = Instant::now() + CLOSE;
        while lock(&shared.state).messages > 0 {
            if Instant::now() > give_up {
                warn!("the producer was closed while appends were in progress; they may still be written");
                break;
            }
            tokio::time::sleep(CLOSING_STEP).await;
        }
        shared.ended.cancel();
    }
}

/// How often it is checked whether appends have waited too long, and the figures are shown.
const EXPIRE_EVERY: Duration = Duration::from_millis(100);

/// Gives up, until the producer ends, what has waited for longer than an append may take.
async fn expire(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(EXPIRE_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while shared.ended.run_until_cancelled(ticks.tick()).await.is_some() {
        let now = Instant::now();
        let waiting = {
            let state = &mut *lock(&shared.state);
            let problem = state.problem.as_deref().unwrap_or("the broker did not acknowledge it in time");
            let reason = format!("it took longer than append_timeout_ms ({problem})");
            let given_up: Vec<_> = state.queues.values_mut().map(|queue| queue.expire(now, &reason)).collect();
            for (messages, bytes) in given_up {
                state.settled(messages, bytes);
            }
            state.messages
        };
        shared.figures.show(now, waiting);
    }
}
