//! Sends the waiting messages of the partitions that one broker leads to that broker, one request
//! after another.

use std::{
    collections::BTreeMap,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use kafka_protocol::{
    error::ResponseError,
    messages::{
        InitProducerIdRequest, ProduceRequest, ProduceResponse, ProducerId,
        produce_request::{PartitionProduceData, TopicProduceData},
        produce_response::PartitionProduceResponse,
    },
};
use tokio::sync::Notify;
use tracing::{debug, warn};

use super::{
    Shared,
    pace::RequestPace,
    queue::{Outcome, Queue},
    round::{self, ROUND_BYTES_MAX, Round},
};
use crate::{
    Partition, Topic,
    kafka::{
        lock,
        wire::{Connection, topic_name},
    },
};

/// How long a broker may wait for its replicas, and how much longer the answer may take.
const REPLICATE: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(2);
/// How long to wait before a request that failed is repeated.
const AGAIN: Duration = Duration::from_millis(20);
const CONNECT_AGAIN: Duration = Duration::from_millis(100);
/// All in-sync replicas must have a batch before it is acknowledged.
const ACKS_ALL: i16 = -1;

/// Sends to this broker until the producer ends.
pub(super) async fn run(shared: Arc<Shared>, broker: i32, wake: Arc<Notify>) {
    let pace = RequestPace::new(Instant::now());
    let mut sender = Sender { shared: shared.clone(), broker, connection: None, pace, first: None };
    let sending = async {
        loop {
            if !sender.has_work() {
                wake.notified().await;
                continue;
            }
            tokio::time::sleep_until(sender.pace.not_before().into()).await;
            if let Err(error) = sender.send_round().await {
                debug!(broker, %error, "a request to a broker failed");
                sender.fail(&error);
                tokio::time::sleep(CONNECT_AGAIN).await;
            }
        }
    };
    let _: Option<()> = shared.ended.run_until_cancelled(sending).await;
    shared.figures.set_up(broker, false);
}

struct Sender {
    shared: Arc<Shared>,
    broker: i32,
    connection: Option<Connection>,
    pace: RequestPace,
    /// The partition with which the next request begins.
    first: Option<Partition>,
}

impl Sender {
    /// Does something with the queue of each partition that this broker leads.
    fn each_queue(&self, mut with: impl FnMut(Partition, &mut Queue)) {
        let state = &mut *lock(&self.shared.state);
        for (partition, queue) in &mut state.queues {
            if state.leaders.get(partition) == Some(&self.broker) {
                with(*partition, queue);
            }
        }
    }

    fn has_work(&self) -> bool {
        let mut has_work = false;
        self.each_queue(|_, queue| has_work |= queue.is_ready());
        has_work
    }

    fn next_round(&mut self) -> Round {
        let (broker, state) = (self.broker, &mut *lock(&self.shared.state));
        let is_led = |partition| state.leaders.get(&partition) == Some(&broker);
        round::next(&mut state.queues, is_led, &mut self.first, ROUND_BYTES_MAX)
    }

    /// Sends one request with what waits, and takes its answer.
    async fn send_round(&mut self) -> io::Result<()> {
        self.identify().await?;
        let round = self.next_round();
        if round.is_empty() {
            return Ok(());
        }
        let bytes = round.values().map(Bytes::len).sum();
        let request = self.request(&round);
        let sent = Instant::now();
        let answered = self.connection().await;
        let answered = match answered {
            Ok(connection) => connection.call(&request, REPLICATE + ANSWER).await,
            Err(error) => Err(error),
        };
        match answered {
            Ok(answer) => {
                let (now, took) = (Instant::now(), sent.elapsed());
                self.shared.figures.answered(self.broker, took, bytes);
                self.pace.answered(now, took);
                self.settle(round, &answer).await;
                Ok(())
            }
            Err(error) => {
                self.settle_all_again(round.into_keys());
                Err(error)
            }
        }
    }

    async fn connection(&mut self) -> io::Result<&mut Connection> {
        if self.connection.is_none() {
            let address = lock(&self.shared.state).brokers.get(&self.broker).map(|broker| broker.address.clone());
            let address = address.ok_or_else(|| io::Error::other("the broker is not known"))?;
            self.connection = Some(Connection::open(&address, &self.shared.client_id).await?);
            self.shared.figures.set_up(self.broker, true);
        }
        self.connection.as_mut().ok_or_else(|| io::Error::other("the connection is not open"))
    }

    /// Gets a producer's number for each partition that needs one.
    async fn identify(&mut self) -> io::Result<()> {
        let mut nameless = Vec::new();
        self.each_queue(|partition, queue| {
            if queue.needs_identity() {
                nameless.push(partition);
            }
        });
        for partition in nameless {
            let request = InitProducerIdRequest::default()
                .with_transactional_id(None)
                .with_transaction_timeout_ms(i32::MAX)
                .with_producer_id(ProducerId(-1))
                .with_producer_epoch(-1);
            let answer = self.connection().await?.call(&request, REPLICATE).await?;
            if let Some(error) = ResponseError::try_from_code(answer.error_code) {
                return Err(io::Error::other(format!("no producer's number: {error}")));
            }
            if let Some(queue) = lock(&self.shared.state).queues.get_mut(&partition) {
                queue.identify(answer.producer_id.0, answer.producer_epoch);
            }
        }
        Ok(())
    }

    fn request(&self, round: &Round) -> ProduceRequest {
        let mut topics: BTreeMap<Topic, Vec<PartitionProduceData>> = BTreeMap::new();
        for (partition, records) in round {
            let index = i32::try_from(partition.index).unwrap_or(i32::MAX);
            let data = PartitionProduceData::default().with_index(index).with_records(Some(records.clone()));
            topics.entry(partition.topic).or_default().push(data);
        }
        let data = topics.into_iter().map(|(topic, partitions)| {
            let name = self.shared.topics.get(&topic).map_or("", String::as_str);
            TopicProduceData::default().with_name(topic_name(name)).with_partition_data(partitions)
        });
        ProduceRequest::default()
            .with_transactional_id(None)
            .with_acks(ACKS_ALL)
            .with_timeout_ms(i32::try_from(REPLICATE.as_millis()).unwrap_or(i32::MAX))
            .with_topic_data(data.collect())
    }

    /// Hands the answer's results to the queues. A batch without a result is sent again.
    async fn settle(&self, round: Round, answer: &ProduceResponse) {
        let names: BTreeMap<&str, Topic> =
            self.shared.topics.iter().map(|(topic, name)| (name.as_str(), *topic)).collect();
        let mut left = round;
        let mut again = false;
        for of_topic in &answer.responses {
            let Some(topic) = names.get(of_topic.name.as_str()) else { continue };
            for result in &of_topic.partition_responses {
                let Ok(index) = u32::try_from(result.index) else { continue };
                let partition = Partition { topic: *topic, index };
                if left.remove(&partition).is_some() {
                    again |= self.settle_one(partition, result);
                }
            }
        }
        again |= !left.is_empty();
        self.settle_all_again(left.into_keys());
        if again {
            self.shared.figures.failed(self.broker);
            self.shared.ask_leaders.notify_one();
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Returns whether the batch may have to be sent again, which waits for a moment.
    fn settle_one(&self, partition: Partition, result: &PartitionProduceResponse) -> bool {
        let error = ResponseError::try_from_code(result.error_code);
        let text = error.map(|error| error.to_string()).unwrap_or_default();
        let outcome = outcome(error, result.log_append_time_ms, &text);
        if let Some(error) = error {
            match outcome {
                Outcome::Refused(_) | Outcome::UnknownNumbers(_) | Outcome::UsedNumbers(_) => {
                    warn!(%partition, %error, "a broker refused a batch");
                }
                Outcome::Again | Outcome::Written(_) => debug!(%partition, %error, "a batch is sent again"),
            }
        }
        let state = &mut *lock(&self.shared.state);
        state.problem = error.map(|error| format!("broker {}: {error}", self.broker));
        if let Some(queue) = state.queues.get_mut(&partition) {
            let (messages, bytes) = queue.settle(outcome);
            state.settled(messages, bytes);
            self.shared.figures.sent(messages);
        }
        matches!(outcome, Outcome::Again | Outcome::UnknownNumbers(_) | Outcome::UsedNumbers(_))
    }

    fn settle_all_again(&self, partitions: impl Iterator<Item = Partition>) {
        let state = &mut *lock(&self.shared.state);
        for partition in partitions {
            if let Some(queue) = state.queues.get_mut(&partition) {
                queue.settle(Outcome::Again);
            }
        }
    }

    /// Closes the connection after an error, and asks for the leaders: they may have moved.
    fn fail(&mut self, error: &io::Error) {
        self.connection = None;
        self.shared.figures.set_up(self.broker, false);
        self.shared.figures.failed(self.broker);
        lock(&self.shared.state).problem = Some(format!("broker {}: {error}", self.broker));
        self.shared.ask_leaders.notify_one();
    }
}

/// The meaning of a broker's result for a batch.
fn outcome(error: Option<ResponseError>, log_append_time_ms: i64, text: &str) -> Outcome<'_> {
    match error {
        None => Outcome::Written((log_append_time_ms >= 0).then_some(log_append_time_ms)),
        Some(ResponseError::DuplicateSequenceNumber) => Outcome::UsedNumbers(text),
        Some(
            ResponseError::OutOfOrderSequenceNumber
            | ResponseError::UnknownProducerId
            | ResponseError::InvalidProducerEpoch,
        ) => Outcome::UnknownNumbers(text),
        Some(error) if error.is_retriable() => Outcome::Again,
        Some(_) => Outcome::Refused(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_says_whether_a_batch_is_written_sent_again_or_given_up() {
        use ResponseError as Error;
        let cases = [
            (None, 7, Outcome::Written(Some(7))),
            (None, -1, Outcome::Written(None)),
            (Some(Error::DuplicateSequenceNumber), -1, Outcome::UsedNumbers("text")),
            (Some(Error::OutOfOrderSequenceNumber), -1, Outcome::UnknownNumbers("text")),
            (Some(Error::UnknownProducerId), -1, Outcome::UnknownNumbers("text")),
            (Some(Error::InvalidProducerEpoch), -1, Outcome::UnknownNumbers("text")),
            (Some(Error::NotLeaderOrFollower), -1, Outcome::Again),
            (Some(Error::RequestTimedOut), -1, Outcome::Again),
            (Some(Error::NotEnoughReplicas), -1, Outcome::Again),
            (Some(Error::NotEnoughReplicasAfterAppend), -1, Outcome::Again),
            (Some(Error::UnknownTopicOrPartition), -1, Outcome::Again),
            (Some(Error::MessageTooLarge), -1, Outcome::Refused("text")),
            (Some(Error::TopicAuthorizationFailed), -1, Outcome::Refused("text")),
            (Some(Error::InvalidRecord), -1, Outcome::Refused("text")),
        ];
        for (error, log_time, expected) in cases {
            assert_eq!(outcome(error, log_time, "text"), expected, "{error:?}, {log_time}");
        }
    }
}
