//! The records of `replies`. Most are a router's answer to one call that waits at an ingress; some
//! make ingresses discard cached answers to payments.

use bytes::Bytes;
use prost::Message;
use twqr_order::{EffectId, Order, Policy, Reply, ReplyBody};
use twqr_types::{OrderKey, StatusCode};

use super::{
    fault::{RecordFault, check_version},
    hop_times::HopTimes,
    ids::{effect_id_from, effect_id_out, key_from, key_out},
    order::{order_for_caller, order_from},
};
use crate::{
    RECORD_VERSION,
    bus::{self, reply_record::Body},
};

/// A record of `replies`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyRecord {
    /// The identity of the effect, if the record is one; absent otherwise.
    pub id: Option<EffectId>,
    /// The number of the pending call; 0 in a record for an ingress as a whole.
    pub correlation: u64,
    /// The content of the record.
    pub content: ReplyContent,
    /// Whether the order existed before the request that this answers.
    pub repeat: bool,
    /// The StatusCode for orders in progress, by the policy in force; absent if the writer did not
    /// name it.
    pub in_progress_code: Option<StatusCode>,
    /// The protocol version in force; 0 if the writer did not name it.
    pub protocol_version: u32,
    /// The hops so far of the call that caused the record; absent if that did not ask for them.
    pub hops: Option<HopTimes>,
}

/// The content of a record of `replies`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyContent {
    /// The order as it is now, without subscribers.
    Order(Box<Order>),
    /// There is no such order.
    NotFound,
    /// The order was created by another request, and nothing was changed. These are the POS
    /// document's names of the fields that differ; they are kept as text, since a newer router may
    /// compare more fields than this build knows.
    Conflict(Vec<String>),
    /// The order has the most watches that it may have.
    TooManyWatchers,
    /// The policy does not accept the merchant's key that signed the request; nothing was changed.
    KeyRefused,
    /// The nonce of the request's signature was used before; nothing was changed.
    Replayed,
    /// To each ingress that may remember it: the answer to this payment is no longer valid.
    Forget(OrderKey),
    /// To every ingress: the policy changed, so no remembered answer is valid any more.
    RulesChanged,
    /// Nothing that this build knows: a reader's probe of its own partition, or a newer router's
    /// content.
    Empty,
}

impl ReplyRecord {
    /// A record for an ingress as a whole.
    pub fn broadcast(content: ReplyContent) -> Self {
        Self {
            id: None,
            correlation: 0,
            content,
            repeat: false,
            in_progress_code: None,
            protocol_version: 0,
            hops: None,
        }
    }

    /// A record without content, by which a reader checks that it reads what is written.
    pub fn probe(correlation: u64) -> Self {
        Self { correlation, ..Self::broadcast(ReplyContent::Empty) }
    }
}

/// Reads a record of `replies`.
pub fn decode_reply(bytes: Bytes) -> Result<ReplyRecord, RecordFault> {
    let record = bus::ReplyRecord::decode(bytes).map_err(|_| RecordFault::NotProtobuf)?;
    check_version(record.version)?;
    let content = match record.body {
        Some(Body::Order(order)) => ReplyContent::Order(Box::new(order_from(order)?)),
        Some(Body::NotFound(_)) => ReplyContent::NotFound,
        Some(Body::Conflict(conflict)) => ReplyContent::Conflict(conflict.fields),
        Some(Body::TooManyWatchers(_)) => ReplyContent::TooManyWatchers,
        Some(Body::KeyRefused(_)) => ReplyContent::KeyRefused,
        Some(Body::Replayed(_)) => ReplyContent::Replayed,
        Some(Body::Forget(key)) => ReplyContent::Forget(key_from(Some(key))?),
        Some(Body::RulesChanged(_)) => ReplyContent::RulesChanged,
        None => ReplyContent::Empty,
    };
    Ok(ReplyRecord {
        id: record.id.map(|id| effect_id_from(Some(id))).transpose()?,
        correlation: record.correlation,
        content,
        repeat: record.repeat,
        in_progress_code: StatusCode::parse(&record.in_progress_code).ok(),
        protocol_version: record.protocol_version,
        hops: record.hops.map(HopTimes::from),
    })
}

/// Writes a record of `replies`.
pub fn encode_reply_record(record: &ReplyRecord) -> Bytes {
    let body = match &record.content {
        ReplyContent::Order(order) => Some(Body::Order(order_for_caller(order))),
        ReplyContent::NotFound => Some(Body::NotFound(bus::NotFound {})),
        ReplyContent::Conflict(fields) => Some(Body::Conflict(bus::Conflict { fields: fields.clone() })),
        ReplyContent::TooManyWatchers => Some(Body::TooManyWatchers(bus::TooManyWatchers {})),
        ReplyContent::KeyRefused => Some(Body::KeyRefused(bus::KeyRefused {})),
        ReplyContent::Replayed => Some(Body::Replayed(bus::Replayed {})),
        ReplyContent::Forget(key) => Some(Body::Forget(key_out(key))),
        ReplyContent::RulesChanged => Some(Body::RulesChanged(bus::RulesChanged {})),
        ReplyContent::Empty => None,
    };
    let record = bus::ReplyRecord {
        version: RECORD_VERSION,
        id: record.id.map(effect_id_out),
        correlation: record.correlation,
        body,
        repeat: record.repeat,
        in_progress_code: in_progress_text(record.in_progress_code),
        protocol_version: record.protocol_version,
        hops: record.hops.map(bus::HopTimes::from),
        presence: None,
    };
    record.encode_to_vec().into()
}

/// Writes the router's reply to one call, without a copy of the order. `order` is the order right
/// after the record that caused the reply; `policy` is the one in force there, absent before the
/// first.
pub fn encode_reply(reply: &Reply, order: Option<&Order>, policy: Option<&Policy>) -> Bytes {
    let body = match &reply.body {
        ReplyBody::Order => order.map(|order| Body::Order(order_for_caller(order))),
        ReplyBody::NotFound => Some(Body::NotFound(bus::NotFound {})),
        ReplyBody::Conflict(fields) => Some(Body::Conflict(bus::Conflict {
            fields: fields.iter().map(|field| field.pos_name().to_owned()).collect(),
        })),
        ReplyBody::TooManyWatchers => Some(Body::TooManyWatchers(bus::TooManyWatchers {})),
        ReplyBody::KeyRefused => Some(Body::KeyRefused(bus::KeyRefused {})),
        ReplyBody::Replayed => Some(Body::Replayed(bus::Replayed {})),
    };
    let record = bus::ReplyRecord {
        version: RECORD_VERSION,
        id: Some(effect_id_out(reply.id)),
        correlation: reply.to.correlation,
        body,
        repeat: reply.repeat,
        in_progress_code: in_progress_text(policy.map(|policy| policy.status_codes.fisc_abnormal)),
        protocol_version: policy.map_or(0, |policy| policy.protocol_version),
        hops: None,
        presence: None,
    };
    record.encode_to_vec().into()
}

/// Encodes an absent StatusCode as the empty text.
fn in_progress_text(code: Option<StatusCode>) -> String {
    code.map_or_else(String::new, String::from)
}
