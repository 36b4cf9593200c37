//! The protobuf records of the log: each is decoded, encoded from the domain's types, and decoded
//! again. Encoding it once more must give the same bytes.

use bytes::Bytes;
use twqr_wire::convert::{
    HeldTopic, decode_dead_letter, decode_listing_change, decode_order, decode_policy_versions, decode_record,
    decode_reply, decode_state, decode_task_record, decode_worker_position, encode_dead_letter, encode_listing_change,
    encode_order, encode_policy_versions, encode_record, encode_reply_record, encode_state, encode_task_record,
    encode_worker_position,
};

/// Decodes the input and what was encoded from it. Whatever decodes once must decode again, to a
/// value with the same encoding.
fn there_and_back<T, E>(input: &[u8], decode: impl Fn(Bytes) -> Result<T, E>, encode: impl Fn(&T) -> Bytes) {
    let Ok(value) = decode(Bytes::copy_from_slice(input)) else { return };
    let encoded = encode(&value);
    let again = decode(encoded.clone());
    assert!(again.is_ok_and(|again| encode(&again) == encoded), "an encoded record is not read as the same one");
}

/// A record of `orders`.
pub(crate) fn orders(input: &[u8]) {
    there_and_back(input, decode_record, encode_record);
    for topic in [HeldTopic::Orders, HeldTopic::Tasks] {
        drop(topic.decode_hold(&Bytes::copy_from_slice(input)));
    }
}

/// A record of `replies`.
pub(crate) fn replies(input: &[u8]) {
    there_and_back(input, decode_reply, encode_reply_record);
}

/// A record of `order-states`.
pub(crate) fn states(input: &[u8]) {
    there_and_back(input, decode_state, |entry| encode_state(entry).1);
}

/// A record of a task topic, and a worker's position.
pub(crate) fn tasks(input: &[u8]) {
    there_and_back(input, decode_task_record, encode_task_record);
    there_and_back(input, decode_worker_position, encode_worker_position);
}

/// A record of `dead-letters`.
pub(crate) fn dead_letters(input: &[u8]) {
    there_and_back(input, decode_dead_letter, encode_dead_letter);
}

/// What the local stores have: orders, versions of the policy, entries of the directory.
pub(crate) fn stored(input: &[u8]) {
    there_and_back(input, |bytes| decode_order(&bytes), |order| encode_order(order).into());
    there_and_back(input, |bytes| decode_policy_versions(&bytes), |versions| encode_policy_versions(versions).into());
    there_and_back(input, |bytes| decode_listing_change(&bytes), |change| encode_listing_change(change).into());
}
