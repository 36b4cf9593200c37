//! Keys of the cache: 128-bit hashes, keyed with a secret that each process draws at its start.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

/// The hash of a merchant and a MerchantTradeNo.
pub type Key = u128;

/// Makes keys, and digests of the fields that must be equal in a repeat.
#[derive(Clone, Copy, Debug)]
pub struct KeyHasher {
    secret: [u8; 16],
}

impl KeyHasher {
    /// `secret` must be 16 random bytes, new in each process.
    pub fn new(secret: [u8; 16]) -> Self {
        Self { secret }
    }

    /// Hashes the parts in this order, each with its length: ("a", "bc") and ("ab", "c") differ.
    pub fn key(&self, parts: &[&[u8]]) -> Key {
        let mut hasher = SipHasher13::new_with_key(&self.secret);
        for part in parts {
            hasher.write_u64(part.len() as u64);
            hasher.write(part);
        }
        hasher.finish128().as_u128()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boundaries_of_parts_and_the_secret_change_the_key() {
        let hasher = KeyHasher::new([7; 16]);
        assert_ne!(hasher.key(&[b"a", b"bc"]), hasher.key(&[b"ab", b"c"]));
        assert_eq!(hasher.key(&[b"a", b"bc"]), hasher.key(&[b"a", b"bc"]));
        assert_ne!(hasher.key(&[b"a"]), KeyHasher::new([8; 16]).key(&[b"a"]));
    }
}
