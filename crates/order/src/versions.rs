//! The versions of the policy that a shard has had (protocol rule P7). A record is decided by the
//! version that was in force at its own offset, also when it is replayed from a later checkpoint.

use std::{collections::BTreeMap, sync::Arc};

use twqr_types::ShardId;

use crate::{Policy, PolicyChange};

/// The shard whose log decides which version is next; all other shards follow it.
pub const POLICY_SHARD: ShardId = ShardId(0);
/// How many versions are kept for replays and for operators; the oldest are dropped.
const VERSIONS_KEPT: usize = 64;

/// The versions, each by the offset of its record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyVersions(BTreeMap<u64, Arc<PolicyChange>>);

impl PolicyVersions {
    /// The policy that decides the record at `offset`; `None` before the first version.
    pub fn at(&self, offset: u64) -> Option<&Policy> {
        self.0.range(..offset).next_back().map(|(_, change)| &change.policy)
    }

    /// Takes the version in the record at `offset` of this shard, if its number is valid: on
    /// [`POLICY_SHARD`] the next number, on the other shards any higher one. So if two changes are
    /// made at the same time, every shard takes only one of them. Only the versions before `offset`
    /// are compared, so a replay takes the same versions again. Returns false if the version was
    /// not taken.
    ///
    /// The protocol version never falls: the taken policy keeps that of the version before it, if
    /// that one is higher.
    pub fn take(&mut self, shard: ShardId, offset: u64, mut change: Arc<PolicyChange>) -> bool {
        let before = self.0.range(..offset).next_back();
        let (newest, protocol) = before.map_or((0, 0), |(_, before)| (before.version, before.policy.protocol_version));
        let its_turn = if shard == POLICY_SHARD { change.version == newest + 1 } else { change.version > newest };
        if its_turn && !self.0.contains_key(&offset) {
            if change.policy.protocol_version < protocol {
                Arc::make_mut(&mut change).policy.protocol_version = protocol;
            }
            self.insert(offset, change);
        }
        its_turn
    }

    /// Puts a version at the offset where it was taken.
    pub fn insert(&mut self, offset: u64, change: Arc<PolicyChange>) {
        self.0.insert(offset, change);
        while self.0.len() > VERSIONS_KEPT {
            self.0.pop_first();
        }
    }

    /// Drops the oldest version, unless it is the only one. Returns false if nothing was dropped.
    pub fn drop_oldest(&mut self) -> bool {
        self.0.len() > 1 && self.0.pop_first().is_some()
    }

    /// All versions, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Arc<PolicyChange>)> {
        self.0.iter().map(|(offset, change)| (*offset, change))
    }

    /// The newest version, if there is one.
    pub fn newest(&self) -> Option<&Arc<PolicyChange>> {
        self.0.values().next_back()
    }
}
