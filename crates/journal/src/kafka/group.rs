//! Membership of a consumer group, which only suggests which partitions to claim. The member
//! subscribes to the topic and pauses every partition that it is assigned: the fetchers read them,
//! and no record is fetched twice.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use rdkafka::{
    ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance},
    error::KafkaError,
    groups::GroupInfo,
};
use tokio::sync::watch;
use tracing::{info, warn};

use super::{
    OWNED,
    client::{Client, Listener, QUERY_MS, REPORTS_MAX, create},
    owners,
};
use crate::{Assignments, JournalError, Topic};

/// How long the thread may block before it checks whether to leave, in ms.
const POLL_MS: u64 = 50;
/// How often errors of the group are logged at most. While a broker is away there are some each
/// second, for each member.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Membership of one group; dropping it leaves the group.
pub(super) struct Membership {
    shares: watch::Receiver<Option<BTreeSet<u32>>>,
    leave: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Receives what the group assigns.
struct RebalanceListener {
    topic: &'static str,
    name: String,
    shares: watch::Sender<Option<BTreeSet<u32>>>,
    listener: Listener,
}

/// Permits one log line in each period, and counts those that it suppressed.
#[derive(Default)]
struct ErrorLog {
    last_permit: Option<Instant>,
    suppressed: u64,
}

impl ErrorLog {
    /// Returns how many errors were suppressed since the last permit, if one may be logged now.
    fn permit(&mut self, now: Instant) -> Option<u64> {
        if self.last_permit.is_some_and(|last| now.duration_since(last) < LOG_EVERY) {
            self.suppressed += 1;
            return None;
        }
        self.last_permit = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

impl ClientContext for RebalanceListener {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        self.listener.log(level, fac, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.listener.error(error, reason);
    }
}

impl ConsumerContext for RebalanceListener {
    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => {
                if let Err(error) = consumer.pause(list) {
                    warn!(topic = self.topic, %error, "the assigned partitions cannot be paused; their records are fetched twice");
                }
                let share: BTreeSet<u32> =
                    list.elements().iter().map(|element| element.partition().unsigned_abs()).collect();
                info!(topic = self.topic, member = self.name, partitions = ?share, "the group assigned partitions");
                self.shares.send_if_modified(|known| {
                    let differs = known.as_ref() != Some(&share);
                    *known = Some(share);
                    differs
                });
            }
            // A revoked partition is kept until the next assignment arrives or a newer claim is
            // read from the log: the group only gives hints.
            Rebalance::Revoke(_) => {}
            Rebalance::Error(error) => {
                warn!(topic = self.topic, %error, "the group cannot assign partitions; this member keeps its partitions");
            }
        }
    }
}

impl Membership {
    /// Joins the group of a topic's owners under the name `member`.
    pub(super) fn join(client: &Client, topic: Topic, member: &str) -> Result<Self, JournalError> {
        let session_ms = client.settings.session_timeout_ms;
        let mut config = client.config();
        config
            .set("group.id", format!("{}{}", client.settings.prefix, owners(topic)))
            .set("client.id", member)
            .set("partition.assignment.strategy", "range")
            .set("session.timeout.ms", session_ms.to_string())
            .set("heartbeat.interval.ms", (session_ms / 10).max(100).to_string())
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false");
        let (sender, shares) = watch::channel(None);
        let context = RebalanceListener {
            topic: topic.name(),
            name: member.to_owned(),
            shares: sender,
            listener: client.listener(),
        };
        let consumer: BaseConsumer<RebalanceListener> = create(&config, context)?;
        let topic_name = client.settings.topic(topic);
        consumer.subscribe(&[&topic_name]).map_err(|error| {
            JournalError::Unusable(format!("cannot join the group of {topic_name}: {error}").into())
        })?;
        let leave = Arc::new(AtomicBool::new(false));
        let left = leave.clone();
        let thread = thread::Builder::new().name("kafka-group".to_owned()).spawn(move || {
            let mut errors = ErrorLog::default();
            while !left.load(Ordering::Acquire) {
                // Paused partitions deliver no records, so a poll returns only errors.
                let Some(Err(error)) = consumer.poll(Duration::from_millis(POLL_MS)) else { continue };
                if let Some(suppressed) = errors.permit(Instant::now()) {
                    warn!(%error, suppressed, "the group reports an error; this member keeps its partitions");
                }
            }
        });
        let thread =
            thread.map_err(|error| JournalError::Unusable(format!("cannot start a thread: {error}").into()))?;
        Ok(Self { shares, leave, thread: Some(thread) })
    }
}

impl Drop for Membership {
    /// Leaves the group and waits until the consumer is closed, so that the group need not wait for
    /// the time-out before it assigns the partitions to others.
    fn drop(&mut self) {
        self.leave.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// The names of the members of every group of owners.
pub(super) async fn members(client: &Arc<Client>) -> Result<Vec<String>, JournalError> {
    let mut names = Vec::new();
    for topic in OWNED {
        let group = format!("{}{}", client.settings.prefix, owners(topic));
        let failed =
            |reason: String| JournalError::Unusable(format!("the group {group} cannot be read: {reason}").into());
        let listed = match list(client, &group).await.map_err(failed)? {
            // It has no members, or this user may not see it, or the library has lost the error of
            // its coordinator. So the coordinator is asked by itself.
            None => {
                ask_coordinator(client, topic, &group).await.map_err(failed)?;
                list(client, &group).await.map_err(failed)?
            }
            listed => listed,
        };
        names.extend(listed.into_iter().flatten());
    }
    Ok(names)
}

/// The names of the members of a group; `None` if no broker lists it.
async fn list(client: &Arc<Client>, group: &str) -> Result<Option<Vec<String>>, String> {
    let wanted = group.to_owned();
    let query = move |querier: &BaseConsumer<Listener>| {
        let listed = querier.fetch_group_list(Some(&wanted), Duration::from_millis(QUERY_MS))?;
        let found = listed.groups().iter().find(|listed| listed.name() == wanted);
        let names = |found: &GroupInfo| -> Vec<String> {
            found.members().iter().map(|member| member.client_id().to_owned()).collect()
        };
        Ok(found.map(|found| (found.state().to_owned(), names(found))))
    };
    match client.query(query).await? {
        // The library hides the reason.
        Some((state, _)) if state.is_empty() => Err("its coordinator does not describe it now".to_owned()),
        found => Ok(found.map(|(_, names)| names)),
    }
}

/// Asks the coordinator of a group for a position, which none has stored. The error says why the
/// coordinator does not answer, for example that this user lacks a right.
async fn ask_coordinator(client: &Arc<Client>, topic: Topic, group: &str) -> Result<(), String> {
    let mut config = client.config();
    config.set("group.id", group);
    let (client, topic) = (client.clone(), client.settings.topic(topic));
    let ask = move || {
        let consumer: BaseConsumer<Listener> = create(&config, client.listener()).map_err(|error| error.to_string())?;
        let mut list = TopicPartitionList::new();
        list.add_partition(&topic, 0);
        let asked = consumer.committed_offsets(list, Duration::from_millis(QUERY_MS));
        asked.map(drop).map_err(|error| {
            // A refusal is reported beside the time-out.
            let reason = (0..REPORTS_MAX).find_map(|_| consumer.poll(Duration::ZERO).and_then(Result::err));
            client.explain(&reason.unwrap_or(error))
        })
    };
    tokio::task::spawn_blocking(ask).await.unwrap_or_else(|error| Err(error.to_string()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_is_away_for_a_minute_gives_seven_lines_that_count_the_other_errors() {
        const ERRORS_A_SECOND: u32 = 14;
        let (began, mut log) = (Instant::now(), ErrorLog::default());
        let errors = (0..=60 * ERRORS_A_SECOND).map(|n| began + Duration::from_secs(1) * n / ERRORS_A_SECOND);
        let suppressed: Vec<u64> = errors.filter_map(|at| log.permit(at)).collect();
        assert_eq!(suppressed, [0, 139, 139, 139, 139, 139, 139]);
    }
}
