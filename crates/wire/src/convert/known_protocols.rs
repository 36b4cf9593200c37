//! The newest protocol version that each process knows: holders state it in their signs of life, an
//! ingress in each request, and every process in records on `replies`.

use std::fmt;

use bytes::Bytes;
use prost::Message;
use twqr_order::{HoldRecord, PROTOCOL_VERSION_NEWEST};

use super::{HeldTopic, order_records::ingress_and_protocol};
use crate::{RECORD_VERSION, bus};

/// A process that has shown which protocol versions its build knows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KnownProtocol {
    /// Which process it is.
    pub process: ShownProcess,
    /// The newest protocol version that its build knows; 0 of a build that does not say.
    pub newest: u32,
}

/// A process, as far as a record names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ShownProcess {
    /// A service, by its member name.
    Member(Box<str>),
    /// An ingress, by its partition of `replies`.
    Ingress(u32),
    /// Some process of an earlier build that measures its clock, but does not say which process it
    /// is.
    Unnamed,
}

/// What a process says of itself on `replies`. Every build ignores it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// The member names of its services.
    pub members: Vec<String>,
    /// The partition of `replies` that its ingress reads.
    pub replies_partition: Option<u32>,
}

/// Writes a record of `replies` that shows this process, and what this build knows. By the
/// correlation, which must not be 0, the writer recognises the record.
pub fn encode_presence(correlation: u64, presence: &Presence) -> Bytes {
    let Presence { members, replies_partition } = presence.clone();
    let presence = bus::Presence { members, protocol_known: PROTOCOL_VERSION_NEWEST, replies_partition };
    let record = bus::ReplyRecord {
        version: RECORD_VERSION,
        correlation,
        presence: Some(presence),
        ..bus::ReplyRecord::default()
    };
    record.encode_to_vec().into()
}

impl KnownProtocol {
    /// The protocol version that this record shows, if any.
    pub fn of_record(topic: HeldTopic, record: &Bytes) -> Option<Self> {
        if let Some(hold) = topic.decode_hold(record) {
            let HoldRecord::Alive(alive) = hold else { return None };
            return Some(Self { process: ShownProcess::Member(alive.by.name), newest: alive.protocol_known });
        }
        let (partition, newest) = match topic {
            HeldTopic::Orders => ingress_and_protocol(record.clone())?,
            HeldTopic::Tasks => return None,
        };
        Some(Self { process: ShownProcess::Ingress(partition), newest })
    }

    /// What a record of `replies` shows. Replies show nothing: only routers write them, and those
    /// are known by their signs of life.
    pub fn of_reply(record: &Bytes) -> Vec<Self> {
        let Ok(record) = bus::ReplyRecord::decode(record.clone()) else { return Vec::new() };
        let is_reply = record.id.is_some() || record.body.is_some() || record.correlation == 0;
        if is_reply || record.version != RECORD_VERSION {
            return Vec::new();
        }
        let Some(presence) = record.presence else { return vec![Self { process: ShownProcess::Unnamed, newest: 0 }] };
        let members = presence.members.into_iter().map(|name| ShownProcess::Member(name.into()));
        let processes = members.chain(presence.replies_partition.map(ShownProcess::Ingress));
        processes.map(|process| Self { process, newest: presence.protocol_known }).collect()
    }
}

impl fmt::Display for ShownProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Member(name) => f.write_str(name),
            Self::Ingress(partition) => write!(f, "the ingress with partition {partition} of replies"),
            Self::Unnamed => f.write_str("a process of an earlier build, which does not say its name,"),
        }
    }
}

#[cfg(test)]
mod tests {
    use twqr_order::{Alive, Process, ReplyTo};
    use twqr_types::{MerchantId, MerchantTradeNo, OrderKey, UnixMs};

    use super::*;
    use crate::convert::{ReplyContent, ReplyRecord, decode_reply, encode_due, encode_query, encode_reply_record};

    #[test]
    fn signs_of_life_and_requests_of_callers_show_what_a_build_knows() {
        let at = UnixMs(1_790_000_000_000);
        let by = Process { name: "w-0".into(), nonce: 7 };
        let alive = Alive { claim: 0, position: 1, by, is_leaving: false, protocol_known: 5 };
        let holder = Some(KnownProtocol { process: ShownProcess::Member("w-0".into()), newest: 5 });
        for topic in [HeldTopic::Orders, HeldTopic::Tasks] {
            let sign = topic.encode_hold(at, HoldRecord::Alive(alive.clone()));
            assert_eq!(KnownProtocol::of_record(topic, &sign), holder);
            let release = topic.encode_hold(at, HoldRecord::Release { claim: 0 });
            assert_eq!(KnownProtocol::of_record(topic, &release), None);
        }
        let key = OrderKey {
            merchant_id: MerchantId::parse("M1".into()).unwrap(),
            merchant_trade_no: MerchantTradeNo::parse("T1".into()).unwrap(),
        };
        let query = encode_query(at, &key, ReplyTo { partition: 4, correlation: 1, until: at }, false);
        let ingress = KnownProtocol { process: ShownProcess::Ingress(4), newest: PROTOCOL_VERSION_NEWEST };
        assert_eq!(KnownProtocol::of_record(HeldTopic::Orders, &query), Some(ingress));
        let due = encode_due(at, &key);
        assert_eq!(KnownProtocol::of_record(HeldTopic::Orders, &due), None, "a tracker");
    }

    #[test]
    fn a_process_shows_itself_in_records_that_every_build_ignores() {
        let shown = |process| KnownProtocol { process, newest: PROTOCOL_VERSION_NEWEST };
        let presence = Presence { members: vec!["router-a".into(), "tracker-a".into()], replies_partition: Some(4) };
        let record = encode_presence(7, &presence);
        let names = ["router-a", "tracker-a"].map(|name| shown(ShownProcess::Member(name.into())));
        let [router, tracker] = names;
        assert_eq!(KnownProtocol::of_reply(&record), [router, tracker, shown(ShownProcess::Ingress(4))]);
        let read = decode_reply(record).unwrap();
        assert_eq!((read.correlation, read.content), (7, ReplyContent::Empty));
        let earlier = encode_reply_record(&ReplyRecord::probe(7));
        let unnamed = KnownProtocol { process: ShownProcess::Unnamed, newest: 0 };
        assert_eq!(KnownProtocol::of_reply(&earlier), [unnamed]);
        for reply in [
            ReplyRecord { correlation: 7, ..ReplyRecord::broadcast(ReplyContent::NotFound) },
            ReplyRecord::broadcast(ReplyContent::RulesChanged),
            ReplyRecord::broadcast(ReplyContent::Empty),
        ] {
            assert_eq!(KnownProtocol::of_reply(&encode_reply_record(&reply)), [], "{reply:?}");
        }
        assert_eq!(KnownProtocol::of_reply(&Bytes::from_static(b"\xff")), []);
    }
}
