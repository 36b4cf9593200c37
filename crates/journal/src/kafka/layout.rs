//! Plans and applies the topics of a deployment: how they must be, how they are, and the changes
//! between the two.
//!
//! The numbers of partitions are fixed at creation, because another number would put an order on
//! another shard. They are recorded in the cluster, in a separate topic, so that a service notices
//! partitions that were added later before it writes anything.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use prost::Message as _;
use rdkafka::{
    TopicPartitionList,
    admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication},
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::Message as _,
    metadata::Metadata,
};

use super::{
    KafkaSettings,
    client::{Client, Listener, MESSAGE_BYTES_MAX, QUERY_MS, create},
    producer,
};
use crate::{JournalError, Partition, Topic};

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
    /// How many copies must have a record before it is acknowledged: 1 to `replication`.
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
            Topic::DeadLetters => 1,
        }
    }

    /// The configuration that a topic must have; without a topic, that of the layout's record.
    fn configs(&self, topic: Option<Topic>) -> Vec<(&'static str, String)> {
        let hours = |hours: u32| (u64::from(hours) * 3_600_000).to_string();
        let mut configs = vec![
            ("max.message.bytes", MESSAGE_BYTES_MAX.to_string()),
            ("min.insync.replicas", self.min_insync.to_string()),
            ("unclean.leader.election.enable", "false".to_owned()),
        ];
        let kept = match topic {
            None | Some(Topic::OrderStates) => {
                configs.push(("cleanup.policy", "compact".to_owned()));
                configs.push(("min.compaction.lag.ms", hours(COMPACTION_LAG_HOURS)));
                return configs;
            }
            Some(Topic::Orders | Topic::WalletTasks | Topic::FiscTasks) => self.retention_hours,
            Some(Topic::Replies) => REPLIES_RETENTION_HOURS,
            Some(Topic::DeadLetters) => DEAD_LETTERS_RETENTION_HOURS,
        };
        configs.push(("cleanup.policy", "delete".to_owned()));
        configs.push(("retention.ms", hours(kept)));
        configs
    }
}

/// Longer than any restore takes: compaction must not remove the state of an order after a restore
/// has begun, because its newer state may be past the end that the restore reads to (protocol rule
/// P5).
const COMPACTION_LAG_HOURS: u32 = 1;
const REPLIES_RETENTION_HOURS: u32 = 1;
const DEAD_LETTERS_RETENTION_HOURS: u32 = 720;
/// The topic that records the layout.
const LAYOUT: &str = "layout";
/// The key of its one record.
const LAYOUT_KEY: &[u8] = b"layout";

/// The recorded layout, as in `proto/twqr/bus/v1/layout.proto`.
#[derive(Clone, PartialEq, prost::Message)]
struct LayoutRecord {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(uint32, tag = "2")]
    shards: u32,
    #[prost(uint32, tag = "3")]
    task_partitions: u32,
    #[prost(uint32, tag = "4")]
    replies_partitions: u32,
}

/// The version that this build writes and accepts.
const LAYOUT_VERSION: u32 = 1;

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

/// Name of every topic of the deployment; the last one, without a [`Topic`], records the layout.
fn topics(settings: &KafkaSettings) -> Vec<(Option<Topic>, String)> {
    let of_bus = Topic::ALL.map(|topic| (Some(topic), settings.topic(topic)));
    of_bus.into_iter().chain([(None, format!("{}{LAYOUT}", settings.prefix))]).collect()
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

/// Applies a plan. Refuses one with a deviation that cannot be changed, before it changes anything.
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
            for result in changed.map_err(|error| failed(&name, client.explain(&error)))? {
                result.map_err(|(_, code)| failed(&format!("topic {name} cannot be changed"), code.to_string()))?;
            }
        }
    }
    if plan.record {
        record(&client, layout).await?;
    }
    Ok(())
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

/// Writes the record of the layout.
async fn record(client: &Arc<Client>, layout: &Layout) -> Result<(), JournalError> {
    let record = LayoutRecord {
        version: LAYOUT_VERSION,
        shards: layout.shards,
        task_partitions: layout.task_partitions,
        replies_partitions: layout.replies_partitions,
    };
    let topic = format!("{}{LAYOUT}", client.settings.prefix);
    let written = producer::write_once(client, &topic, LAYOUT_KEY, &record.encode_to_vec()).await;
    written
        .map_err(|reason| JournalError::Unusable(format!("the layout cannot be recorded in {topic}: {reason}").into()))
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
            "topics are missing on {}: {}; run `twqr topics apply`",
            client.settings.bootstrap,
            missing.join(", ")
        );
        return Err(JournalError::Unusable(text.into()));
    }
    let recorded = cluster.recorded(client).await?.ok_or_else(|| {
        JournalError::Unusable("the layout of the topics is not recorded; run `twqr topics apply`".into())
    })?;
    let mut layout = Layout {
        shards: recorded.shards,
        task_partitions: recorded.task_partitions,
        replies_partitions: recorded.replies_partitions,
        replication: 1,
        min_insync: 1,
        retention_hours: 1,
    };
    let existing = topics(&client.settings)
        .into_iter()
        .filter_map(|(topic, name)| Some((topic, cluster.topics.get(&name)?, name)));
    let mut wrong = Vec::new();
    for (topic, found, name) in existing {
        layout.replication = layout.replication.max(found.replication);
        let vital =
            |deviation: &Deviation| matches!(&*deviation.what, "partitions" | "cleanup.policy" | "max.message.bytes");
        wrong.extend(
            differences(&name, topic, found, &layout).into_iter().filter(vital).map(|deviation| deviation.to_string()),
        );
    }
    if wrong.is_empty() {
        return Ok(layout);
    }
    Err(JournalError::Unusable(format!("{}; see `twqr topics plan`", wrong.join("; ")).into()))
}

/// A topic as it is on the broker.
struct FoundTopic {
    partitions: u32,
    replication: u32,
    configs: BTreeMap<String, String>,
}

/// The topics of the deployment that exist on the broker, by name.
struct Cluster {
    topics: BTreeMap<String, FoundTopic>,
}

impl Cluster {
    async fn query(client: &Arc<Client>) -> Result<Self, JournalError> {
        let unreachable = |reason: String| {
            JournalError::Unreachable(
                format!("broker {} cannot be reached: {reason}", client.settings.bootstrap).into(),
            )
        };
        let names: Vec<String> = topics(&client.settings).into_iter().map(|(_, name)| name).collect();
        let query = move |querier: &BaseConsumer<Listener>| {
            let metadata = querier.fetch_metadata(None, Duration::from_millis(QUERY_MS))?;
            Ok(names.iter().filter_map(|name| Some((name.clone(), find_topic(&metadata, name)?))).collect())
        };
        let mut cluster = Self { topics: client.query(query).await.map_err(unreachable)? };
        let admin: AdminClient<Listener> = create(&client.config(), client.listener())?;
        let resources: Vec<ResourceSpecifier<'_>> =
            cluster.topics.keys().map(|name| ResourceSpecifier::Topic(name)).collect();
        if resources.is_empty() {
            return Ok(cluster);
        }
        let options = AdminOptions::new().request_timeout(Some(Duration::from_millis(QUERY_MS)));
        let described = admin.describe_configs(&resources, &options).await;
        let described = described.map_err(|error| unreachable(client.explain(&error)))?;
        for (resource, name) in described.into_iter().zip(cluster.topics.keys().cloned().collect::<Vec<_>>()) {
            let resource = resource.map_err(|code| unreachable(format!("{name}: {code}")))?;
            let entries = resource.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?)));
            if let Some(found) = cluster.topics.get_mut(&name) {
                found.configs = entries.collect();
            }
        }
        Ok(cluster)
    }

    /// Reads the recorded layout; `None` if none was recorded.
    async fn recorded(&self, client: &Arc<Client>) -> Result<Option<LayoutRecord>, JournalError> {
        let topic = format!("{}{LAYOUT}", client.settings.prefix);
        if !self.topics.contains_key(&topic) {
            return Ok(None);
        }
        let failed = |reason: String| JournalError::Unusable(format!("{topic} cannot be read: {reason}").into());
        let mut config = client.config();
        config.set("enable.auto.commit", "false").set("enable.partition.eof", "true").set("fetch.wait.max.ms", "10");
        let reader: BaseConsumer<Listener> = create(&config, client.listener())?;
        let name = topic.clone();
        let read = tokio::task::spawn_blocking(move || read_newest(&reader, &name));
        let bytes =
            read.await.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(client.explain(&error)))?;
        let Some(bytes) = bytes else { return Ok(None) };
        match LayoutRecord::decode(&*bytes) {
            Ok(record) if record.version == LAYOUT_VERSION => Ok(Some(record)),
            Ok(record) => Err(failed(format!("its version {} is not known to this build", record.version))),
            Err(_) => Err(failed("its record is not a valid protobuf message".to_owned())),
        }
    }
}

/// The topic of this name in the metadata, without its configuration.
fn find_topic(metadata: &Metadata, name: &str) -> Option<FoundTopic> {
    let topic = metadata.topics().iter().find(|topic| topic.name() == name && topic.error().is_none())?;
    let copies = topic.partitions().iter().map(|partition| partition.replicas().len()).min().unwrap_or_default();
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Some(FoundTopic {
        partitions: count(topic.partitions().len()),
        replication: count(copies),
        configs: BTreeMap::new(),
    })
}

/// The newest record of a topic with one partition, read from its beginning.
fn read_newest(reader: &BaseConsumer<Listener>, topic: &str) -> Result<Option<Vec<u8>>, KafkaError> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, rdkafka::Offset::Beginning)?;
    reader.assign(&list)?;
    let mut newest = None;
    loop {
        match reader.poll(Duration::from_millis(QUERY_MS)) {
            Some(Ok(message)) => newest = message.payload().map(<[u8]>::to_vec),
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(newest),
            Some(Err(error)) => return Err(error),
            None => return Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut)),
        }
    }
}

/// Compares an existing topic with the layout.
fn differences(name: &str, topic: Option<Topic>, found: &FoundTopic, layout: &Layout) -> Vec<Deviation> {
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
        topic: format!("{}{LAYOUT}", settings.prefix),
        what: what.to_owned(),
        is: is.to_string(),
        must_be: must_be.to_string(),
        can_change: false,
    };
    numbers.into_iter().filter(|(_, is, must_be)| is != must_be).map(deviation).collect()
}
