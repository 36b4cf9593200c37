//! Compares the topics of a deployment with its layout, and makes the necessary changes.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};

use super::{
    Layout,
    cluster::{Cluster, FoundTopic, LayoutRecord, record},
    layout_topic, topics,
};
use crate::{
    JournalError, Topic,
    kafka::{
        KafkaSettings,
        client::{Client, Listener, QUERY_MS, create},
    },
};

/// One property in which a topic differs from the layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deviation {
    /// The topic's name on the broker.
    pub topic: String,
    /// `partitions`, `replication`, or the name of a configuration.
    pub what: String,
    /// The value on the broker.
    pub is: String,
    /// The value that the layout requires.
    pub must_be: String,
    /// Whether applying the plan changes it.
    pub can_change: bool,
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} is {}, must be {}", self.topic, self.what, self.is, self.must_be)
    }
}

/// The changes that make the topics match a layout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Topics to create, by name.
    pub create: Vec<String>,
    /// How the existing topics differ from the layout.
    pub deviations: Vec<Deviation>,
    /// Whether the layout has yet to be recorded.
    pub record: bool,
}

impl Plan {
    /// Whether the topics match the layout already.
    pub fn is_empty(&self) -> bool {
        self.create.is_empty() && self.deviations.is_empty() && !self.record
    }
}

/// Compares the topics of a cluster with `layout`.
pub async fn plan(settings: KafkaSettings, layout: &Layout) -> Result<Plan, JournalError> {
    let client = Client::new(settings, "twqr-topics")?;
    let cluster = Cluster::query(&client).await?;
    let recorded = cluster.recorded(&client).await?;
    let mut plan = Plan { record: recorded.is_none(), ..Plan::default() };
    for (topic, name) in topics(&client.settings) {
        match cluster.topics.get(&name) {
            None => plan.create.push(name),
            Some(found) => plan.deviations.extend(differences(&name, topic, found, layout)),
        }
    }
    if let Some(recorded) = recorded {
        plan.deviations.extend(recorded_differences(&client.settings, &recorded, layout));
    }
    Ok(plan)
}

/// Applies a plan. If it has a deviation that cannot be changed, fails before changing anything.
pub async fn apply(settings: KafkaSettings, layout: &Layout, plan: &Plan) -> Result<(), JournalError> {
    if let Some(fixed) = plan.deviations.iter().find(|deviation| !deviation.can_change) {
        let how = "it is fixed at creation: configure the present value, or use another prefix";
        return Err(JournalError::Unusable(format!("{fixed}; {how}").into()));
    }
    let client = Client::new(settings, "twqr-topics")?;
    let admin: AdminClient<Listener> = create(&client.config(), client.listener())?;
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_millis(QUERY_MS * 4)));
    let failed = |what: &str, reason: String| JournalError::Unusable(format!("{what}: {reason}").into());
    for (topic, name) in topics(&client.settings) {
        let configs = layout.configs(topic);
        if plan.create.contains(&name) {
            let count = topic.map_or(1, |topic| layout.partitions(topic));
            let replication = TopicReplication::Fixed(i32::try_from(layout.replication).unwrap_or(i32::MAX));
            let new = NewTopic::new(&name, i32::try_from(count).unwrap_or(i32::MAX), replication);
            let new = configs.iter().fold(new, |new, (key, value)| new.set(key, value));
            let created = admin.create_topics([&new], &options).await;
            let created = created.map_err(|error| failed(&name, client.explain(&error)))?;
            for result in created {
                result.map_err(|(name, code)| failed(&format!("topic {name} cannot be created"), code.to_string()))?;
            }
        } else if plan.deviations.iter().any(|deviation| deviation.topic == name) {
            let change = AlterConfig::new(ResourceSpecifier::Topic(&name));
            let change = configs.iter().fold(change, |change, (key, value)| change.set(key, value));
            let changed = admin.alter_configs([&change], &options).await;
            changed.map_err(|error| failed(&name, client.explain(&error)))?;
        }
    }
    if plan.record {
        record(&client, layout).await?;
    }
    if plan.deviations.is_empty() { Ok(()) } else { confirm(&client, layout).await }
}

/// Waits until the brokers show the changed settings. The client library does not say whether they
/// took a change, and they may show it a moment later.
async fn confirm(client: &Arc<Client>, layout: &Layout) -> Result<(), JournalError> {
    let began = Instant::now();
    loop {
        let cluster = Cluster::query(client).await?;
        let found = topics(&client.settings)
            .into_iter()
            .filter_map(|(topic, name)| Some(differences(&name, topic, cluster.topics.get(&name)?, layout)));
        let Some(first) = found.flatten().next() else { return Ok(()) };
        if began.elapsed() > Duration::from_millis(QUERY_MS) {
            let text = format!("{first}, and the brokers did not take the change; see `twqr topics acls`");
            return Err(JournalError::Unusable(text.into()));
        }
        tokio::time::sleep(CONFIRM_PAUSE).await;
    }
}

/// The pause between two looks at the changed settings.
const CONFIRM_PAUSE: Duration = Duration::from_millis(50);

/// Compares an existing topic with the layout.
pub(super) fn differences(name: &str, topic: Option<Topic>, found: &FoundTopic, layout: &Layout) -> Vec<Deviation> {
    let mut differences = Vec::new();
    let mut compare = |what: &str, is: String, must_be: String, can_change: bool| {
        if is != must_be {
            differences.push(Deviation { topic: name.to_owned(), what: what.to_owned(), is, must_be, can_change });
        }
    };
    let partitions = topic.map_or(1, |topic| layout.partitions(topic));
    compare("partitions", found.partitions.to_string(), partitions.to_string(), false);
    compare("replication", found.replication.to_string(), layout.replication.to_string(), false);
    for (key, must_be) in layout.configs(topic) {
        compare(key, found.configs.get(key).cloned().unwrap_or_default(), must_be, true);
    }
    differences
}

/// Compares the recorded numbers of partitions with the layout.
fn recorded_differences(settings: &KafkaSettings, recorded: &LayoutRecord, layout: &Layout) -> Vec<Deviation> {
    let numbers = [
        ("shards", recorded.shards, layout.shards),
        ("task_partitions", recorded.task_partitions, layout.task_partitions),
        ("replies_partitions", recorded.replies_partitions, layout.replies_partitions),
    ];
    let deviation = |(what, is, must_be): (&str, u32, u32)| Deviation {
        topic: layout_topic(settings),
        what: what.to_owned(),
        is: is.to_string(),
        must_be: must_be.to_string(),
        can_change: false,
    };
    numbers.into_iter().filter(|(_, is, must_be)| is != must_be).map(deviation).collect()
}
