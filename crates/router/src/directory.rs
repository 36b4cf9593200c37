//! The directory of merchants in the memory of a shard's owner. Entries are read from the local
//! store one by one, as records need them, so memory contains the recently used entries and not
//! 100,000 stores for each shard.

use std::{collections::HashMap, sync::Arc};

use twqr_order::{Command, ListingChange, ListingKey, ListingVersions, Listings, Policy, PolicyVersions, Rules};
use twqr_types::ShardId;

/// How many entries stay in memory after a batch, apart from those that the local store does not
/// have yet. An entry has a few hundred bytes.
const ENTRIES_MAX: usize = 8_192;

/// The entries in memory.
#[derive(Default)]
pub(crate) struct ShardDirectory {
    entries: HashMap<ListingKey, HotListing>,
    dirty: Vec<ListingKey>,
}

/// An entry in memory; one that was never listed has no versions.
#[derive(Default)]
struct HotListing {
    versions: ListingVersions,
    /// Whether it has changed since the last checkpoint was taken.
    dirty: bool,
    /// Whether it is in a checkpoint that is not in the local store yet.
    in_checkpoint: bool,
}

impl ShardDirectory {
    /// The entries that the record needs and memory does not have.
    pub(crate) fn missing(&self, command: &Command, policy_needs_them: bool) -> Vec<ListingKey> {
        let keys = if let Command::Listing(change) = command {
            vec![change.key.clone()]
        } else if policy_needs_them {
            needed(command)
        } else {
            Vec::new()
        };
        keys.into_iter().filter(|key| !self.entries.contains_key(key)).collect()
    }

    /// Adds what was read from the local store. An entry that is in memory may be newer.
    pub(crate) fn add_loaded(&mut self, loaded: HashMap<ListingKey, ListingVersions>) {
        for (key, versions) in loaded {
            self.entries.entry(key).or_insert_with(|| HotListing { versions, ..HotListing::default() });
        }
    }

    /// The rules that decide the record at `offset`, after its entries were loaded.
    pub(crate) fn rules_at<'a>(&'a self, offset: u64, command: &Command, versions: &'a PolicyVersions) -> Rules<'a> {
        let rules = versions.rules_at(offset);
        let listed = command.listed().filter(|_| rules.policy.is_some_and(Policy::uses_listings));
        let find = |key: &ListingKey| self.entries.get(key).and_then(|hot| hot.versions.at(offset));
        let listings = listed.map_or_else(Listings::default, |(merchant, store)| Listings::find(merchant, store, find));
        Rules { listings, ..rules }
    }

    /// Takes a version of an entry that was loaded; returns false if its number is not valid. Older
    /// versions may be dropped, but none that a replay from one of `replay_starts` needs.
    pub(crate) fn take(&mut self, shard: ShardId, offset: u64, change: &ListingChange, replay_starts: &[u64]) -> bool {
        let hot = self.entries.entry(change.key.clone()).or_default();
        let is_taken = hot.versions.take(shard, offset, Arc::new(change.clone()));
        if is_taken {
            hot.versions.drop_surplus(replay_starts);
        }
        if is_taken && !hot.dirty {
            hot.dirty = true;
            self.dirty.push(change.key.clone());
        }
        is_taken
    }

    pub(crate) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Takes the changed entries for a checkpoint, without the versions that no replay from
    /// `marker` or a later marker needs.
    pub(crate) fn take_dirty(&mut self, marker: u64) -> Vec<(ListingKey, ListingVersions)> {
        let mut taken = Vec::with_capacity(self.dirty.len());
        for key in std::mem::take(&mut self.dirty) {
            if let Some(hot) = self.entries.get_mut(&key) {
                hot.versions.forget_before(marker);
                (hot.dirty, hot.in_checkpoint) = (false, true);
                taken.push((key, hot.versions.clone()));
            }
        }
        taken
    }

    /// Notes that these entries are in the local store now.
    pub(crate) fn settle(&mut self, keys: &[ListingKey]) {
        for key in keys {
            if let Some(hot) = self.entries.get_mut(key) {
                hot.in_checkpoint = false;
            }
        }
        self.trim();
    }

    /// If there are too many entries, drops all that the local store has.
    pub(crate) fn trim(&mut self) {
        if self.entries.len() > ENTRIES_MAX {
            self.entries.retain(|_, hot| hot.dirty || hot.in_checkpoint);
        }
    }
}

/// The entries that decide the record: those of its merchant and of its store.
fn needed(command: &Command) -> Vec<ListingKey> {
    let Some((merchant_id, store_id)) = command.listed() else { return Vec::new() };
    let merchant = ListingKey { merchant_id: merchant_id.clone(), store_id: None };
    let store = store_id.map(|store_id| ListingKey { store_id: Some(store_id.clone()), ..merchant.clone() });
    [Some(merchant), store].into_iter().flatten().collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use twqr_order::{Listing, StoreListing};
    use twqr_types::{MerchantId, StoreId, UnixMs};

    use super::*;

    const STORES: u32 = 100_000;

    fn change(n: u32) -> ListingChange {
        let key = ListingKey {
            merchant_id: MerchantId::parse(format!("M{}", n / 10)).unwrap(),
            store_id: StoreId::parse(format!("store-{n}")).ok(),
        };
        let listing = Some(Listing::Store(StoreListing { payment_max: Some(5_000), is_open: true }));
        let (who, why) = ("alice".into(), "the stores of the new system".into());
        ListingChange { key, version: 1, listing, who, why, at: UnixMs(0) }
    }

    /// The memory of this process, in bytes.
    fn resident_bytes() -> u64 {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: u64 = pages.split(' ').nth(1).unwrap().parse().unwrap();
        pages * 4_096
    }

    #[test]
    fn memory_holds_what_is_not_stored_yet_and_a_limited_number_of_other_entries() {
        let (mut directory, before) = (ShardDirectory::default(), resident_bytes());
        for n in 0..STORES {
            assert!(directory.take(ShardId(0), u64::from(n), &change(n), &[0]));
        }
        let bytes = resident_bytes().saturating_sub(before);
        println!("{STORES} stores that were just imported have {} bytes each in memory", bytes / u64::from(STORES));
        directory.trim();
        assert_eq!(directory.entries.len(), STORES as usize, "the local store does not have them yet");
        let taken: Vec<ListingKey> = directory.take_dirty(0).into_iter().map(|(key, _)| key).collect();
        directory.trim();
        assert_eq!((directory.entries.len(), directory.is_dirty()), (STORES as usize, false));
        directory.settle(&taken);
        assert!(directory.entries.len() <= ENTRIES_MAX, "{} entries", directory.entries.len());
        let loaded = (0..STORES).map(|n| (change(n).key, ListingVersions::default()));
        directory.add_loaded(loaded.take(ENTRIES_MAX).collect());
        directory.trim();
        assert_eq!(directory.entries.len(), ENTRIES_MAX, "these stay");
        assert!(directory.take(ShardId(0), 9, &change(STORES), &[0]), "one is new");
        directory.trim();
        assert_eq!(directory.entries.len(), 1, "only what is not stored stays");
    }
}
