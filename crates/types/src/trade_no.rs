//! TradeNo: the number that twqr gives to an order.
//!
//! It contains the shard and the offset of the record that created the order, so that the order is
//! found without a lookup. It also contains the time, so that a new log never repeats the numbers
//! of an old one.

use std::{fmt, str};

use crate::{ShardId, UnixMs};

/// Crockford's base 32. It leaves out I, L, O and U, which people misread.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// The parts: `T`, then 4 characters of shard, 11 of offset, 7 of seconds, 2 of check.
const SHARD: std::ops::Range<usize> = 1..5;
const OFFSET: std::ops::Range<usize> = 5..16;
const SECONDS: std::ops::Range<usize> = 16..23;
const CHECK: std::ops::Range<usize> = 23..25;

/// The number that twqr gives to an order: 25 characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TradeNo([u8; Self::LEN]);

/// The text is not a TradeNo of this product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a TradeNo: 25 characters, T first, then base 32 with two check characters at the end")]
pub struct InvalidTradeNo;

impl TradeNo {
    /// The length in characters.
    pub const LEN: usize = 25;

    /// The number of the order that the record at (`shard`, `offset`), written at `at`, creates.
    pub fn new(shard: ShardId, offset: u64, at: UnixMs) -> Self {
        let mut text = [b'T'; Self::LEN];
        encode(u64::from(shard.0), &mut text[SHARD]);
        encode(offset, &mut text[OFFSET]);
        encode((at.0 / 1000).max(0).cast_unsigned(), &mut text[SECONDS]);
        let check = checksum(&text[..CHECK.start]);
        encode(check, &mut text[CHECK]);
        Self(text)
    }

    /// Checks the form and the check characters.
    pub fn parse(raw: &str) -> Result<Self, InvalidTradeNo> {
        let text: [u8; Self::LEN] = raw.as_bytes().try_into().map_err(|_| InvalidTradeNo)?;
        let shard_fits = decode(&text[SHARD]).is_some_and(|shard| u16::try_from(shard).is_ok());
        let digits = decode(&text[OFFSET]).and(decode(&text[SECONDS])).and(decode(&text[CHECK]));
        let good = text[0] == b'T' && shard_fits && digits == Some(checksum(&text[..CHECK.start]));
        if good { Ok(Self(text)) } else { Err(InvalidTradeNo) }
    }

    /// The shard of the order.
    pub fn shard(&self) -> ShardId {
        ShardId(decode(&self.0[SHARD]).unwrap_or_default() as u16)
    }

    /// The offset of the record that created the order.
    pub fn offset(&self) -> u64 {
        decode(&self.0[OFFSET]).unwrap_or_default()
    }

    /// The 25 characters as text.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for TradeNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TradeNo({})", self.as_str())
    }
}

impl fmt::Display for TradeNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn encode(mut value: u64, into: &mut [u8]) {
    for digit in into.iter_mut().rev() {
        *digit = ALPHABET[(value & 31) as usize];
        value >>= 5;
    }
}

fn decode(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |value, digit| {
        let worth = ALPHABET.iter().position(|letter| letter == digit)?;
        Some(value << 5 | worth as u64)
    })
}

/// The checksum, two base 32 digits. It detects any one wrong character, and any swap of two
/// neighbours.
fn checksum(text: &[u8]) -> u64 {
    let worth = |b: &u8| ALPHABET.iter().position(|letter| letter == b).map_or(31, |at| at as u64);
    text.iter().fold(0, |sum, b| (sum * 32 + worth(b)) % 1021)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_contains_its_shard_and_offset() {
        for (shard, offset) in [(0, 0), (7, 1), (u16::MAX, (1 << 55) - 1)] {
            let number = TradeNo::new(ShardId(shard), offset, UnixMs(1_741_568_887_999));
            let back = TradeNo::parse(number.as_str()).unwrap();
            assert_eq!((back.shard(), back.offset()), (ShardId(shard), offset), "{number}");
        }
    }

    #[test]
    fn one_wrong_character_or_one_swap_is_detected() {
        let number = TradeNo::new(ShardId(3), 123_456_789, UnixMs(1_741_568_887_999));
        for at in 0..TradeNo::LEN {
            for letter in ALPHABET {
                let mut text = *number.as_str().as_bytes().first_chunk::<25>().unwrap();
                if text[at] != *letter {
                    text[at] = *letter;
                    assert_eq!(TradeNo::parse(str::from_utf8(&text).unwrap()), Err(InvalidTradeNo), "{at}");
                }
            }
            let mut text = number.as_str().to_owned().into_bytes();
            if at > 0 && text[at - 1] != text[at] {
                text.swap(at - 1, at);
                assert!(TradeNo::parse(str::from_utf8(&text).unwrap()).is_err(), "swap at {at}");
            }
        }
        for raw in ["", "T", "ＴＴＴＴＴＴＴＴＴ", "0000000000000000000000000"] {
            assert_eq!(TradeNo::parse(raw), Err(InvalidTradeNo));
        }
    }
}
