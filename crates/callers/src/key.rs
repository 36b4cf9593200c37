//! API keys. Only the SHA-256 of a key is kept. A key is 256 random bits, so its hash cannot be
//! searched for, and needs neither salt nor a slow hash, as a password would.

use std::{fmt, fmt::Write as _};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use twqr_types::{KeyName, UnixMs};

/// The prefix of each key, by which scanners find leaked keys.
const PREFIX: &str = "twqr_";
/// The random part of a key, in bytes.
const RANDOM_BYTES: usize = 32;
/// The longest text that is hashed to find a key, in bytes.
const KEY_BYTES_MAX: usize = 128;

/// The SHA-256 of a key. It is compared in constant time.
#[derive(Clone, Copy, Eq)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// Hashes a key that a caller sent; `None` if no key looks like that.
    pub fn of(key: &str) -> Option<Self> {
        let is_key = key.starts_with(PREFIX) && key.len() <= KEY_BYTES_MAX;
        is_key.then(|| Self(Sha256::digest(key.as_bytes()).into()))
    }

    /// Parses 64 hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "must be the SHA-256 of a key, as 64 hexadecimal digits".to_owned();
        if text.len() != 64 || !text.is_ascii() {
            return Err(wrong());
        }
        let mut hash = [0; 32];
        for (i, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(hash))
    }

    /// Takes the 32 bytes of a hash.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        bytes.try_into().map(Self).map_err(|_| format!("has {} bytes, must have 32", bytes.len()))
    }

    /// The bytes of the hash.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for KeyHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl std::hash::Hash for KeyHash {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash")
    }
}

/// A key of a caller, without the key itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its name among the keys of its caller, such as 2026-11.
    pub name: KeyName,
    /// The SHA-256 of the key.
    pub hash: KeyHash,
    /// When it becomes valid; absent: at once.
    pub from: Option<UnixMs>,
    /// When it ceases to be valid; absent: never.
    pub until: Option<UnixMs>,
}

impl ApiKey {
    /// Whether the key is valid at this time.
    pub fn is_valid(&self, now: UnixMs) -> bool {
        self.from.is_none_or(|from| from <= now) && self.until.is_none_or(|until| now < until)
    }
}

/// A key that was just made. It is shown once, and kept nowhere.
pub struct NewKey(String);

impl NewKey {
    /// Makes a key of these random bytes, which must come from a cryptographic generator.
    pub fn of_random(random: [u8; RANDOM_BYTES]) -> Self {
        let mut key = PREFIX.to_owned();
        for byte in random {
            // Writing to a text cannot fail.
            let _ = write!(key, "{byte:02x}");
        }
        Self(key)
    }

    /// The key itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The SHA-256 of the key.
    pub fn hash(&self) -> KeyHash {
        KeyHash(Sha256::digest(self.0.as_bytes()).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_by_its_hash_and_shown_by_nothing_else() {
        let key = NewKey::of_random([0xab; 32]);
        assert_eq!(key.reveal(), format!("twqr_{}", "ab".repeat(32)));
        assert_eq!(KeyHash::of(key.reveal()), Some(key.hash()));
        assert_eq!(KeyHash::parse(&key.hash().to_string()), Ok(key.hash()));
        assert_eq!(KeyHash::from_bytes(key.hash().as_bytes()), Ok(key.hash()));
        assert_eq!(format!("{:?}", key.hash()), "KeyHash");
        for wrong in ["", "abc", "other_key", &format!("twqr_{}", "a".repeat(KEY_BYTES_MAX))] {
            assert_eq!(KeyHash::of(wrong), None, "{wrong}");
        }
        for wrong in ["", "ab", &"g".repeat(64), &"é".repeat(32)] {
            assert!(KeyHash::parse(wrong).is_err(), "{wrong}");
        }
        assert!(KeyHash::from_bytes(&[0; 31]).is_err());
    }

    #[test]
    fn a_key_is_valid_from_its_begin_until_just_before_its_end() {
        let hash = NewKey::of_random([1; 32]).hash();
        let name = KeyName::parse("a".to_owned()).unwrap();
        let key = ApiKey { name, hash, from: Some(UnixMs(10)), until: Some(UnixMs(20)) };
        assert_eq!([9, 10, 19, 20].map(|now| key.is_valid(UnixMs(now))), [false, true, true, false]);
        assert!(ApiKey { from: None, until: None, ..key }.is_valid(UnixMs(0)));
    }
}
