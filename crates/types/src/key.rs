//! The key that identifies an order, and the shard of the order.

use std::{fmt, num::NonZeroU16};

use crate::{MerchantId, MerchantTradeNo};

/// MerchantID and MerchantTradeNo: the identity of an order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrderKey {
    /// The merchant's MerchantID.
    pub merchant_id: MerchantId,
    /// The merchant's own number for the order.
    pub merchant_trade_no: MerchantTradeNo,
}

/// The number of shards, fixed when the topics are created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardCount(pub NonZeroU16);

/// A shard: a partition of the topic `orders`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

impl OrderKey {
    /// The order's shard. Never change the hash: stored orders would be looked for on other shards.
    pub fn shard(&self, count: ShardCount) -> ShardId {
        let mut hash = xxhash_rust::xxh3::Xxh3Default::new();
        hash.update(self.merchant_id.as_str().as_bytes());
        hash.update(&[0]);
        hash.update(self.merchant_trade_no.as_str().as_bytes());
        ShardId((hash.digest() % u64::from(count.0.get())) as u16)
    }

    /// The key as bytes. It is unambiguous, since neither part may contain a control character.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (merchant, number) = (self.merchant_id.as_str(), self.merchant_trade_no.as_str());
        let mut bytes = Vec::with_capacity(merchant.len() + 1 + number.len());
        bytes.extend_from_slice(merchant.as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(number.as_bytes());
        bytes
    }
}

impl fmt::Display for OrderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.merchant_id, self.merchant_trade_no)
    }
}
