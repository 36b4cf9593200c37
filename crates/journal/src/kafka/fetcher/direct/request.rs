//! The requests of a task, each about many partitions.

use std::{collections::BTreeMap, time::Duration};

use kafka_protocol::messages::{
    BrokerId, FetchRequest, ListOffsetsRequest, OffsetForLeaderEpochRequest, TopicName,
    fetch_request::{FetchPartition, FetchTopic},
    list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
    offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic},
};

use crate::{
    Offset, Partition, Topic,
    kafka::{
        client::MESSAGE_BYTES_MAX,
        wire::{Leader, topic_name},
    },
};

/// The size of an answer, in bytes, above which a broker adds no further partition. While one
/// arrives, the records of other partitions wait.
const ANSWER_BYTES: i32 = 2 << 20;
/// Asks for the oldest offset that is kept.
const OLDEST: i64 = -2;
/// No replica asks, but a reader.
const READER: BrokerId = BrokerId(-1);

/// What is asked for one reader.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// The reader's number.
    pub(super) number: u64,
    pub(super) partition: Partition,
    pub(super) leader: Leader,
    /// The reader's next offset.
    pub(super) next: Offset,
    /// The leader's epoch of its newest record.
    pub(super) epoch: i32,
}

/// The topics' names on the brokers.
pub(super) type Names = BTreeMap<Topic, String>;

/// Asks for records. The broker waits for so many bytes, but no longer than `wait`.
pub(super) fn fetch(asked: &[Asked], names: &Names, bytes: u32, wait: Duration) -> FetchRequest {
    let topics = by_topic(asked, names, |one| {
        FetchPartition::default()
            .with_partition(index(one))
            .with_current_leader_epoch(one.leader.epoch)
            .with_fetch_offset(one.next.cast_signed())
            .with_partition_max_bytes(i32::try_from(MESSAGE_BYTES_MAX).unwrap_or(i32::MAX))
    });
    let topic = |(name, partitions)| FetchTopic::default().with_topic(name).with_partitions(partitions);
    FetchRequest::default()
        .with_replica_id(READER)
        .with_max_wait_ms(i32::try_from(wait.as_millis()).unwrap_or(i32::MAX))
        .with_min_bytes(i32::try_from(bytes).unwrap_or(i32::MAX))
        .with_max_bytes(ANSWER_BYTES)
        .with_topics(topics.into_iter().map(topic).collect())
}

/// Asks where the logs begin.
pub(super) fn oldest(asked: &[Asked], names: &Names) -> ListOffsetsRequest {
    let topics = by_topic(asked, names, |one| {
        ListOffsetsPartition::default()
            .with_partition_index(index(one))
            .with_current_leader_epoch(one.leader.epoch)
            .with_timestamp(OLDEST)
    });
    let topic = |(name, partitions)| ListOffsetsTopic::default().with_name(name).with_partitions(partitions);
    ListOffsetsRequest::default().with_replica_id(READER).with_topics(topics.into_iter().map(topic).collect())
}

/// Asks where the epochs of the readers' newest records end.
pub(super) fn epoch_ends(asked: &[Asked], names: &Names) -> OffsetForLeaderEpochRequest {
    let topics = by_topic(asked, names, |one| {
        OffsetForLeaderPartition::default()
            .with_partition(index(one))
            .with_current_leader_epoch(one.leader.epoch)
            .with_leader_epoch(one.epoch)
    });
    let topic = |(name, partitions)| OffsetForLeaderTopic::default().with_topic(name).with_partitions(partitions);
    OffsetForLeaderEpochRequest::default().with_replica_id(READER).with_topics(topics.into_iter().map(topic).collect())
}

fn index(asked: &Asked) -> i32 {
    i32::try_from(asked.partition.index).unwrap_or(i32::MAX)
}

/// Groups by topic, in the order in which they are asked: a broker fills its answer in this order.
fn by_topic<T>(asked: &[Asked], names: &Names, part: impl Fn(&Asked) -> T) -> Vec<(TopicName, Vec<T>)> {
    let mut groups: Vec<(Topic, Vec<T>)> = Vec::new();
    for one in asked {
        let topic = one.partition.topic;
        match groups.iter_mut().find(|(known, _)| *known == topic) {
            Some((_, parts)) => parts.push(part(one)),
            None => groups.push((topic, vec![part(one)])),
        }
    }
    let name = |topic| topic_name(names.get(&topic).map_or("", String::as_str));
    groups.into_iter().map(|(topic, parts)| (name(topic), parts)).collect()
}

/// What is asked about this partition of an answer.
pub(super) fn find(asked: &[Asked], names: &Names, topic: &TopicName, index: i32) -> Option<Asked> {
    let is_it = |one: &&Asked| {
        names.get(&one.partition.topic).is_some_and(|name| name == topic.as_str())
            && u32::try_from(index).is_ok_and(|index| index == one.partition.index)
    };
    asked.iter().find(is_it).copied()
}
