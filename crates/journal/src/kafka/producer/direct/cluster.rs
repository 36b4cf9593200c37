//! Knows which broker leads each partition, and starts a sender for each broker.

use std::{
    collections::BTreeMap,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use kafka_protocol::{
    error::ResponseError,
    messages::{
        MetadataRequest, MetadataResponse, metadata_request::MetadataRequestTopic,
        metadata_response::MetadataResponseBroker,
    },
};
use tokio::sync::Notify;
use tracing::debug;

use super::{
    Broker, Shared,
    connection::{Address, Connection, topic_name},
    sender,
};
use crate::{Partition, Topic, kafka::lock};

/// How often the leaders are asked for, even if nothing failed: a broker that hangs does not say
/// that it leads no more.
const EVERY: Duration = Duration::from_secs(2);
/// How long at least lies between two questions.
const APART: Duration = Duration::from_millis(50);
/// How long a broker may take to answer.
const WITHIN: Duration = Duration::from_secs(2);

/// Follows the leaders until the producer ends.
pub(super) async fn follow(shared: Arc<Shared>) {
    let mut connection = None;
    loop {
        let asked = Instant::now();
        match ask(&shared, &mut connection).await {
            Ok(answer) => take(&shared, &answer),
            Err(error) => {
                connection = None;
                debug!(%error, "the leaders of partitions are not known");
                lock(&shared.state).problem = Some(error.to_string());
            }
        }
        let next = async {
            tokio::time::sleep(APART).await;
            // Until all leaders are known, every pause is short.
            let wait = if is_complete(&shared) { EVERY } else { APART };
            let left = wait.saturating_sub(asked.elapsed());
            let _ = tokio::time::timeout(left, shared.ask_leaders.notified()).await;
        };
        if shared.ended.run_until_cancelled(next).await.is_none() {
            return;
        }
    }
}

/// Whether the leader of each partition with appends is known.
fn is_complete(shared: &Shared) -> bool {
    let state = lock(&shared.state);
    !state.brokers.is_empty() && state.queues.keys().all(|partition| state.leaders.contains_key(partition))
}

/// Asks the broker of the connection, or the first one that answers.
async fn ask(shared: &Shared, connection: &mut Option<Connection>) -> io::Result<MetadataResponse> {
    let names = shared.topics.values();
    let topics = names.map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(name)))).collect();
    let request = MetadataRequest::default().with_topics(Some(topics)).with_allow_auto_topic_creation(false);
    if let Some(open) = connection
        && let Ok(answer) = open.call(&request, WITHIN).await
    {
        return Ok(answer);
    }
    let mut failure = io::Error::other("no broker is configured");
    for address in addresses(shared) {
        let with_address =
            |error: io::Error| io::Error::new(error.kind(), format!("{}:{}: {error}", address.host, address.port));
        let asked = async {
            let mut open = Connection::open(&address, &shared.client_id).await?;
            let answer = open.call(&request, WITHIN).await?;
            Ok((open, answer))
        };
        match asked.await {
            Ok((open, answer)) => {
                *connection = Some(open);
                return Ok(answer);
            }
            Err(error) => failure = with_address(error),
        }
    }
    Err(failure)
}

/// The brokers that are known, and then those that are configured.
fn addresses(shared: &Shared) -> Vec<Address> {
    let known = lock(&shared.state).brokers.values().map(|broker| broker.address.clone()).collect::<Vec<_>>();
    let configured = shared.bootstrap.split(',').filter_map(|text| {
        let (host, port) = text.trim().rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Some(Address { host, port: port.parse().ok()? })
    });
    known.into_iter().chain(configured).collect()
}

/// Takes the leaders from an answer, and wakes the senders of those that have something to send.
fn take(shared: &Arc<Shared>, answer: &MetadataResponse) {
    let leaders = leaders(shared, answer);
    let mut state = lock(&shared.state);
    for broker in &answer.brokers {
        let Some((id, address)) = address_of(broker) else { continue };
        if let Some(known) = state.brokers.get_mut(&id) {
            known.address = address;
            continue;
        }
        let wake = Arc::new(Notify::new());
        state.brokers.insert(id, Broker { address, wake: wake.clone() });
        tokio::spawn(sender::run(shared.clone(), id, wake));
    }
    state.leaders.extend(leaders);
    for (partition, queue) in &state.queues {
        if queue.is_ready() {
            state.wake_leader(*partition);
        }
    }
}

fn leaders(shared: &Shared, answer: &MetadataResponse) -> BTreeMap<Partition, i32> {
    let topics: BTreeMap<&str, Topic> = shared.topics.iter().map(|(topic, name)| (name.as_str(), *topic)).collect();
    let mut leaders = BTreeMap::new();
    for of_topic in &answer.topics {
        let topic = of_topic.name.as_ref().and_then(|name| topics.get(name.as_str()));
        let Some(topic) = topic else { continue };
        for of_partition in &of_topic.partitions {
            let index = u32::try_from(of_partition.partition_index);
            let has_leader = ResponseError::try_from_code(of_partition.error_code)
                .is_none_or(|error| error == ResponseError::ReplicaNotAvailable);
            if let (Ok(index), true) = (index, has_leader && of_partition.leader_id.0 >= 0) {
                leaders.insert(Partition { topic: *topic, index }, of_partition.leader_id.0);
            }
        }
    }
    leaders
}

fn address_of(broker: &MetadataResponseBroker) -> Option<(i32, Address)> {
    let port = u16::try_from(broker.port).ok()?;
    Some((broker.node_id.0, Address { host: broker.host.to_string(), port }))
}
