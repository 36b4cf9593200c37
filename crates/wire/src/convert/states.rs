//! The records of `order-states`, keyed by epoch and order so that compaction never lets an owner
//! hide what a newer one wrote.

use bytes::Bytes;
use prost::Message;
use twqr_order::{Order, PolicyVersions};
use twqr_types::OrderKey;

use super::{
    fault::{RecordFault, check_version, need},
    order::{order_from, order_out},
    policy::{policy_versions_from, policy_versions_out},
};
use crate::{RECORD_VERSION, bus};

/// A record of `order-states`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatesEntry {
    /// The offset of the claim of the router that wrote it.
    pub epoch: u64,
    /// All records of the shard below this are reflected.
    pub position: u64,
    /// What it holds.
    pub body: StateBody,
}

/// What a record of `order-states` holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateBody {
    /// An order.
    Order(Box<Order>),
    /// All versions of the policy.
    Policies(PolicyVersions),
    /// Every state up to the position is written.
    Marker,
}

/// The record's key: epoch, kind, and the order's key.
fn state_key(epoch: u64, kind: StateKind, order: Option<&OrderKey>) -> Bytes {
    let mut key = Vec::with_capacity(96);
    key.extend_from_slice(&epoch.to_be_bytes());
    key.push(kind as u8);
    if let Some(order) = order {
        key.extend_from_slice(&order.to_bytes());
    }
    key.into()
}

/// The kinds of records in `order-states`, as they stand in keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StateKind {
    /// An order.
    Order = b'p' as isize,
    /// All versions of the policy.
    Policies = b'v' as isize,
    /// A marker.
    Marker = b'm' as isize,
}

/// Key and value of a record of `order-states`.
pub fn encode_state(entry: &StatesEntry) -> (Bytes, Bytes) {
    use bus::states_record::Body;
    let (kind, order, body) = match &entry.body {
        StateBody::Order(order) => (StateKind::Order, Some(order.key()), Body::Order(order_out(order))),
        StateBody::Policies(versions) => (StateKind::Policies, None, Body::Policies(policy_versions_out(versions))),
        StateBody::Marker => (StateKind::Marker, None, Body::Marker(bus::Marker {})),
    };
    let record =
        bus::StatesRecord { version: RECORD_VERSION, epoch: entry.epoch, position: entry.position, body: Some(body) };
    (state_key(entry.epoch, kind, order), record.encode_to_vec().into())
}

/// Reads a record of `order-states`.
pub fn decode_state(bytes: Bytes) -> Result<StatesEntry, RecordFault> {
    use bus::states_record::Body;
    let record = bus::StatesRecord::decode(bytes).map_err(|_| RecordFault::NotProtobuf)?;
    check_version(record.version)?;
    let body = match need(record.body, "body")? {
        Body::Order(order) => StateBody::Order(Box::new(order_from(order)?)),
        Body::Policies(policies) => StateBody::Policies(policy_versions_from(policies)?),
        Body::Marker(_) => StateBody::Marker,
    };
    Ok(StatesEntry { epoch: record.epoch, position: record.position, body })
}

/// What a record that this build cannot read is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnreadableState {
    /// An order.
    Order {
        /// Its key in bytes.
        key: Bytes,
        /// The position that it reflects; the highest there is where that cannot be read either.
        position: u64,
    },
    /// The versions of the policy.
    Policies,
    /// Neither: a marker, or something of a build that knows more.
    Other,
}

/// What a record of `order-states` that cannot be read is about, by its key.
pub fn unreadable_state(key: &Bytes, value: Bytes) -> UnreadableState {
    const KIND: usize = size_of::<u64>();
    match key.get(KIND) {
        Some(kind) if *kind == StateKind::Order as u8 => {
            let position = bus::StatesRecord::decode(value).map_or(u64::MAX, |record| record.position);
            UnreadableState::Order { key: key.slice(KIND + 1..), position }
        }
        Some(kind) if *kind == StateKind::Policies as u8 => UnreadableState::Policies,
        Some(_) | None => UnreadableState::Other,
    }
}
