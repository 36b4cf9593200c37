//! Reads the answers of brokers. Before the decoding library reads an array, it reserves memory for
//! the number of elements that the array claims. So each answer is first read without keeping
//! anything: otherwise a short damaged answer could end the process.

use std::io;

use bytes::Bytes;
#[cfg(test)]
use bytes::BytesMut;
#[cfg(test)]
use kafka_protocol::{messages::RequestHeader, protocol::Encodable};
use kafka_protocol::{
    messages::{
        FetchRequest, InitProducerIdRequest, ListOffsetsRequest, MetadataRequest, OffsetForLeaderEpochRequest,
        ProduceRequest, ResponseHeader,
    },
    protocol::{Decodable, HeaderVersion, Request},
};

/// A request, with the form of its answer.
pub(in crate::kafka) trait Call: Request {
    /// The version of the protocol; brokers from 2.4 on know it.
    const VERSION: i16;
    /// The structure of an answer of this version.
    const ANSWER: &'static [Piece];
}

/// A part of an answer, in the forms of the versions before compact ones.
pub(in crate::kafka) enum Piece {
    /// So many bytes, whatever they mean.
    Fixed(usize),
    /// A length in two bytes, and so many bytes; none if the length is negative.
    Text,
    /// A number in four bytes, and so many elements; none if the number is negative.
    Array(&'static [Piece]),
    /// The same as a text, with a length in four bytes.
    Bulk,
}

use Piece::{Array, Bulk, Fixed, Text};

impl Call for MetadataRequest {
    const VERSION: i16 = 8;
    const ANSWER: &'static [Piece] = &[
        // The pause that the broker asks for; the brokers: id, host, port, rack.
        Fixed(4),
        Array(&[Fixed(4), Text, Fixed(4), Text]),
        // The cluster and its controller; the topics: error, name, whether it is internal.
        Text,
        Fixed(4),
        Array(&[
            Fixed(2),
            Text,
            Fixed(1),
            // The partitions: error, number, leader and its epoch; replicas: all, in sync, offline.
            Array(&[Fixed(14), Array(&[Fixed(4)]), Array(&[Fixed(4)]), Array(&[Fixed(4)])]),
            Fixed(4),
        ]),
        Fixed(4),
    ];
}

impl Call for ProduceRequest {
    const VERSION: i16 = 8;
    const ANSWER: &'static [Piece] = &[
        // The topics and partitions: number, error, offset, times; faults of single records.
        Array(&[Text, Array(&[Fixed(4 + 2 + 8 + 8 + 8), Array(&[Fixed(4), Text]), Text])]),
        Fixed(4),
    ];
}

impl Call for InitProducerIdRequest {
    const VERSION: i16 = 1;
    const ANSWER: &'static [Piece] = &[Fixed(4 + 2 + 8 + 2)];
}

impl Call for FetchRequest {
    // From 11 on replicas that do not lead answer as well, and may lack the newest records.
    const VERSION: i16 = 10;
    const ANSWER: &'static [Piece] = &[
        // The pause that the broker asks for, error, session.
        Fixed(4 + 2 + 4),
        // The topics and partitions: number, error, three offsets; aborted transactions; records.
        Array(&[Text, Array(&[Fixed(4 + 2 + 8 + 8 + 8), Array(&[Fixed(16)]), Bulk])]),
    ];
}

impl Call for ListOffsetsRequest {
    const VERSION: i16 = 5;
    const ANSWER: &'static [Piece] = &[
        Fixed(4),
        // The topics and partitions: number, error, time, offset, epoch.
        Array(&[Text, Array(&[Fixed(4 + 2 + 8 + 8 + 4)])]),
    ];
}

impl Call for OffsetForLeaderEpochRequest {
    const VERSION: i16 = 3;
    const ANSWER: &'static [Piece] = &[
        Fixed(4),
        // The topics and partitions: error, number, epoch, offset.
        Array(&[Text, Array(&[Fixed(2 + 4 + 4 + 8)])]),
    ];
}

/// Reads an answer without its length.
pub(in crate::kafka) fn read<C: Call>(mut frame: Bytes, correlation: i32) -> io::Result<C::Response> {
    let header = ResponseHeader::decode(&mut frame, C::Response::header_version(C::VERSION)).map_err(invalid)?;
    if header.correlation_id != correlation {
        return Err(invalid("the answer belongs to another request"));
    }
    skip(&mut &*frame, C::ANSWER).ok_or_else(|| invalid("the answer is damaged"))?;
    C::Response::decode(&mut frame, C::VERSION).map_err(invalid)
}

/// Skips these pieces; `None` if the bytes end before. Each element of an array has some bytes, so
/// the bytes bound how long this takes, whatever number of elements the array claims.
fn skip(bytes: &mut &[u8], pieces: &[Piece]) -> Option<()> {
    for piece in pieces {
        match piece {
            Fixed(length) => *bytes = bytes.get(*length..)?,
            Text => {
                let (length, rest) = bytes.split_first_chunk()?;
                *bytes = rest.get(usize::try_from(i16::from_be_bytes(*length)).unwrap_or(0)..)?;
            }
            Array(element) => {
                let (count, rest) = bytes.split_first_chunk()?;
                *bytes = rest;
                for _ in 0..i32::from_be_bytes(*count) {
                    skip(bytes, element)?;
                }
            }
            Bulk => {
                let (length, rest) = bytes.split_first_chunk()?;
                *bytes = rest.get(usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0)..)?;
            }
        }
    }
    Some(())
}

pub(in crate::kafka) fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The entry point of the fuzz target: a byte that selects the request, and an answer. Returns
/// whether the answer is read.
pub fn fuzz_answer(input: &[u8]) -> bool {
    let Some((asked, frame)) = input.split_first() else { return false };
    let Some(correlation) = frame.first_chunk().map(|bytes| i32::from_be_bytes(*bytes)) else { return false };
    let frame = Bytes::copy_from_slice(frame);
    match asked {
        0 => read::<MetadataRequest>(frame, correlation).is_ok(),
        1 => read::<ProduceRequest>(frame, correlation).is_ok(),
        2 => read::<InitProducerIdRequest>(frame, correlation).is_ok(),
        3 => read::<FetchRequest>(frame, correlation).is_ok(),
        4 => read::<ListOffsetsRequest>(frame, correlation).is_ok(),
        _ => read::<OffsetForLeaderEpochRequest>(frame, correlation).is_ok(),
    }
}

/// Writes an answer without its length, as a broker does.
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
pub(in crate::kafka) fn written<C: Call>(correlation: i32, answer: &C::Response) -> Bytes
where
    C::Response: Encodable,
{
    let mut bytes = BytesMut::new();
    let header = ResponseHeader::default().with_correlation_id(correlation);
    header.encode(&mut bytes, C::Response::header_version(C::VERSION)).unwrap();
    answer.encode(&mut bytes, C::VERSION).unwrap();
    bytes.freeze()
}

/// Reads a request without its length, as a broker does; returns its number as well.
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
pub(in crate::kafka) fn request<C: Call + Decodable>(mut frame: Bytes) -> (i32, C) {
    let header = RequestHeader::decode(&mut frame, C::header_version(C::VERSION)).unwrap();
    (header.correlation_id, C::decode(&mut frame, C::VERSION).unwrap())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use kafka_protocol::{
        messages::{
            BrokerId, FetchResponse, InitProducerIdResponse, ListOffsetsResponse, MetadataResponse,
            OffsetForLeaderEpochResponse, ProduceResponse, TopicName,
            fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData},
            list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse},
            metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic},
            offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult},
            produce_response::{BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse},
        },
        protocol::StrBytes,
    };

    use super::*;

    const CORRELATION: i32 = 7;

    fn topic_name() -> TopicName {
        TopicName(StrBytes::from_static_str("orders"))
    }

    fn metadata() -> MetadataResponse {
        let [host, rack] = ["broker", "rack"].map(StrBytes::from_static_str);
        let broker = MetadataResponseBroker::default().with_host(host).with_port(9_092);
        let ids = vec![BrokerId(1), BrokerId(2)];
        let partition = MetadataResponsePartition::default()
            .with_partition_index(3)
            .with_replica_nodes(ids.clone())
            .with_isr_nodes(ids.clone())
            .with_offline_replicas(ids);
        let topic = MetadataResponseTopic::default()
            .with_name(Some(topic_name()))
            .with_partitions(vec![partition.clone(), partition]);
        MetadataResponse::default()
            .with_brokers(vec![broker.clone().with_rack(Some(rack)), broker.with_rack(None)])
            .with_cluster_id(None)
            .with_topics(vec![topic.clone(), topic])
    }

    fn produce() -> ProduceResponse {
        let fault = BatchIndexAndErrorMessage::default().with_batch_index_error_message(None);
        let partition = PartitionProduceResponse::default()
            .with_index(3)
            .with_record_errors(vec![fault.clone(), fault])
            .with_error_message(Some(StrBytes::from_static_str("too large")));
        let topic = TopicProduceResponse::default()
            .with_name(topic_name())
            .with_partition_responses(vec![partition.clone(), partition]);
        ProduceResponse::default().with_responses(vec![topic.clone(), topic])
    }

    fn fetch() -> FetchResponse {
        let aborted = AbortedTransaction::default().with_first_offset(5);
        let partition = PartitionData::default()
            .with_partition_index(3)
            .with_aborted_transactions(Some(vec![aborted.clone(), aborted]))
            .with_records(Some(Bytes::from_static(b"records")));
        let empty = PartitionData::default().with_aborted_transactions(None).with_records(None);
        let topic = FetchableTopicResponse::default().with_topic(topic_name()).with_partitions(vec![partition, empty]);
        FetchResponse::default().with_responses(vec![topic.clone(), topic])
    }

    fn list_offsets() -> ListOffsetsResponse {
        let partition = ListOffsetsPartitionResponse::default().with_partition_index(3).with_offset(17);
        let topic = ListOffsetsTopicResponse::default()
            .with_name(topic_name())
            .with_partitions(vec![partition.clone(), partition]);
        ListOffsetsResponse::default().with_topics(vec![topic.clone(), topic])
    }

    fn epoch_ends() -> OffsetForLeaderEpochResponse {
        let partition = EpochEndOffset::default().with_partition(3).with_leader_epoch(2).with_end_offset(17);
        let topic = OffsetForLeaderTopicResult::default()
            .with_topic(topic_name())
            .with_partitions(vec![partition.clone(), partition]);
        OffsetForLeaderEpochResponse::default().with_topics(vec![topic.clone(), topic])
    }

    /// Reads the answer, all shorter ones, and those in which four bytes are a large number.
    fn check<C: Call>(answer: &C::Response)
    where
        C::Response: Encodable + PartialEq + std::fmt::Debug,
    {
        let whole = written::<C>(CORRELATION, answer);
        assert_eq!(read::<C>(whole.clone(), CORRELATION).unwrap(), *answer);
        assert!(read::<C>(whole.clone(), CORRELATION + 1).is_err());
        for at in 0..whole.len() {
            assert!(read::<C>(whole.slice(..at), CORRELATION).is_err(), "{at} of {} bytes", whole.len());
            let mut damaged = whole.to_vec();
            for (byte, large) in damaged.iter_mut().skip(at).zip([0x7f, 0xff, 0xff, 0xff]) {
                *byte = large;
            }
            drop(read::<C>(damaged.into(), CORRELATION));
        }
    }

    #[test]
    fn a_damaged_answer_is_refused_and_reserves_no_memory() {
        check::<MetadataRequest>(&metadata());
        check::<ProduceRequest>(&produce());
        check::<InitProducerIdRequest>(&InitProducerIdResponse::default().with_producer_epoch(1));
        check::<FetchRequest>(&fetch());
        check::<ListOffsetsRequest>(&list_offsets());
        check::<OffsetForLeaderEpochRequest>(&epoch_ends());
    }
}
