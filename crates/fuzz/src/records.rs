//! The protobuf records of the log: each is decoded, encoded from the domain's types, and decoded
//! again. Encoding it once more must give the same bytes.

use bytes::Bytes;
use twqr_callers::CallerChange;
use twqr_wire::convert::{
    HeldTopic, KnownProtocol, StateBody, decode_beginnings_read, decode_caller_change, decode_dead_letter,
    decode_listing_change, decode_marker_witness, decode_order, decode_policy_versions, decode_record,
    decode_record_with_hops, decode_reply, decode_state, decode_task_record, decode_task_record_with_hops,
    decode_worker_position, encode_caller_change, encode_dead_letter, encode_listing_change, encode_order,
    encode_policy_versions, encode_record, encode_reply_record, encode_state, encode_task_record,
    encode_worker_position, state_epoch, unreadable_state,
};

/// Decodes the input and what was encoded from it. Whatever decodes once must decode again, to a
/// value with the same encoding. Returns whether it decodes.
fn there_and_back<T, E>(input: &[u8], decode: impl Fn(Bytes) -> Result<T, E>, encode: impl Fn(&T) -> Bytes) -> bool {
    let Ok(value) = decode(Bytes::copy_from_slice(input)) else { return false };
    let encoded = encode(&value);
    let again = decode(encoded.clone());
    assert!(again.is_ok_and(|again| encode(&again) == encoded), "an encoded record is not read as the same one");
    true
}

/// A record of `orders`.
pub(crate) fn orders(input: &[u8]) -> bool {
    let bytes = Bytes::copy_from_slice(input);
    for topic in [HeldTopic::Orders, HeldTopic::Tasks] {
        drop(topic.decode_hold(&bytes));
        drop(KnownProtocol::of_record(topic, &bytes));
    }
    let is_read = there_and_back(input, decode_record, encode_record);
    assert_eq!(decode_record_with_hops(bytes).is_ok(), is_read, "hops decide whether a record is read");
    is_read
}

/// A record of `replies`.
pub(crate) fn replies(input: &[u8]) -> bool {
    drop(KnownProtocol::of_reply(&Bytes::copy_from_slice(input)));
    there_and_back(input, decode_reply, encode_reply_record)
}

/// A record of `order-states`. Its key is that of what was read.
pub(crate) fn states(input: &[u8]) -> bool {
    let bytes = Bytes::copy_from_slice(input);
    let has_witness = decode_marker_witness(bytes.clone()).is_some();
    let is_read = there_and_back(input, decode_state, |entry| encode_state(entry).1);
    let Ok(entry) = decode_state(bytes.clone()) else {
        drop((unreadable_state(&bytes, bytes.clone()), decode_beginnings_read(input, bytes.clone())));
        return is_read;
    };
    assert_eq!(state_epoch(input), Some(entry.epoch));
    let is_marker = matches!(entry.body, StateBody::Marker | StateBody::Beginning { .. });
    assert!(is_marker || !has_witness);
    let names_beginning = decode_beginnings_read(&encode_state(&entry).0, bytes).is_some();
    assert_eq!(names_beginning, is_marker);
    is_read
}

/// A record of a task topic, and a worker's position.
pub(crate) fn tasks(input: &[u8]) -> bool {
    let is_task = there_and_back(input, decode_task_record, encode_task_record);
    assert_eq!(decode_task_record_with_hops(Bytes::copy_from_slice(input)).is_ok(), is_task);
    let is_position = there_and_back(input, decode_worker_position, encode_worker_position);
    is_task || is_position
}

/// A record of `callers`. One that was read in part is whole once it is written.
pub(crate) fn callers(input: &[u8]) -> bool {
    let decode = |bytes| decode_caller_change(bytes).map(|change| CallerChange { is_whole: true, ..change });
    there_and_back(input, decode, encode_caller_change)
}

/// A record of `dead-letters`.
pub(crate) fn dead_letters(input: &[u8]) -> bool {
    there_and_back(input, decode_dead_letter, encode_dead_letter)
}

/// What the local stores have: orders, versions of the policy, entries of the directory.
pub(crate) fn stored(input: &[u8]) -> bool {
    let is_order = there_and_back(input, |bytes| decode_order(&bytes), |order| encode_order(order).into());
    let encode = |versions: &_| encode_policy_versions(versions).into();
    let is_policy = there_and_back(input, |bytes| decode_policy_versions(&bytes), encode);
    let encode = |change: &_| encode_listing_change(change).into();
    let is_listing = there_and_back(input, |bytes| decode_listing_change(&bytes), encode);
    is_order || is_policy || is_listing
}
