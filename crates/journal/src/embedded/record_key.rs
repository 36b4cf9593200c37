//! The keys of the records on disk: the partition's index, then the offset, so that a partition is
//! a range in the order of its offsets.

use crate::{Offset, Partition};

pub(super) fn record_key(partition: Partition, offset: Offset) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&partition.index.to_be_bytes());
    key[4..].copy_from_slice(&offset.to_be_bytes());
    key
}

pub(super) fn offset_of(key: &[u8]) -> Offset {
    key.last_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// The index of the partition in a key of [`record_key`].
pub(super) fn index_of(key: &[u8]) -> u32 {
    key.first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}
