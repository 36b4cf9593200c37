//! What records contain instead of a card token from protocol version 3 on: without a key, the
//! token can be neither read nor guessed from it. It has three parts, each for one use:
//!
//! - the shape decides the route (policy), and is no credential;
//! - the MACs are compared with those of repeats and cancels;
//! - the sealed (encrypted) token is decrypted by the worker that sends the charge.

use std::fmt;

use subtle::ConstantTimeEq;

use crate::{Alphabet, CardToken, KeyName};

/// A card token under keys that no record contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtectedToken {
    /// The part of the token that chooses the route.
    pub shape: TokenShape,
    /// One MAC under each key that the writer had: 1 to [`TokenMac::COUNT_MAX`].
    pub macs: Vec<TokenMac>,
    /// The token for the issuer; absent in a cancel, which only compares.
    pub sealed: Option<SealedToken>,
}

/// The part of a card token that is readable without a key: enough to choose a route, too little to
/// pay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenShape {
    /// The first characters: at most [`Self::prefix_len_max`].
    pub prefix: Box<str>,
    /// The length of the whole token in characters: 1 to [`CardToken::LEN_MAX`].
    pub length: u32,
    /// The smallest alphabet that has all of its characters.
    pub alphabet: Alphabet,
}

impl TokenShape {
    /// How many characters of a token of this length a shape shows: at most six, as payment cards
    /// show their issuer, and never more than half. So a route's prefix may not be longer.
    pub const fn prefix_len_max(length: u32) -> u32 {
        let half = length / 2;
        if half < 6 { half } else { 6 }
    }

    /// The shape of a token.
    pub fn of(token: &CardToken) -> Self {
        let code = token.expose();
        let length = code.len() as u32;
        let prefix = code.get(..Self::prefix_len_max(length) as usize).unwrap_or_default().into();
        Self { prefix, length, alphabet: Alphabet::of(code) }
    }
}

/// HMAC-SHA-256 over an order's key and its card token, under a comparison key.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenMac {
    /// The name of the key.
    pub key: KeyName,
    /// The bytes of the MAC.
    pub bytes: [u8; Self::LEN],
}

impl TokenMac {
    /// The length in bytes.
    pub const LEN: usize = 32;
    /// How many comparison keys may be live at once.
    pub const COUNT_MAX: usize = 4;

    /// Compares the MACs in constant time.
    fn has_same_bytes(&self, other: &Self) -> bool {
        self.bytes.ct_eq(&other.bytes).into()
    }
}

impl fmt::Debug for TokenMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenMac({})", self.key.as_str())
    }
}

/// Whether two tokens are different, by their MACs under the keys that both have: they are if there
/// is such a key and no MAC matches. One that matches proves that they are equal, while one that
/// does not may come from two keys of one name. Tokens without a key in common cannot be told
/// apart, and count as equal: the removal of a key must not turn a repeat into another request.
pub(crate) fn differ(a: &[TokenMac], b: &[TokenMac]) -> bool {
    let both = || a.iter().flat_map(|mac| b.iter().filter(|other| other.key == mac.key).map(move |other| (mac, other)));
    both().next().is_some() && !both().any(|(mac, other)| mac.has_same_bytes(other))
}

/// A card token that was encrypted for one order (AES-256-GCM).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SealedToken {
    /// The name of the key.
    pub key: String,
    /// The nonce, 12 bytes.
    pub nonce: Box<[u8]>,
    /// The encrypted token with its tag.
    pub ciphertext: Box<[u8]>,
}

impl fmt::Debug for SealedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedToken({})", self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(key: &str, byte: u8) -> TokenMac {
        TokenMac { key: KeyName::parse(key.to_owned()).unwrap(), bytes: [byte; TokenMac::LEN] }
    }

    #[test]
    fn tokens_differ_only_by_a_key_that_both_have() {
        let both = &[mac("a", 1), mac("b", 1)];
        let (only_a, only_b) = both.split_at(1);
        assert!(!differ(only_a, both));
        assert!(!differ(both, only_b));
        assert!(!differ(only_a, only_b), "without a key in common they cannot be told apart");
        assert!(!differ(&[], only_b));
        assert!(differ(only_a, &[mac("a", 2), mac("b", 1)]));
        assert!(!differ(both, &[mac("a", 1), mac("b", 2)]), "one MAC that matches is enough");
        assert!(differ(both, &[mac("a", 2), mac("b", 2)]));
    }

    #[test]
    fn a_shape_shows_at_most_half_of_a_token_and_six_characters() {
        for (code, prefix, alphabet) in [
            ("2", "", Alphabet::Digits),
            ("2233", "22", Alphabet::Digits),
            ("22abcdefghijklmnop", "22abcd", Alphabet::Alphanumeric),
            ("96abcdefghijklmn-pqrst", "96abcd", Alphabet::Base64Url),
            ("IC!", "I", Alphabet::Printable),
        ] {
            let shape = TokenShape::of(&CardToken::parse(code.to_owned()).unwrap());
            assert_eq!((&*shape.prefix, shape.length, shape.alphabet), (prefix, code.len() as u32, alphabet), "{code}");
        }
    }

    #[test]
    fn debug_output_has_no_bytes_of_a_token() {
        let sealed = SealedToken { key: "h".into(), nonce: [7; 12].into(), ciphertext: [7; 34].into() };
        assert_eq!(format!("{:?} {sealed:?}", mac("a", 7)), "TokenMac(a) SealedToken(h)");
    }
}
