//! The records of `order-states`: the routers' checkpoints. Their keys contain the writer's epoch,
//! so compaction never lets an old owner of a shard replace what a newer owner wrote.

use bytes::Bytes;
use prost::Message;
use twqr_order::{ListingVersions, Order, PolicyVersions};

use super::{
    fault::{RecordFault, check_version, need},
    listings::{listing_versions_from, listing_versions_out},
    order::{order_from, order_out},
    policy::{policy_versions_from, policy_versions_out},
    witness::{LogWitness, witness_from, witness_out},
};
use crate::{RECORD_VERSION, bus};

/// A record of `order-states`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatesEntry {
    /// The writer's epoch: the offset of the claim of the router that wrote it.
    pub epoch: u64,
    /// The state reflects all records of the shard below this offset.
    pub position: u64,
    /// The state itself.
    pub body: StateBody,
}

/// The state in a record of `order-states`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateBody {
    /// One order as it is at the position.
    Order(Box<Order>),
    /// All versions of the policy that the shard has had.
    Policies(PolicyVersions),
    /// The versions of one entry of the directory of merchants; at least one.
    Listing(ListingVersions),
    /// Every state that changed below the position has been written.
    Marker,
}

/// The bytes of a record's key: epoch (big-endian), kind, and the bytes of an order's or a
/// listing's key.
fn key_of(epoch: u64, kind: StateKind, order: &[u8]) -> Bytes {
    let mut key = Vec::with_capacity(96);
    key.extend_from_slice(&epoch.to_be_bytes());
    key.push(kind as u8);
    key.extend_from_slice(order);
    key.into()
}

/// What a record of `order-states` is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateSubject<'a> {
    /// An order, by the bytes of its key.
    Order(&'a [u8]),
    /// The versions of the policy.
    Policies,
    /// An entry of the directory of merchants, by the bytes of its key.
    Listing(&'a [u8]),
    /// The marker of an owner.
    Marker,
}

/// The key of the record that the owner with this epoch writes about the subject.
pub fn epoch_key(epoch: u64, subject: StateSubject<'_>) -> Bytes {
    match subject {
        StateSubject::Order(order) => key_of(epoch, StateKind::Order, order),
        StateSubject::Policies => key_of(epoch, StateKind::Policies, &[]),
        StateSubject::Listing(listing) => key_of(epoch, StateKind::Listing, listing),
        StateSubject::Marker => key_of(epoch, StateKind::Marker, &[]),
    }
}

/// The first fields of a record of `order-states`: decoding them skips the body.
#[derive(Clone, PartialEq, Eq, Message)]
struct StatesRecordHead {
    #[prost(uint64, tag = "2")]
    epoch: u64,
}

/// The writer's epoch of a record, also of one whose body this build cannot read; `None` if the
/// bytes are no record.
pub fn state_epoch(record: &[u8]) -> Option<u64> {
    StatesRecordHead::decode(record).ok().map(|head| head.epoch)
}

/// The kinds of records in `order-states`; the value is the byte in the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StateKind {
    Order = b'p' as isize,
    Policies = b'v' as isize,
    Listing = b'l' as isize,
    Marker = b'm' as isize,
}

/// Writes a record of `order-states`; returns its key and its value.
pub fn encode_state(entry: &StatesEntry) -> (Bytes, Bytes) {
    use bus::states_record::Body;
    let (kind, key, body) = match &entry.body {
        StateBody::Order(order) => (StateKind::Order, order.key().to_bytes(), Body::Order(order_out(order))),
        StateBody::Policies(versions) => {
            (StateKind::Policies, Vec::new(), Body::Policies(policy_versions_out(versions)))
        }
        StateBody::Listing(versions) => {
            let key = versions.newest().map(|newest| newest.key.to_bytes()).unwrap_or_default();
            (StateKind::Listing, key, Body::Listing(listing_versions_out(versions)))
        }
        StateBody::Marker => (StateKind::Marker, Vec::new(), Body::Marker(bus::Marker::default())),
    };
    let record =
        bus::StatesRecord { version: RECORD_VERSION, epoch: entry.epoch, position: entry.position, body: Some(body) };
    (key_of(entry.epoch, kind, &key), record.encode_to_vec().into())
}

/// Writes a marker with a record of `orders` below its position; returns its key and its value.
pub fn encode_marker(epoch: u64, position: u64, witness: Option<LogWitness>) -> (Bytes, Bytes) {
    let body = bus::states_record::Body::Marker(bus::Marker { witness: witness.map(witness_out) });
    let record = bus::StatesRecord { version: RECORD_VERSION, epoch, position, body: Some(body) };
    (key_of(epoch, StateKind::Marker, &[]), record.encode_to_vec().into())
}

/// Reads the witness of a marker; `None` if the record is no marker or has none.
pub fn decode_marker_witness(bytes: Bytes) -> Option<LogWitness> {
    match bus::StatesRecord::decode(bytes).ok()?.body? {
        bus::states_record::Body::Marker(marker) => marker.witness.map(witness_from),
        bus::states_record::Body::Order(_)
        | bus::states_record::Body::Policies(_)
        | bus::states_record::Body::Listing(_) => None,
    }
}

/// Reads a record of `order-states`.
pub fn decode_state(bytes: Bytes) -> Result<StatesEntry, RecordFault> {
    use bus::states_record::Body;
    let record = bus::StatesRecord::decode(bytes).map_err(|_| RecordFault::NotProtobuf)?;
    check_version(record.version)?;
    let body = match need(record.body, "body")? {
        Body::Order(order) => StateBody::Order(Box::new(order_from(order)?)),
        Body::Policies(policies) => StateBody::Policies(policy_versions_from(policies)?),
        Body::Listing(listing) => StateBody::Listing(listing_versions_from(listing)?),
        Body::Marker(_) => StateBody::Marker,
    };
    Ok(StatesEntry { epoch: record.epoch, position: record.position, body })
}

/// The subject of a record of `order-states` that this build cannot read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnreadableState {
    /// It is the state of an order.
    Order {
        /// The bytes of the order's key.
        key: Bytes,
        /// The position that the state reflects; `u64::MAX` if that is unreadable, too, so that no
        /// readable state counts as newer.
        position: u64,
    },
    /// It holds the versions of the policy.
    Policies,
    /// It holds the versions of an entry of the directory of merchants.
    Listing,
    /// It is a marker, or of a kind that only a newer build knows.
    Other,
}

/// Finds out from its key what an unreadable record of `order-states` is about.
pub fn unreadable_state(key: &Bytes, value: Bytes) -> UnreadableState {
    const KIND: usize = size_of::<u64>();
    match key.get(KIND) {
        Some(kind) if *kind == StateKind::Order as u8 => {
            let position = bus::StatesRecord::decode(value).map_or(u64::MAX, |record| record.position);
            UnreadableState::Order { key: key.slice(KIND + 1..), position }
        }
        Some(kind) if *kind == StateKind::Policies as u8 => UnreadableState::Policies,
        Some(kind) if *kind == StateKind::Listing as u8 => UnreadableState::Listing,
        Some(_) | None => UnreadableState::Other,
    }
}
