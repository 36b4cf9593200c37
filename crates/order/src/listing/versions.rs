//! The versions of one entry of the directory, as a shard has had them.

use std::sync::Arc;

use twqr_types::ShardId;

use super::{Listing, ListingChange};
use crate::POLICY_SHARD;

/// How many versions of an entry are kept at most, so that they fit into one record;
/// [`ListingVersions::drop_surplus`] drops the oldest.
const VERSIONS_KEPT: usize = 128;

/// The versions of one entry, each by the offset of its record, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListingVersions(Vec<(u64, Arc<ListingChange>)>);

impl ListingVersions {
    /// The content that decides the record at `offset`; `None` if the entry is not listed there.
    pub fn at(&self, offset: u64) -> Option<&Listing> {
        self.before(offset)?.listing.as_ref()
    }

    fn before(&self, offset: u64) -> Option<&ListingChange> {
        let end = self.0.partition_point(|(from, _)| *from < offset);
        self.0[..end].last().map(|(_, change)| &**change)
    }

    /// Takes the version in the record at `offset` of this shard, if its number is valid: on
    /// [`POLICY_SHARD`] the next number, on the other shards any higher one. Only the versions
    /// before `offset` are compared, so a replay takes the same versions again. Returns false if
    /// the version was not taken.
    pub fn take(&mut self, shard: ShardId, offset: u64, change: Arc<ListingChange>) -> bool {
        let newest = self.before(offset).map_or(0, |before| before.version);
        let its_turn = if shard == POLICY_SHARD { change.version == newest + 1 } else { change.version > newest };
        if its_turn {
            self.insert(offset, change);
        }
        its_turn
    }

    /// Puts a version at the offset where it was taken, unless there is one.
    pub fn insert(&mut self, offset: u64, change: Arc<ListingChange>) {
        let Err(place) = self.0.binary_search_by_key(&offset, |(from, _)| *from) else { return };
        self.0.insert(place, (offset, change));
    }

    /// Drops the versions that no replay from `position` or from a later position needs: all before
    /// the one in force there.
    pub fn forget_before(&mut self, position: u64) {
        let end = self.0.partition_point(|(from, _)| *from < position);
        self.0.drain(..end.saturating_sub(1));
    }

    /// Drops the oldest versions until few are left. A replay takes the versions behind its start
    /// from the log again, so only the one in force there must stay: for a replay from each of
    /// these positions. The newest stays, too.
    pub fn drop_surplus(&mut self, replay_starts: &[u64]) {
        let in_force = replay_starts.iter().map(|start| self.0.partition_point(|(from, _)| from < start));
        let needed: Vec<u64> =
            in_force.chain([self.0.len()]).filter_map(|end| self.0[..end].last().map(|(from, _)| *from)).collect();
        while self.0.len() > VERSIONS_KEPT {
            let Some(oldest) = self.0.iter().position(|(from, _)| !needed.contains(from)) else { return };
            self.0.remove(oldest);
        }
    }

    /// All versions that are kept, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Arc<ListingChange>)> {
        self.0.iter().map(|(offset, change)| (*offset, change))
    }

    /// The newest version; `None` if the entry was never listed.
    pub fn newest(&self) -> Option<&Arc<ListingChange>> {
        self.0.last().map(|(_, change)| change)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use twqr_types::{MerchantId, UnixMs};

    use super::*;
    use crate::{ListingKey, StoreListing};

    fn change(version: u64) -> Arc<ListingChange> {
        let key = ListingKey { merchant_id: MerchantId::parse("M1".to_owned()).unwrap(), store_id: None };
        let listing = Some(Listing::Store(StoreListing { payment_max: Some(version.cast_signed()), is_open: true }));
        Arc::new(ListingChange { key, version, listing, who: "w".into(), why: "y".into(), at: UnixMs(0) })
    }

    fn version_at(versions: &ListingVersions, offset: u64) -> u64 {
        versions.before(offset).map_or(0, |change| change.version)
    }

    #[test]
    fn a_record_is_decided_by_the_versions_before_it_also_after_later_ones_are_known() {
        let mut versions = ListingVersions::default();
        let changes = [(3, 1, true), (5, 1, false), (6, 3, false), (7, 2, true), (8, 2, false)];
        for replay in 0..2 {
            for (offset, version, taken) in changes {
                assert_eq!(versions.take(POLICY_SHARD, offset, change(version)), taken, "{replay}: {offset}");
            }
        }
        let found: Vec<u64> = (3..9).map(|offset| version_at(&versions, offset)).collect();
        assert_eq!(found, [0, 1, 1, 1, 1, 2]);
    }

    #[test]
    fn other_shards_take_every_higher_version() {
        let mut versions = ListingVersions::default();
        for (offset, version, taken) in [(5, 2, true), (6, 1, false), (7, 2, false), (8, 4, true), (9, 3, false)] {
            assert_eq!(versions.take(ShardId(1), offset, change(version)), taken, "{version} at {offset}");
        }
        assert_eq!(versions.newest().unwrap().version, 4);
    }

    #[test]
    fn what_a_replay_needs_is_kept() {
        let all = || {
            let mut versions = ListingVersions::default();
            (1..=4).for_each(|version| versions.insert(version * 10, change(version)));
            versions
        };
        for (position, kept) in [(0, 4), (10, 4), (11, 4), (20, 4), (21, 3), (30, 3), (35, 2), (41, 1), (99, 1)] {
            let mut versions = all();
            versions.forget_before(position);
            assert_eq!(versions.iter().count(), kept, "{position}");
            for offset in position..60 {
                assert_eq!(version_at(&versions, offset), version_at(&all(), offset), "{position}: {offset}");
            }
        }
    }

    /// Fails if `drop_surplus` drops the oldest versions whatever the replays need.
    #[test]
    fn a_limited_number_of_versions_is_kept_and_a_replay_still_takes_all_of_them() {
        for starts in [vec![], vec![0], vec![300], vec![300, 700], vec![5_000]] {
            let mut versions = ListingVersions::default();
            (1..=1_000).for_each(|version| versions.insert(version, change(version)));
            versions.drop_surplus(&starts);
            assert_eq!((versions.iter().count(), version_at(&versions, 1_001)), (VERSIONS_KEPT, 1_000), "{starts:?}");
            for start in starts {
                let mut replayed = versions.clone();
                for offset in start..=1_000 {
                    assert_eq!(version_at(&replayed, offset), offset.saturating_sub(1), "{start}: {offset}");
                    assert_eq!(replayed.take(POLICY_SHARD, offset, change(offset)), offset > 0, "{start}: {offset}");
                }
            }
        }
    }
}
