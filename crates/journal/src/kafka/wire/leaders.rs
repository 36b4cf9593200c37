//! Asks which broker leads each partition. The brokers are asked in turn, since one that is cut off
//! from the others does not know that it is behind.

use std::{
    collections::BTreeMap,
    io,
    time::{Duration, Instant},
};

use kafka_protocol::{
    error::ResponseError,
    messages::{
        MetadataRequest, MetadataResponse, metadata_request::MetadataRequestTopic,
        metadata_response::MetadataResponseBroker,
    },
};

use super::{Address, Connection, topic_name};
use crate::{Partition, Topic, kafka::KafkaSettings};

/// How long a broker may take to answer.
const WITHIN: Duration = Duration::from_secs(1);
/// For how long a broker that did not answer is asked only if no other one answers.
const SILENT: Duration = Duration::from_secs(5);

/// Whom to ask for the leaders, and for which topics.
pub(in crate::kafka) struct LeaderSearch {
    client_id: String,
    bootstrap: String,
    /// The topics' names on the brokers.
    topics: BTreeMap<Topic, String>,
    connections: BTreeMap<Address, Connection>,
    /// When brokers did not answer.
    silent_at: BTreeMap<Address, Instant>,
    /// How many questions were answered.
    turn: usize,
}

/// What a broker says about its cluster.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::kafka) struct Leaders {
    pub(in crate::kafka) brokers: BTreeMap<i32, Address>,
    /// Who leads each partition; one without a leader is absent.
    pub(in crate::kafka) by_partition: BTreeMap<Partition, Leader>,
    /// Topics that cannot be used, with the reason.
    pub(in crate::kafka) refused: BTreeMap<Topic, ResponseError>,
}

/// The broker that leads a partition, and the number of this leadership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kafka) struct Leader {
    pub(in crate::kafka) broker: i32,
    /// Rises with each change of the leader.
    pub(in crate::kafka) epoch: i32,
}

impl LeaderSearch {
    pub(in crate::kafka) fn new(settings: &KafkaSettings, client_id: &str) -> Self {
        let topics = Topic::ALL.into_iter().map(|topic| (topic, settings.topic(topic))).collect();
        Self {
            client_id: client_id.to_owned(),
            bootstrap: settings.bootstrap.clone(),
            topics,
            connections: BTreeMap::new(),
            silent_at: BTreeMap::new(),
            turn: 0,
        }
    }

    /// Asks the next broker that answers, of those that are known and then of those that are
    /// configured.
    pub(in crate::kafka) async fn ask(&mut self, known: Vec<Address>) -> io::Result<Leaders> {
        let names = self.topics.values();
        let topics = names.map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(name)))).collect();
        let request = MetadataRequest::default().with_topics(Some(topics)).with_allow_auto_topic_creation(false);
        let mut failure = io::Error::other("no broker is configured");
        for address in self.in_turn(known, Instant::now()) {
            match self.ask_one(&address, &request).await {
                Ok(answer) => {
                    self.turn = self.turn.wrapping_add(1);
                    self.silent_at.remove(&address);
                    return Ok(self.read(&answer));
                }
                Err(error) => {
                    failure = io::Error::new(error.kind(), format!("{}:{}: {error}", address.host, address.port));
                    self.silent_at.insert(address, Instant::now());
                }
            }
        }
        Err(failure)
    }

    /// The brokers to ask, one after another until one answers.
    fn in_turn(&self, mut known: Vec<Address>, now: Instant) -> Vec<Address> {
        let first = self.turn % known.len().max(1);
        known.rotate_left(first);
        let mut all: Vec<Address> = known.into_iter().chain(configured(&self.bootstrap)).collect();
        let is_silent = |address: &Address| {
            self.silent_at.get(address).is_some_and(|silent_at| now.duration_since(*silent_at) < SILENT)
        };
        all.sort_by_key(is_silent);
        all
    }

    async fn ask_one(&mut self, address: &Address, request: &MetadataRequest) -> io::Result<MetadataResponse> {
        // A connection is put back only after an answer: a later answer may still arrive on it.
        if let Some(mut open) = self.connections.remove(address) {
            match open.call(request, WITHIN).await {
                Ok(answer) => {
                    self.connections.insert(address.clone(), open);
                    return Ok(answer);
                }
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(error),
                // The broker may have closed it and serve others.
                Err(_) => {}
            }
        }
        let mut open = Connection::open(address, &self.client_id).await?;
        let answer = open.call(request, WITHIN).await?;
        self.connections.insert(address.clone(), open);
        Ok(answer)
    }

    fn read(&self, answer: &MetadataResponse) -> Leaders {
        let topics: BTreeMap<&str, Topic> = self.topics.iter().map(|(topic, name)| (name.as_str(), *topic)).collect();
        let mut found =
            Leaders { brokers: answer.brokers.iter().filter_map(address_of).collect(), ..Leaders::default() };
        for of_topic in &answer.topics {
            let topic = of_topic.name.as_ref().and_then(|name| topics.get(name.as_str()));
            let Some(topic) = topic else { continue };
            if let Some(error) = ResponseError::try_from_code(of_topic.error_code) {
                found.refused.insert(*topic, error);
            }
            for of_partition in &of_topic.partitions {
                let index = u32::try_from(of_partition.partition_index);
                let has_leader = ResponseError::try_from_code(of_partition.error_code)
                    .is_none_or(|error| error == ResponseError::ReplicaNotAvailable);
                if let (Ok(index), true) = (index, has_leader && of_partition.leader_id.0 >= 0) {
                    let leader = Leader { broker: of_partition.leader_id.0, epoch: of_partition.leader_epoch };
                    found.by_partition.insert(Partition { topic: *topic, index }, leader);
                }
            }
        }
        found
    }
}

/// The brokers of `bootstrap`: `host:port`, separated by commas.
fn configured(bootstrap: &str) -> impl Iterator<Item = Address> {
    bootstrap.split(',').filter_map(|text| {
        let (host, port) = text.trim().rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Some(Address { host, port: port.parse().ok()? })
    })
}

fn address_of(broker: &MetadataResponseBroker) -> Option<(i32, Address)> {
    let port = u16::try_from(broker.port).ok()?;
    Some((broker.node_id.0, Address { host: broker.host.to_string(), port }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_asked_in_turn_and_silent_ones_last() {
        let address = |port| Address { host: "broker".to_owned(), port };
        let settings = KafkaSettings {
            bootstrap: "broker:9".to_owned(),
            prefix: String::new(),
            properties: BTreeMap::new(),
            session_timeout_ms: 6_000,
            append_timeout_ms: 60_000,
            queue_kib_max: 8,
        };
        let now = Instant::now();
        let mut search = LeaderSearch::new(&settings, "test");
        let ports = |search: &LeaderSearch, now| {
            search.in_turn(vec![address(1), address(2), address(3)], now).iter().map(|of| of.port).collect::<Vec<_>>()
        };
        assert_eq!(ports(&search, now), [1, 2, 3, 9]);
        search.turn = 5;
        assert_eq!(ports(&search, now), [3, 1, 2, 9]);
        search.silent_at.insert(address(3), now);
        assert_eq!(ports(&search, now), [1, 2, 9, 3]);
        assert_eq!(ports(&search, now + SILENT), [3, 1, 2, 9]);
        assert_eq!(search.in_turn(Vec::new(), now), [address(9)]);
    }

    #[test]
    fn brokers_are_read_from_the_configuration() {
        let cases = [
            ("localhost:9092", vec![("localhost", 9092)]),
            ("a:1, [::1]:2,b", vec![("a", 1), ("::1", 2)]),
            ("", vec![]),
        ];
        for (text, expected) in cases {
            let expected: Vec<_> =
                expected.into_iter().map(|(host, port)| Address { host: host.to_owned(), port }).collect();
            assert_eq!(configured(text).collect::<Vec<_>>(), expected, "{text}");
        }
    }
}
