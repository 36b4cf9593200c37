//! The values that a read model stores: orders and versions of the policy, without the frame of a
//! log record.

use prost::Message;
use twqr_order::{Order, PolicyVersions};

use super::{
    fault::RecordFault,
    order::{order_from, order_out},
    policy::{policy_versions_from, policy_versions_out},
};
use crate::bus;

/// Writes an order with its subscribers.
pub fn encode_order(order: &Order) -> Vec<u8> {
    order_out(order).encode_to_vec()
}

/// Reads an order that [`encode_order`] wrote.
pub fn decode_order(bytes: &[u8]) -> Result<Order, RecordFault> {
    order_from(bus::Order::decode(bytes).map_err(|_| RecordFault::NotProtobuf)?)
}

/// Writes all versions of the policy that a shard has had.
pub fn encode_policy_versions(versions: &PolicyVersions) -> Vec<u8> {
    policy_versions_out(versions).encode_to_vec()
}

/// Reads the versions that [`encode_policy_versions`] wrote.
pub fn decode_policy_versions(bytes: &[u8]) -> Result<PolicyVersions, RecordFault> {
    policy_versions_from(bus::PolicyVersions::decode(bytes).map_err(|_| RecordFault::NotProtobuf)?)
}
