//! The payment code of a customer: a one-time credential. Its Debug output does not contain it.

use std::{fmt, mem, ops::Range};

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::OrderKey;

/// CardToken: 1 to 64 characters as scanned, never trimmed or changed in case. Each route sets the
/// lengths that it allows.
#[derive(Clone)]
pub struct CardToken(SecretString);

impl CardToken {
    /// The most characters that a route may allow.
    pub const LEN_MAX: usize = 64;
    /// So many characters of a code are not left in a text. Fewer are shown anyway, or stand in a
    /// text by chance.
    const BLANKED_LEN_MIN: usize = 8;

    /// Checks what all issuers' codes have in common: the length, and printable ASCII without
    /// spaces. The error never contains the code.
    pub fn parse(raw: String) -> Result<Self, String> {
        let token = SecretString::from(raw);
        let text = token.expose_secret();
        if text.is_empty() {
            return Err("is required and must not be empty".to_owned());
        }
        if text.len() > Self::LEN_MAX {
            return Err(format!("is longer than {} characters", Self::LEN_MAX));
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("must consist of printable ASCII characters without spaces".to_owned());
        }
        Ok(Self(token))
    }

    /// Reveals the code, to match a route and to send the one request that spends it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Overwrites the code with `*` wherever the text of another party repeats it, or at least its
    /// first eight characters, in small letters or capitals. Returns whether there was anything to
    /// overwrite.
    pub fn blank_in(&self, text: &mut Box<str>) -> bool {
        let found = self.spans_in(text.as_bytes());
        if found.is_empty() {
            return false;
        }
        let mut bytes = mem::take(text).into_string().into_bytes();
        for span in found {
            bytes[span].fill(b'*');
        }
        // A code is ASCII, so the text is UTF-8 still.
        *text = String::from_utf8(bytes).unwrap_or_default().into();
        true
    }

    /// Where the text repeats the beginning of the code, and how much of it.
    fn spans_in(&self, text: &[u8]) -> Vec<Range<usize>> {
        let code = self.expose().as_bytes();
        let same_from = |start: usize| {
            let pairs = text[start..].iter().zip(code);
            pairs.take_while(|(byte, of_code)| byte.eq_ignore_ascii_case(of_code)).count()
        };
        let spans = (0..text.len()).map(|start| start..start + same_from(start));
        spans.filter(|span| span.len() >= Self::BLANKED_LEN_MIN).collect()
    }

    /// The digest that payments from before protocol version 3 store in place of the code. It has
    /// no key, so a code can be found by trying all of them.
    pub fn digest(&self, key: &OrderKey) -> CardTokenDigest {
        let mut hash = Sha256::new();
        hash.update(key.merchant_id.as_str());
        hash.update([0]);
        hash.update(key.merchant_trade_no.as_str());
        hash.update([0]);
        hash.update(self.expose());
        let mut digest = [0; CardTokenDigest::LEN];
        digest.copy_from_slice(&hash.finalize()[..CardTokenDigest::LEN]);
        CardTokenDigest(digest)
    }
}

impl fmt::Debug for CardToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CardToken(..)")
    }
}

/// 16 bytes of SHA-256 over the order's key and its payment code. It is only compared with the
/// digest of a repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CardTokenDigest([u8; Self::LEN]);

impl CardTokenDigest {
    /// The length in bytes.
    pub const LEN: usize = 16;

    /// Restores a stored digest.
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes to store.
    pub fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_debug_output_nor_errors_contain_the_code() {
        let token = CardToken::parse("22SECRETSECRETSECR".to_owned()).unwrap();
        assert_eq!(format!("{token:?} {token:#?}"), "CardToken(..) CardToken(..)");
        let error = CardToken::parse("22SECRET SECRET".to_owned()).unwrap_err();
        assert!(!error.contains("SECRET"), "{error}");
    }

    #[test]
    fn a_code_that_another_party_repeats_is_overwritten() {
        let token = CardToken::parse("22aBcdefghijklmnop".to_owned()).unwrap();
        let stars = "*".repeat(18);
        for (text, expected) in [
            ("", None),
            ("餘額不足 22aBcde 2", None),
            ("22aBcdefghijklmnop", Some(stars.clone())),
            ("碼22abCDEFghijklmnop無效:22aBcdefghijklmnop!", Some(format!("碼{stars}無效:{stars}!"))),
            ("unknown code 22abcdefg...", Some(format!("unknown code {}...", "*".repeat(9)))),
            ("unknown code 22abcde", None),
        ] {
            let mut blanked: Box<str> = text.into();
            assert_eq!(token.blank_in(&mut blanked), expected.is_some(), "{text}");
            assert_eq!(*blanked, *expected.as_deref().unwrap_or(text));
        }
        let mut text: Box<str> = "code 928".into();
        assert!(!CardToken::parse("928".to_owned()).unwrap().blank_in(&mut text), "it may be another 928");
    }
}
