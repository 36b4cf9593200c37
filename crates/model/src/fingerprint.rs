//! A fingerprint of a state. The checker remembers 64 bits of each state instead of the state, so
//! that tens of millions fit into memory.
//!
//! If two different states had the same fingerprint, one of them would not be visited. Among n
//! states the probability of such a pair is about n² / 2^65: below 1 in 300,000 for the largest
//! scope of `make model` (ten million states). The bytes of a state are packed into words first:
//! its fields are small, and so a word costs one mixing step instead of eight.

use std::hash::{BuildHasherDefault, Hash, Hasher};

/// Returns the fingerprint of a state.
pub(crate) fn fingerprint(state: &impl Hash) -> u64 {
    let mut hasher = WordHasher::default();
    state.hash(&mut hasher);
    hasher.finish()
}

/// Collects eight bytes at a time and mixes them into the fingerprint.
#[derive(Default)]
struct WordHasher {
    mixed: u64,
    word: u64,
    bytes: u32,
}

impl WordHasher {
    fn add_byte(&mut self, byte: u8) {
        self.word = self.word << 8 | u64::from(byte);
        self.bytes += 1;
        if self.bytes.is_multiple_of(8) {
            self.mixed = mix(self.mixed ^ self.word);
            self.word = 0;
        }
    }
}

/// The finalizer of SplitMix64: a bijection in which every bit of the input changes every bit of
/// the result.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

impl Hasher for WordHasher {
    fn finish(&self) -> u64 {
        mix(mix(self.mixed ^ self.word) ^ u64::from(self.bytes))
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.add_byte(*byte);
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.add_byte(value);
    }

    // Lengths and the numbers of variants are below 256 in a model.
    fn write_usize(&mut self, value: usize) {
        self.add_byte(value as u8);
    }

    #[allow(clippy::cast_sign_loss, reason = "the number of a variant")]
    fn write_isize(&mut self, value: isize) {
        self.add_byte(value as u8);
    }
}

/// For tables whose keys are fingerprints, which need no second hash.
pub(crate) type FingerprintBuilder = BuildHasherDefault<FingerprintHasher>;

/// Returns the fingerprint itself as its hash.
#[derive(Default)]
pub(crate) struct FingerprintHasher(u64);

impl Hasher for FingerprintHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = fingerprint(&bytes);
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::fingerprint;

    #[test]
    fn similar_states_have_different_fingerprints() {
        let mut seen = HashSet::new();
        for first in 0..=255_u8 {
            for second in 0..=255_u8 {
                assert!(seen.insert(fingerprint(&(first, second, Some(first)))));
                assert!(seen.insert(fingerprint(&(first, second, None::<u8>))));
                assert!(seen.insert(fingerprint(&(first, second))));
            }
        }
        assert!(seen.insert(fingerprint(&0_u8)) && seen.insert(fingerprint(&(0_u8, 0_u8, 0_u8, 0_u8))));
    }
}
