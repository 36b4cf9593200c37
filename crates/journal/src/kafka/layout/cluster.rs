//! The topics of a deployment as they are on the brokers, and the record of its layout.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use prost::Message as _;
use rdkafka::{
    TopicPartitionList,
    admin::{AdminClient, AdminOptions, ResourceSpecifier},
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::Message as _,
    metadata::Metadata,
};

use super::{Layout, layout_topic, topics};
use crate::{
    JournalError,
    kafka::{
        client::{Client, Listener, QUERY_MS, create},
        producer,
    },
};

/// The key of the one record in the layout's topic.
const LAYOUT_KEY: &[u8] = b"layout";

/// The recorded layout, as in `proto/twqr/bus/v1/layout.proto`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct LayoutRecord {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(uint32, tag = "2")]
    pub(super) shards: u32,
    #[prost(uint32, tag = "3")]
    pub(super) task_partitions: u32,
    #[prost(uint32, tag = "4")]
    pub(super) replies_partitions: u32,
}

/// The version that this build writes and accepts.
const LAYOUT_VERSION: u32 = 1;

impl LayoutRecord {
    /// Reads the value of the record, or says why this build cannot use it.
    fn read(value: &[u8]) -> Result<Self, String> {
        match Self::decode(value) {
            Ok(record) if record.version != LAYOUT_VERSION => {
                Err(format!("its version {} is not known to this build", record.version))
            }
            Ok(record) if record.shards == 0 || record.task_partitions == 0 || record.replies_partitions == 0 => {
                Err(format!("its record has a topic without partitions: {record:?}"))
            }
            Ok(record) => Ok(record),
            Err(_) => Err("its record is not a valid protobuf message".to_owned()),
        }
    }
}

/// The value of the record of a layout. It is public for the seeds of the fuzz target.
pub fn stored_layout(layout: &Layout) -> Vec<u8> {
    let record = LayoutRecord {
        version: LAYOUT_VERSION,
        shards: layout.shards,
        task_partitions: layout.task_partitions,
        replies_partitions: layout.replies_partitions,
    };
    record.encode_to_vec()
}

/// The entry point of the fuzz target: the value of the record. Returns whether this build can use
/// it.
///
/// # Panics
///
/// If the layout is not the same when it is recorded and read again.
pub fn fuzz_layout(input: &[u8]) -> bool {
    let Ok(record) = LayoutRecord::read(input) else { return false };
    let again = LayoutRecord::read(&stored_layout(&Layout::from(record.clone())));
    assert!(again.is_ok_and(|again| again == record), "a layout is not the same when it is recorded and read again");
    true
}

/// Writes the record of the layout.
pub(super) async fn record(client: &Arc<Client>, layout: &Layout) -> Result<(), JournalError> {
    let topic = layout_topic(&client.settings);
    let written = producer::write_once(client, &topic, LAYOUT_KEY, &stored_layout(layout)).await;
    written
        .map_err(|reason| JournalError::Unusable(format!("the layout cannot be recorded in {topic}: {reason}").into()))
}

/// A topic as it is on the broker.
pub(super) struct FoundTopic {
    pub(super) partitions: u32,
    pub(super) replication: u32,
    pub(super) configs: BTreeMap<String, String>,
}

/// The topics of the deployment that exist on the broker, by name.
pub(super) struct Cluster {
    pub(super) topics: BTreeMap<String, FoundTopic>,
}

impl Cluster {
    pub(super) async fn query(client: &Arc<Client>) -> Result<Self, JournalError> {
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
    pub(super) async fn recorded(&self, client: &Arc<Client>) -> Result<Option<LayoutRecord>, JournalError> {
        let topic = layout_topic(&client.settings);
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
        LayoutRecord::read(&bytes).map(Some).map_err(failed)
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
