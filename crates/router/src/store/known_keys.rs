//! A Bloom filter of the orders in the store of a shard: it tells that a key is certainly absent,
//! or that it may be present. So a new order is recognised without a read of the store, which would
//! run on another thread because it may wait for the disk.

use std::hash::{BuildHasher, RandomState};

/// The bits for each key: about one absent key of a hundred is taken for one that may be there,
/// which costs a read.
const BITS_PER_KEY: usize = 12;
/// The number of bits that each key sets.
const BITS_SET: usize = 6;
/// The number of keys in the first part. Each further part has twice as many as the one before.
const FIRST_PART_KEYS: usize = 1 << 14;
/// The memory for a shard, in bytes. Beyond it keys are added to the last part, which tells less
/// and less.
const BYTES_MAX: usize = 4 << 20;

/// A cache line, which has all bits of a key.
type Block = [u64; 8];
/// The number of bits in a block.
const BLOCK_BITS: usize = 512;

/// The keys of one shard's store.
pub(super) struct KnownKeys {
    hasher: RandomState,
    parts: Vec<Part>,
    /// Whether every key of the store was added.
    is_complete: bool,
}

struct Part {
    blocks: Vec<Block>,
    /// How many keys may still be added.
    room: usize,
}

impl Part {
    fn new(keys: usize) -> Self {
        Self { blocks: vec![[0; 8]; keys * BITS_PER_KEY / BLOCK_BITS], room: keys }
    }

    fn bytes(&self) -> usize {
        size_of_val(self.blocks.as_slice())
    }

    /// The block of a hash.
    fn index(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.blocks.len() as u128) >> u64::BITS) as usize
    }

    fn has(&self, hash: u64) -> bool {
        let block = &self.blocks[self.index(hash)];
        bits(hash).all(|bit| block[bit / 64] & (1 << (bit % 64)) != 0)
    }

    fn set(&mut self, hash: u64) {
        let index = self.index(hash);
        for bit in bits(hash) {
            self.blocks[index][bit / 64] |= 1 << (bit % 64);
        }
        self.room = self.room.saturating_sub(1);
    }
}

/// The bits of a hash within its block.
fn bits(hash: u64) -> impl Iterator<Item = usize> {
    // The block is chosen by the high bits of the hash, so these are mixed again.
    let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..BITS_SET).map(move |n| (mixed >> (9 * n)) as usize % BLOCK_BITS)
}

impl KnownKeys {
    pub(super) fn new() -> Self {
        Self { hasher: RandomState::new(), parts: vec![Part::new(FIRST_PART_KEYS)], is_complete: false }
    }

    /// Adds a key that is stored, or will be. Returns whether the store surely did not have it.
    pub(super) fn add(&mut self, key: &[u8]) -> bool {
        let hash = self.hasher.hash_one(key);
        if self.parts.iter().any(|part| part.has(hash)) {
            return false;
        }
        let bytes: usize = self.parts.iter().map(Part::bytes).sum();
        let last = self.parts.last().map_or(0, Part::bytes);
        if self.parts.last().is_none_or(|part| part.room == 0) && bytes + 2 * last <= BYTES_MAX {
            self.parts.push(Part::new(FIRST_PART_KEYS << self.parts.len()));
        }
        if let Some(part) = self.parts.last_mut() {
            part.set(hash);
        }
        self.is_complete
    }

    /// Notes that every key of the store was added.
    pub(super) fn set_complete(&mut self) {
        self.is_complete = true;
    }

    pub(super) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Whether the store surely does not have the key.
    pub(super) fn is_absent(&self, key: &[u8]) -> bool {
        let hash = self.hasher.hash_one(key);
        self.is_complete && !self.parts.iter().any(|part| part.has(hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> [u8; 8] {
        n.to_be_bytes()
    }

    #[test]
    fn a_key_that_was_added_is_never_absent_and_few_others_may_be_there() {
        let mut known = KnownKeys::new();
        known.set_complete();
        let keys = 10 * FIRST_PART_KEYS;
        for n in 0..keys {
            known.add(&key(n));
        }
        assert!((0..keys).all(|n| !known.is_absent(&key(n))));
        let taken_for_known = (keys..2 * keys).filter(|n| !known.is_absent(&key(*n))).count();
        assert!(taken_for_known < keys / 20, "{taken_for_known} of {keys}");
    }

    #[test]
    fn nothing_is_absent_until_all_keys_are_known() {
        let mut known = KnownKeys::new();
        assert!(!known.is_absent(b"order"));
        known.set_complete();
        assert!(known.is_absent(b"order"));
    }

    #[test]
    fn memory_is_bounded_and_added_keys_are_still_never_absent() {
        let mut known = KnownKeys::new();
        known.set_complete();
        let keys = 2 * BYTES_MAX * 8 / BITS_PER_KEY;
        for n in 0..keys {
            known.add(&key(n));
        }
        assert!(known.parts.iter().map(Part::bytes).sum::<usize>() <= BYTES_MAX);
        assert!((0..keys).step_by(97).all(|n| !known.is_absent(&key(n))));
    }
}
