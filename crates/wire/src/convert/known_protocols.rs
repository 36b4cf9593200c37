//! The newest protocol version that each writing process knows: holders state it in their signs of
//! life, an ingress in each request.

use std::fmt;

use bytes::Bytes;
use twqr_order::HoldRecord;

use super::{HeldTopic, order_records::ingress_and_protocol};

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
    /// A router or worker, by its member name.
    Holder(Box<str>),
    /// An ingress, by its partition of `replies`.
    Ingress(u32),
}

impl KnownProtocol {
    /// The protocol version that this record shows, if any.
    pub fn of_record(topic: HeldTopic, record: &Bytes) -> Option<Self> {
        if let Some(hold) = topic.decode_hold(record) {
            let HoldRecord::Alive(alive) = hold else { return None };
            return Some(Self { process: ShownProcess::Holder(alive.by.name), newest: alive.protocol_known });
        }
        let (partition, newest) = match topic {
            HeldTopic::Orders => ingress_and_protocol(record.clone())?,
            HeldTopic::Tasks => return None,
        };
        Some(Self { process: ShownProcess::Ingress(partition), newest })
    }
}

impl fmt::Display for ShownProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Holder(name) => f.write_str(name),
            Self::Ingress(partition) => write!(f, "the ingress with partition {partition} of replies"),
        }
    }
}

#[cfg(test)]
mod tests {
    use twqr_order::{Alive, PROTOCOL_VERSION_NEWEST, Process, ReplyTo};
    use twqr_types::{MerchantId, MerchantTradeNo, OrderKey, UnixMs};

    use super::*;
    use crate::convert::{encode_due, encode_query};

    #[test]
    fn signs_of_life_and_requests_of_callers_show_what_a_build_knows() {
        let at = UnixMs(1_790_000_000_000);
        let by = Process { name: "w-0".into(), nonce: 7 };
        let alive = Alive { claim: 0, position: 1, by, is_leaving: false, protocol_known: 5 };
        let holder = Some(KnownProtocol { process: ShownProcess::Holder("w-0".into()), newest: 5 });
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
}
