//! The protocol version in force on each shard, as its replies state it. A change of the policy
//! reaches the shards one after another, so the version on one shard says nothing about another,
//! and the version of a shard that has not replied since this process started is unknown.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use tokio::{sync::Mutex, time::Instant};
use twqr_card_keys::CardKeys;
use twqr_order::{NONCES_SINCE, PROTECTED_TOKENS_SINCE, PROTOCOL_VERSION_NEWEST};
use twqr_types::{ShardCount, ShardId};
use twqr_wire::convert::ReplyRecord;

/// The protocol version of every shard, as far as it is known.
pub(crate) struct ProtocolVersions {
    shards: Box<[ShardVersion]>,
    /// Needed as soon as one shard takes protected tokens.
    card_keys: CardKeys,
    trusts_silence: bool,
}

/// The protocol versions that the replies of one shard have named.
#[derive(Default)]
struct ShardVersion {
    /// 0 until a reply named a version. It never falls.
    version: AtomicU32,
    /// Whether a reply has named something of a policy, and with it the version.
    knows_policy: AtomicBool,
    /// When the shard was last asked for its version; locked while it is asked.
    asked: Mutex<Option<Instant>>,
}

impl ProtocolVersions {
    /// Nothing is known of any shard yet. `trusts_silence` is whether every router is known to be
    /// of the newest build, so that a shard takes protected tokens before its first reply. Notes in
    /// `card_keys` when they are needed.
    pub(crate) fn new(shards: ShardCount, card_keys: CardKeys, trusts_silence: bool) -> Self {
        let shards = (0..shards.0.get()).map(|_| ShardVersion::default()).collect();
        Self { shards, card_keys, trusts_silence }
    }

    /// Learns the version from a shard's reply. A record without an identity is of no shard.
    pub(crate) fn learn(&self, reply: &ReplyRecord) {
        let Some(shard) = reply.id.and_then(|id| self.of(id.shard)) else { return };
        shard.version.fetch_max(reply.protocol_version, Ordering::Relaxed);
        // After the version, which it makes valid.
        shard.knows_policy.fetch_or(reply.in_progress_code.is_some(), Ordering::Release);
        if reply.protocol_version >= PROTECTED_TOKENS_SINCE {
            self.card_keys.need();
        }
    }

    /// Whether the shard refuses a request whose nonce was used before, as far as is known.
    pub(crate) fn has_nonces(&self, shard: ShardId) -> bool {
        self.of(shard).is_some_and(|shard| shard.version.load(Ordering::Relaxed) >= NONCES_SINCE)
    }

    /// When the shard was last asked whether it refuses such requests. `None` if there is no such
    /// shard. Who holds the lock asks.
    pub(crate) fn asked(&self, shard: ShardId) -> Option<&Mutex<Option<Instant>>> {
        self.of(shard).map(|shard| &shard.asked)
    }

    /// Whether every router of the shard reads protected card tokens: from protocol version 3 on.
    /// `None` before a reply of the shard names a policy. Then neither form may be written: an
    /// older router cannot read a protected one, and a token in plain text cannot be taken back.
    pub(crate) fn takes_protected_tokens(&self, shard: ShardId) -> Option<bool> {
        let shard = self.of(shard)?;
        if !shard.knows_policy.load(Ordering::Acquire) {
            return self.trusts_silence.then_some(true);
        }
        Some(shard.version.load(Ordering::Relaxed) >= PROTECTED_TOKENS_SINCE)
    }

    /// A version in force that this build does not know; `None` if it knows them all.
    pub(crate) fn unknown(&self) -> Option<u32> {
        let versions = self.shards.iter().map(|shard| shard.version.load(Ordering::Relaxed));
        versions.filter(|version| *version > PROTOCOL_VERSION_NEWEST).max()
    }

    fn of(&self, shard: ShardId) -> Option<&ShardVersion> {
        self.shards.get(usize::from(shard.0))
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use twqr_order::EffectId;
    use twqr_types::StatusCode;
    use twqr_wire::convert::ReplyContent;

    use super::*;

    fn reply(shard: u16, protocol_version: u32) -> ReplyRecord {
        ReplyRecord {
            id: Some(EffectId { shard: ShardId(shard), offset: 0, n: 0 }),
            in_progress_code: Some(StatusCode::FISC_ABNORMAL),
            protocol_version,
            ..ReplyRecord::broadcast(ReplyContent::NotFound)
        }
    }

    #[test]
    fn a_shard_has_what_its_own_replies_name_and_not_those_of_another() {
        let keys = CardKeys::default();
        let versions = ProtocolVersions::new(ShardCount(NonZeroU16::new(2).unwrap()), keys.clone(), false);
        let has = |shard| (versions.has_nonces(ShardId(shard)), versions.takes_protected_tokens(ShardId(shard)));
        assert_eq!([has(0), has(1)], [(false, None); 2], "before a reply");
        versions.learn(&reply(1, 2));
        assert_eq!([has(0), has(1)], [(false, None), (false, Some(false))], "shard 0 is silent");
        assert!(!keys.are_needed(), "no shard takes protected tokens");
        versions.learn(&reply(0, 3));
        assert_eq!([has(0), has(1)], [(true, Some(true)), (false, Some(false))], "only shard 0 is at version 3");
        assert!(keys.are_needed());
        versions.learn(&ReplyRecord { id: None, ..reply(1, 3) });
        versions.learn(&reply(7, 3));
        assert_eq!(has(1), (false, Some(false)), "a record of no shard, or of one that does not exist");
        versions.learn(&reply(1, 3));
        versions.learn(&reply(0, 2));
        assert_eq!([has(0), has(1)], [(true, Some(true)); 2], "a version never falls");
    }
}
