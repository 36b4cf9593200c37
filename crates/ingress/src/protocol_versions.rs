//! Which protocol version each shard decides by, as its own replies name it. A change of the policy
//! reaches the shards one after another, so what one of them does, another may not do yet.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use twqr_order::{NONCES_SINCE, PROTECTED_TOKENS_SINCE};
use twqr_types::{ShardCount, ShardId};
use twqr_wire::convert::ReplyRecord;

/// The protocol version of every shard, as far as it is known.
pub(crate) struct ProtocolVersions(Box<[ShardVersion]>);

/// What the replies of one shard have named.
#[derive(Default)]
struct ShardVersion {
    /// 0 until a reply named a version. It never falls.
    version: AtomicU32,
    /// Whether a reply has named something of a policy, and with it the version.
    knows_policy: AtomicBool,
}

impl ProtocolVersions {
    /// Nothing is known of any shard yet.
    pub(crate) fn new(shards: ShardCount) -> Self {
        Self((0..shards.0.get()).map(|_| ShardVersion::default()).collect())
    }

    /// Learns the version from a shard's reply. A record without an identity is of no shard.
    pub(crate) fn learn(&self, reply: &ReplyRecord) {
        let Some(shard) = reply.id.and_then(|id| self.of(id.shard)) else { return };
        shard.version.fetch_max(reply.protocol_version, Ordering::Relaxed);
        // After the version, which it makes valid.
        shard.knows_policy.fetch_or(reply.in_progress_code.is_some(), Ordering::Release);
    }

    /// Whether the shard refuses a request whose nonce was used before, as far as is known.
    pub(crate) fn has_nonces(&self, shard: ShardId) -> bool {
        self.of(shard).is_some_and(|shard| shard.version.load(Ordering::Relaxed) >= NONCES_SINCE)
    }

    /// Whether every router of the shard reads protected card tokens: from protocol version 3 on.
    /// Before a reply of the shard names a policy it is assumed, since a token in the clear cannot
    /// be taken back.
    pub(crate) fn takes_protected_tokens(&self, shard: ShardId) -> bool {
        self.of(shard).is_none_or(|shard| {
            let is_known = shard.knows_policy.load(Ordering::Acquire);
            !is_known || shard.version.load(Ordering::Relaxed) >= PROTECTED_TOKENS_SINCE
        })
    }

    fn of(&self, shard: ShardId) -> Option<&ShardVersion> {
        self.0.get(usize::from(shard.0))
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
        let versions = ProtocolVersions::new(ShardCount(NonZeroU16::new(2).unwrap()));
        let has = |shard| (versions.has_nonces(ShardId(shard)), versions.takes_protected_tokens(ShardId(shard)));
        assert_eq!([has(0), has(1)], [(false, true); 2], "before a reply");
        versions.learn(&reply(1, 2));
        versions.learn(&reply(0, 3));
        assert_eq!([has(0), has(1)], [(true, true), (false, false)], "only shard 0 is at version 3");
        versions.learn(&ReplyRecord { id: None, ..reply(1, 3) });
        versions.learn(&reply(7, 3));
        assert_eq!(has(1), (false, false), "a record of no shard, or of one that does not exist");
        versions.learn(&reply(1, 3));
        versions.learn(&reply(0, 2));
        assert_eq!([has(0), has(1)], [(true, true); 2], "a version never falls");
    }
}
