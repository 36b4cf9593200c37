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
    /// The owner of this epoch begins to write.
    Beginning {
        /// A number that another topic does not have at this offset.
        number: u64,
        /// The epoch of the newest beginning that the owner had read before.
        newest: Option<u64>,
    },
}

/// The offset of the kind in a record's key, after the epoch.
const KIND_AT: usize = size_of::<u64>();

/// The bytes of a record's key: epoch (big-endian), kind, and the bytes of an order's or a
/// listing's key.
fn key_of(epoch: u64, kind: StateKind, order: &[u8]) -> Bytes {
    let mut key = Vec::with_capacity(96);
    key.extend_from_slice(&epoch.to_be_bytes());
    key.push(kind as u8);
    key.extend_from_slice(order);
    key.into()
}

/// The subject of a record of `order-states`.
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
    Beginning = b'b' as isize,
}

/// The beginnings in `order-states` that a marker or a beginning names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BeginningsRead {
    /// The writer's epoch.
    pub epoch: u64,
    /// The number of this beginning; `None` for a marker.
    pub number: Option<u64>,
    /// The epoch of the newest beginning that the writer had read.
    pub newest: Option<u64>,
}

/// The version of the format in a record of the policy's versions, once the protocol version has
/// been raised.
const RAISED_POLICIES_VERSION: u32 = 2;

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
        StateBody::Beginning { number, newest } => {
            let marker = bus::Marker { witness: None, newest_beginning: *newest, beginning: Some(*number) };
            (StateKind::Beginning, Vec::new(), Body::Marker(marker))
        }
    };
    let version = version_of(&entry.body);
    let record = bus::StatesRecord { version, epoch: entry.epoch, position: entry.position, body: Some(body) };
    (key_of(entry.epoch, kind, &key), record.encode_to_vec().into())
}

/// Like [`encode_state`] for the state of an order, without a copy of the order.
pub fn encode_order_state(epoch: u64, position: u64, order: &Order) -> (Bytes, Bytes) {
    let body = Some(bus::states_record::Body::Order(order_out(order)));
    let record = bus::StatesRecord { version: RECORD_VERSION, epoch, position, body };
    (key_of(epoch, StateKind::Order, &order.key().to_bytes()), record.encode_to_vec().into())
}

/// The format's version in a record with this body. Builds from before protocol versions would
/// ignore the field and decide by the rules of version 0; a version that they do not read makes
/// them stop the shard.
fn version_of(body: &StateBody) -> u32 {
    match body {
        StateBody::Policies(versions) if versions.newest().is_some_and(|newest| newest.policy.protocol_version > 0) => {
            RAISED_POLICIES_VERSION
        }
        StateBody::Policies(_)
        | StateBody::Order(_)
        | StateBody::Listing(_)
        | StateBody::Marker
        | StateBody::Beginning { .. } => RECORD_VERSION,
    }
}

/// Writes a marker with a record of `orders` below its position, and with the epoch of the newest
/// beginning that the owner has read; returns its key and its value.
pub fn encode_marker(
    epoch: u64,
    position: u64,
    witness: Option<LogWitness>,
    newest_beginning: Option<u64>,
) -> (Bytes, Bytes) {
    let marker = bus::Marker { witness: witness.map(witness_out), newest_beginning, beginning: None };
    let body = bus::states_record::Body::Marker(marker);
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

/// Reads what a marker or a beginning says about the beginnings; `None` for another record, and for
/// one that this build cannot read.
pub fn decode_beginnings_read(key: &[u8], value: Bytes) -> Option<BeginningsRead> {
    let kind = *key.get(KIND_AT)?;
    if kind != StateKind::Marker as u8 && kind != StateKind::Beginning as u8 {
        return None;
    }
    let record = bus::StatesRecord::decode(value).ok()?;
    check_version(record.version).ok()?;
    match record.body? {
        bus::states_record::Body::Marker(marker) => {
            Some(BeginningsRead { epoch: record.epoch, number: marker.beginning, newest: marker.newest_beginning })
        }
        bus::states_record::Body::Order(_)
        | bus::states_record::Body::Policies(_)
        | bus::states_record::Body::Listing(_) => None,
    }
}

/// Reads a record of `order-states`.
pub fn decode_state(bytes: Bytes) -> Result<StatesEntry, RecordFault> {
    use bus::states_record::Body;
    let record = bus::StatesRecord::decode(bytes).map_err(|_| RecordFault::NotProtobuf)?;
    let body = need(record.body, "body");
    if record.version != RAISED_POLICIES_VERSION || !matches!(body, Ok(Body::Policies(_))) {
        check_version(record.version)?;
    }
    let body = match body? {
        Body::Order(order) => StateBody::Order(Box::new(order_from(order)?)),
        Body::Policies(policies) => StateBody::Policies(policy_versions_from(policies)?),
        Body::Listing(listing) => StateBody::Listing(listing_versions_from(listing)?),
        Body::Marker(bus::Marker { beginning: Some(number), newest_beginning, .. }) => {
            StateBody::Beginning { number, newest: newest_beginning }
        }
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
    match key.get(KIND_AT) {
        Some(kind) if *kind == StateKind::Order as u8 => {
            let position = bus::StatesRecord::decode(value).map_or(u64::MAX, |record| record.position);
            UnreadableState::Order { key: key.slice(KIND_AT + 1..), position }
        }
        Some(kind) if *kind == StateKind::Policies as u8 => UnreadableState::Policies,
        Some(kind) if *kind == StateKind::Listing as u8 => UnreadableState::Listing,
        Some(_) | None => UnreadableState::Other,
    }
}

#[cfg(test)]
mod tests {
    use twqr_order::{Alphabet, Policy, PolicyChange, Route, RouteTarget};
    use twqr_types::{Issuer, UnixMs};

    use super::*;

    #[test]
    fn builds_from_before_protocol_versions_cannot_read_rules_of_a_raised_one() {
        for (protocol_version, version) in [(0, 1), (1, 2)] {
            let target = RouteTarget::Issuer(Issuer::Wallet);
            let route = Route { prefix: "22".into(), target, code_lengths: vec![18], alphabet: Alphabet::Printable };
            let policy = Policy { protocol_version, routes: vec![route], ..Policy::default() };
            let change = PolicyChange { policy, who: "w".into(), why: "y".into(), version: 1, at: UnixMs(1) };
            let mut versions = PolicyVersions::default();
            versions.insert(3, change.into());
            let entry = StatesEntry { epoch: 5, position: 7, body: StateBody::Policies(versions) };
            let (_, value) = encode_state(&entry);
            assert_eq!(bus::StatesRecord::decode(value.clone()).unwrap().version, version);
            assert_eq!(decode_state(value), Ok(entry));
        }
        let marker = StatesEntry { epoch: 5, position: 7, body: StateBody::Marker };
        let mut record = bus::StatesRecord::decode(encode_state(&marker).1).unwrap();
        record.version = RAISED_POLICIES_VERSION;
        assert_eq!(decode_state(record.encode_to_vec().into()), Err(RecordFault::Version(2)));
    }
}
