//! The layout that the topics of a deployment must have. `cluster.rs` queries the topics as they
//! are, and `plan.rs` compares and changes them.
//!
//! The numbers of partitions are fixed at creation, because with another number an order would
//! belong to another shard. They are recorded in the cluster, in a separate topic, so that a
//! service notices partitions that were added later before it writes anything.

mod cluster;
mod limits;
mod plan;

use std::sync::Arc;

use super::{
    KafkaSettings,
    client::{Client, MESSAGE_BYTES_MAX},
    rights::LAYOUT,
};
use crate::{JournalError, Partition, Topic};
use cluster::{Cluster, LayoutRecord};

#[doc(hidden)]
pub use cluster::{fuzz_layout, stored_layout};
pub use limits::min_insync_least;
pub use plan::{Deviation, Plan, apply, plan};

/// How many partitions each topic has, and how its records are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Partitions of `orders` and `order-states`: 1 to 1,024.
    pub shards: u32,
    /// Partitions of each task topic: 1 to `shards`.
    pub task_partitions: u32,
    /// Partitions of `replies`: the largest number of ingress instances.
    pub replies_partitions: u32,
    /// Copies of each partition: 1 to 9.
    pub replication: u32,
    /// How many copies must have a record before it is acknowledged: [`min_insync_least`] to
    /// `replication`.
    pub min_insync: u32,
    /// How long `orders` and the task topics keep records, in hours. Short, because these records
    /// contain card tokens; the state of an order stays in `order-states`.
    pub retention_hours: u32,
}

impl Layout {
    /// How many partitions a topic has.
    pub fn partitions(&self, topic: Topic) -> u32 {
        match topic {
            Topic::Orders | Topic::OrderStates => self.shards,
            Topic::WalletTasks | Topic::FiscTasks => self.task_partitions,
            Topic::Replies => self.replies_partitions,
            Topic::DeadLetters | Topic::Callers => 1,
        }
    }

    /// The configuration that a topic must have; `None` is the topic that records the layout.
    fn configs(&self, topic: Option<Topic>) -> Vec<(&'static str, String)> {
        let hours = |hours: u32| (u64::from(hours) * 3_600_000).to_string();
        let mut configs = vec![
            ("max.message.bytes", MESSAGE_BYTES_MAX.to_string()),
            ("min.insync.replicas", self.min_insync.to_string()),
            ("unclean.leader.election.enable", "false".to_owned()),
            // Retention and compaction go by the broker's clock, which also measures the services'.
            ("message.timestamp.type", "LogAppendTime".to_owned()),
        ];
        let kept = match topic {
            None | Some(Topic::OrderStates) => {
                configs.push(("cleanup.policy", "compact".to_owned()));
                configs.push(("min.compaction.lag.ms", hours(COMPACTION_LAG_HOURS)));
                return configs;
            }
            Some(Topic::Orders | Topic::WalletTasks | Topic::FiscTasks) => hours(self.retention_hours),
            Some(Topic::Replies) => hours(REPLIES_RETENTION_HOURS),
            Some(Topic::DeadLetters) => hours(DEAD_LETTERS_RETENTION_HOURS),
            Some(Topic::Callers) => "-1".to_owned(),
        };
        configs.push(("cleanup.policy", "delete".to_owned()));
        configs.push(("retention.ms", kept));
        configs.push(("retention.bytes", "-1".to_owned()));
        configs
    }
}

/// Longer than any restore takes: compaction must not remove the state of an order after a restore
/// has begun, because its newer state may be past the end that the restore reads to (protocol rule
/// P5).
const COMPACTION_LAG_HOURS: u32 = 1;
const REPLIES_RETENTION_HOURS: u32 = 1;
const DEAD_LETTERS_RETENTION_HOURS: u32 = 720;

/// The name of the topic that records the layout.
fn layout_topic(settings: &KafkaSettings) -> String {
    format!("{}{LAYOUT}", settings.prefix)
}

/// The names of all topics of the deployment. The last one, without a [`Topic`], records the
/// layout.
fn topics(settings: &KafkaSettings) -> Vec<(Option<Topic>, String)> {
    let of_bus = Topic::ALL.map(|topic| (Some(topic), settings.topic(topic)));
    of_bus.into_iter().chain([(None, layout_topic(settings))]).collect()
}

/// Counts the records that were ever appended to the topics of a deployment, by their end offsets.
pub async fn count_records(settings: KafkaSettings) -> Result<u64, JournalError> {
    let client = Client::new(settings, "twqr-topics")?;
    let layout = check(&client).await?;
    let mut count = 0;
    for topic in Topic::ALL {
        for index in 0..layout.partitions(topic) {
            count += client.bounds(Partition { topic, index }).await?.end;
        }
    }
    Ok(count)
}

/// The layout with which the topics of a deployment were created, with the settings that can be
/// changed later as in a new one; `None` if no layout is recorded.
pub async fn recorded(settings: KafkaSettings) -> Result<Option<Layout>, JournalError> {
    let client = Client::new(settings, "twqr-topics")?;
    let recorded = Cluster::query(&client).await?.recorded(&client).await?;
    Ok(recorded.map(Layout::from))
}

impl From<LayoutRecord> for Layout {
    fn from(recorded: LayoutRecord) -> Self {
        Self {
            shards: recorded.shards,
            task_partitions: recorded.task_partitions,
            replies_partitions: recorded.replies_partitions,
            replication: 1,
            min_insync: 1,
            retention_hours: 1,
        }
    }
}

/// Checks the topics against the recorded layout and returns it; every service does so at the
/// start.
pub(super) async fn check(client: &Arc<Client>) -> Result<Layout, JournalError> {
    let cluster = Cluster::query(client).await?;
    let missing: Vec<String> = topics(&client.settings)
        .into_iter()
        .map(|(_, name)| name)
        .filter(|name| !cluster.topics.contains_key(name))
        .collect();
    if !missing.is_empty() {
        let text = format!(
            "topics are missing on {}, or this user may not see them: {}; run `twqr topics apply`, or see `twqr topics acls`",
            client.settings.bootstrap,
            missing.join(", ")
        );
        return Err(JournalError::Unusable(text.into()));
    }
    let recorded = cluster.recorded(client).await?.ok_or_else(|| {
        JournalError::Unusable("the layout of the topics is not recorded; run `twqr topics apply`".into())
    })?;
    let mut layout = Layout::from(recorded);
    let existing = topics(&client.settings)
        .into_iter()
        .filter_map(|(topic, name)| Some((topic, cluster.topics.get(&name)?, name)));
    let mut wrong = Vec::new();
    for (topic, found, name) in existing {
        layout.replication = layout.replication.max(found.replication);
        let vital = |deviation: &Deviation| {
            matches!(
                &*deviation.what,
                "partitions" | "cleanup.policy" | "max.message.bytes" | "unclean.leader.election.enable"
            )
        };
        wrong.extend(
            plan::differences(&name, topic, found, &layout)
                .into_iter()
                .filter(vital)
                .map(|deviation| deviation.to_string()),
        );
        wrong.extend(limits::faults(&name, topic, found));
    }
    if wrong.is_empty() {
        return Ok(layout);
    }
    let how = "`twqr topics plan` shows every difference, and `twqr topics apply` changes what can be changed";
    Err(JournalError::Unusable(format!("{}; {how}", wrong.join("; ")).into()))
}
