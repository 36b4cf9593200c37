//! Membership of a group: a hint which partitions to claim, and nothing more. The member subscribes
//! to the topic and pauses whatever it is assigned, so that nothing is fetched here; reading is the
//! fetchers' work.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use async_trait::async_trait;
use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance},
    error::KafkaError,
};
use tokio::sync::watch;
use tracing::{info, warn};

use super::client::{Client, Listener, create};
use crate::{Assignments, JournalError, Topic};

/// How long the thread may block before it looks whether to leave, in ms.
const POLL_MS: u64 = 50;

/// A membership; dropping it leaves the group.
pub(super) struct Membership {
    shares: watch::Receiver<Option<BTreeSet<u32>>>,
    leave: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Hears what the group assigns.
struct Member {
    topic: &'static str,
    name: String,
    shares: watch::Sender<Option<BTreeSet<u32>>>,
    listener: Listener,
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        self.listener.log(level, fac, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.listener.error(error, reason);
    }
}

impl ConsumerContext for Member {
    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => {
                if let Err(error) = consumer.pause(list) {
                    warn!(topic = self.topic, %error, "the assigned partitions cannot be paused; they are fetched for nothing");
                }
                let share: BTreeSet<u32> =
                    list.elements().iter().map(|element| element.partition().unsigned_abs()).collect();
                info!(topic = self.topic, member = self.name, partitions = ?share, "assigned by the group");
                self.shares.send_if_modified(|known| {
                    let differs = known.as_ref() != Some(&share);
                    *known = Some(share);
                    differs
                });
            }
            // What is held is held until the next assignment, or until a newer claim is read.
            Rebalance::Revoke(_) => {}
            Rebalance::Error(error) => warn!(topic = self.topic, %error, "the group cannot assign; what is held stays"),
        }
    }
}

impl Membership {
    pub(super) fn join(client: &Client, topic: Topic, member: &str) -> Result<Self, JournalError> {
        let session_ms = client.settings.session_timeout_ms;
        let mut config = client.config();
        config
            .set("group.id", format!("{}owners-{}", client.settings.prefix, topic.name()))
            .set("client.id", member)
            .set("partition.assignment.strategy", "range")
            .set("session.timeout.ms", session_ms.to_string())
            .set("heartbeat.interval.ms", (session_ms / 10).max(100).to_string())
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false");
        let (sender, shares) = watch::channel(None);
        let context =
            Member { topic: topic.name(), name: member.to_owned(), shares: sender, listener: client.listener() };
        let consumer: BaseConsumer<Member> = create(&config, context)?;
        let topic_name = client.settings.topic(topic);
        consumer.subscribe(&[&topic_name]).map_err(|error| {
            JournalError::Unusable(format!("cannot join the group of {topic_name}: {error}").into())
        })?;
        let leave = Arc::new(AtomicBool::new(false));
        let left = leave.clone();
        let thread = thread::Builder::new().name("kafka-group".to_owned()).spawn(move || {
            while !left.load(Ordering::Acquire) {
                // Paused partitions bring no records, and errors of the connection heal by
                // themselves; others are worth a word.
                if let Some(Err(error)) = consumer.poll(Duration::from_millis(POLL_MS)) {
                    warn!(%error, "the group has trouble; what is held stays");
                }
            }
        });
        let thread =
            thread.map_err(|error| JournalError::Unusable(format!("cannot start a thread: {error}").into()))?;
        Ok(Self { shares, leave, thread: Some(thread) })
    }
}

impl Drop for Membership {
    /// Leaves, and waits until the group knows: whoever takes over need not wait for a time-out.
    fn drop(&mut self) {
        self.leave.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

#[async_trait]
impl Assignments for Membership {
    async fn changed(&mut self) -> Result<BTreeSet<u32>, JournalError> {
        loop {
            self.shares.changed().await.map_err(|_| JournalError::Unusable("the group's thread has ended".into()))?;
            if let Some(share) = self.shares.borrow_and_update().clone() {
                return Ok(share);
            }
        }
    }
}
