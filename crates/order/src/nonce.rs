//! The nonces of signed requests. A request with a nonce that its order has seen is a replay, and
//! is refused.
//!
//! The same signed request always names the same order, so it always reaches the same shard,
//! whichever ingress it is sent to. The first record with a nonce claims it there, and the order's
//! state keeps it until the signature is too old for every ingress. So a nonce is claimed by the
//! record that is accepted with it, and both are in the state or neither is. An inquiry claims
//! none, since it changes nothing.

use twqr_types::UnixMs;

/// The protocol version from which replays are refused.
pub const NONCES_SINCE: u32 = 3;
/// How many nonces an order keeps at once. A request that would need one more is refused like a
/// replay, since a replay of it could not be recognised.
pub const NONCES_MAX: usize = 128;

/// The nonce of a request's signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonce {
    /// A digest of the key's name and the nonce, as the caller chose it.
    pub digest: [u8; Self::LEN],
    /// Until when a replay could be accepted: the order keeps the nonce at least as long.
    pub until: UnixMs,
}

impl Nonce {
    /// The length of a digest in bytes.
    pub const LEN: usize = 16;
}

/// The nonces that an order has seen and still keeps, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nonces(Vec<Nonce>);

impl Nonces {
    /// Nonces as they were stored.
    pub fn stored(nonces: Vec<Nonce>) -> Self {
        Self(nonces)
    }

    /// Every nonce, the oldest first.
    pub fn as_slice(&self) -> &[Nonce] {
        &self.0
    }

    /// Whether a request with this nonce at this time must be refused: the order has seen the
    /// nonce, or keeps as many others as it may.
    pub(crate) fn refuse(&self, nonce: &Nonce, at: UnixMs) -> bool {
        let kept = || self.0.iter().filter(|known| known.until >= at);
        kept().any(|known| known.digest == nonce.digest) || kept().count() >= NONCES_MAX
    }

    /// Keeps a nonce, and drops those that are no longer needed.
    pub(crate) fn keep(&mut self, nonce: Nonce, at: UnixMs) {
        self.0.retain(|known| known.until >= at);
        self.0.push(nonce);
    }
}
