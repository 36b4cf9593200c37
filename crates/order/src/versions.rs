//! The records of a shard that concern all of its orders: the versions of the policy and the
//! closings of the books (protocol rule P7). A record is decided by those before its own offset,
//! also when it is replayed from a later checkpoint.
//!
//! A checkpoint may be torn: then a replay has states that are newer than the marker where it
//! begins. It takes every version behind the marker from the log again, so it needs only the one
//! that is in force at the marker. That one is never dropped.

use std::{collections::BTreeMap, sync::Arc};

use twqr_types::{ShardId, UnixMs};

use crate::{Closings, Listings, Policy, PolicyChange, replay_starts::needed_by};

/// The shard whose log decides which version is next; all other shards follow it.
pub const POLICY_SHARD: ShardId = ShardId(0);
/// How many versions are kept for replays and for operators; [`PolicyVersions::drop_surplus`] drops
/// the oldest.
const VERSIONS_KEPT: usize = 64;

/// The versions, each by the offset of its record, and the closings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyVersions {
    versions: BTreeMap<u64, Arc<PolicyChange>>,
    /// The closings of the shard's books.
    pub closings: Closings,
}

/// The rules that decide a record, besides the state of its order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules<'a> {
    /// The policy in force; `None` before the first version.
    pub policy: Option<&'a Policy>,
    /// The directory's listings of the record's merchant and store. They count only if the policy
    /// says so.
    pub listings: Listings<'a>,
    /// The time up to which the shard's books are closed; `None` if they never were.
    pub closed_until: Option<UnixMs>,
}

impl<'a> From<Option<&'a Policy>> for Rules<'a> {
    fn from(policy: Option<&'a Policy>) -> Self {
        Self { policy, ..Self::default() }
    }
}

impl PolicyVersions {
    /// The rules that decide the record at `offset`, without listings.
    pub fn rules_at(&self, offset: u64) -> Rules<'_> {
        let (policy, closed_until) = (self.at(offset), self.closings.closed_until(offset));
        Rules { policy, closed_until, ..Rules::default() }
    }

    /// Takes the closing up to `until` in the record at `offset`, written at `at`: see
    /// [`Closings::take`].
    pub fn close_books(&mut self, offset: u64, at: UnixMs, until: UnixMs) -> bool {
        let policy = self.versions.range(..offset).next_back().map(|(_, change)| &change.policy);
        self.closings.take(offset, at, until, policy)
    }

    /// The policy that decides the record at `offset`; `None` before the first version.
    pub fn at(&self, offset: u64) -> Option<&Policy> {
        self.versions.range(..offset).next_back().map(|(_, change)| &change.policy)
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
        let before = self.versions.range(..offset).next_back();
        let (newest, protocol) = before.map_or((0, 0), |(_, before)| (before.version, before.policy.protocol_version));
        let its_turn = if shard == POLICY_SHARD { change.version == newest + 1 } else { change.version > newest };
        if its_turn && !self.versions.contains_key(&offset) {
            if change.policy.protocol_version < protocol {
                Arc::make_mut(&mut change).policy.protocol_version = protocol;
            }
            self.insert(offset, change);
        }
        its_turn
    }

    /// Puts a version at the offset where it was taken.
    pub fn insert(&mut self, offset: u64, change: Arc<PolicyChange>) {
        self.versions.insert(offset, change);
    }

    /// Drops the oldest versions until few are left and they `fit`, and the oldest closings until
    /// few are left. What a replay from one of these positions needs stays, and so does the newest.
    pub fn drop_surplus(&mut self, replay_starts: &[u64], fit: impl Fn(&Self) -> bool) {
        let needed = needed_by(&self.versions, replay_starts);
        while self.versions.len() > VERSIONS_KEPT || !fit(self) {
            let Some(oldest) = self.versions.keys().find(|offset| !needed.contains(*offset)).copied() else { break };
            self.versions.remove(&oldest);
        }
        self.closings.drop_surplus(replay_starts);
    }

    /// All versions, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Arc<PolicyChange>)> {
        self.versions.iter().map(|(offset, change)| (*offset, change))
    }

    /// The newest version, if there is one.
    pub fn newest(&self) -> Option<&Arc<PolicyChange>> {
        self.versions.values().next_back()
    }
}
