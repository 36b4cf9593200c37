//! The directory of merchants, as read from `order-states`: the content of each entry on the shard
//! that decides, and the version that each shard has. The followers update it. The operators' API
//! answers from it, and waits on it for the decisions on changes.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use tokio::sync::watch;
use twqr_order::{Directory, ListingChange, ListingKey, POLICY_SHARD};

/// One entry of the directory.
#[derive(Clone, Debug)]
pub(crate) struct TrackedListing {
    /// The newest version on the shard that decides; `None` if only another shard's was read yet.
    pub(crate) newest: Option<Arc<ListingChange>>,
    /// The version that each shard has, by its number; 0 for a shard that has none.
    versions: Box<[u64]>,
}

impl TrackedListing {
    /// The number of the newest version; 0 if there is none.
    pub(crate) fn version(&self) -> u64 {
        self.newest.as_ref().map_or(0, |newest| newest.version)
    }

    /// The shards that have an older version than the shard that decides, with their versions.
    pub(crate) fn behind(&self) -> impl Iterator<Item = (u32, u64)> {
        let newest = self.version();
        (0..).zip(self.versions.iter().copied()).filter(move |(_, version)| *version < newest)
    }
}

/// The directory of every shard, shared by the followers and the operators' API.
#[derive(Debug)]
pub(crate) struct TrackedDirectory {
    shards: u32,
    entries: RwLock<BTreeMap<ListingKey, TrackedListing>>,
    /// Changes with every update of the shard that decides.
    updates: watch::Sender<()>,
}

impl TrackedDirectory {
    pub(crate) fn new(shards: u32) -> Self {
        Self { shards, entries: RwLock::default(), updates: watch::Sender::new(()) }
    }

    /// Takes versions that a shard has, unless it has newer ones.
    pub(crate) fn update(&self, shard: u32, changes: &[Arc<ListingChange>]) {
        if changes.is_empty() {
            return;
        }
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        let none = || TrackedListing { newest: None, versions: vec![0; self.shards as usize].into() };
        for change in changes {
            let entry = entries.entry(change.key.clone()).or_insert_with(none);
            if let Some(version) = entry.versions.get_mut(shard as usize) {
                *version = change.version.max(*version);
            }
            if shard == u32::from(POLICY_SHARD.0) && change.version >= entry.version() {
                entry.newest = Some(change.clone());
            }
        }
        drop(entries);
        if shard == u32::from(POLICY_SHARD.0) {
            self.updates.send_replace(());
        }
    }

    fn entries(&self) -> RwLockReadGuard<'_, BTreeMap<ListingKey, TrackedListing>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entries after `after` that `select` accepts, in the order of their keys, at most `max`.
    pub(crate) fn page(
        &self,
        after: Option<&ListingKey>,
        max: usize,
        select: impl Fn(&TrackedListing) -> bool,
    ) -> Vec<TrackedListing> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let entries = self.entries();
        let range = entries.range((from, Bound::Unbounded)).map(|(_, entry)| entry);
        range.filter(|entry| select(entry)).take(max).cloned().collect()
    }

    /// One entry; `None` if no shard has it.
    pub(crate) fn get(&self, key: &ListingKey) -> Option<TrackedListing> {
        self.entries().get(key).cloned()
    }

    /// The newest version of an entry; `None` if it was never listed.
    pub(crate) fn newest(&self, key: &ListingKey) -> Option<Arc<ListingChange>> {
        self.entries().get(key)?.newest.clone()
    }

    /// Waits until the shard that decides has these versions, or newer ones.
    pub(crate) async fn wait_for(&self, changes: &[ListingChange]) {
        let mut updates = self.updates.subscribe();
        let has = |change: &ListingChange| self.newest(&change.key).is_some_and(|it| it.version >= change.version);
        while !changes.iter().all(has) {
            if updates.changed().await.is_err() {
                return;
            }
        }
    }

    /// The directory as it is now on the shard that decides.
    pub(crate) fn now(&self) -> Directory {
        let entries = self.entries();
        let listed = |entry: &TrackedListing| {
            let newest = entry.newest.as_ref()?;
            Some((newest.key.clone(), newest.listing.clone()?))
        };
        entries.values().filter_map(listed).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use twqr_order::{Listing, StoreListing};
    use twqr_types::{MerchantId, StoreId, UnixMs};

    use super::*;

    const SHARDS: u32 = 16;
    const STORES: u32 = 100_000;

    fn change(n: u32, version: u64) -> Arc<ListingChange> {
        let key = ListingKey {
            merchant_id: MerchantId::parse(format!("M{}", n / 10)).unwrap(),
            store_id: StoreId::parse(format!("store-{n}")).ok(),
        };
        let listing = Some(Listing::Store(StoreListing { payment_max: Some(5_000), is_open: true }));
        let (who, why) = ("alice".into(), "the stores of the new system".into());
        Arc::new(ListingChange { key, version, listing, who, why, at: UnixMs(0) })
    }

    /// The memory of this process, in bytes.
    fn resident_bytes() -> u64 {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: u64 = pages.split(' ').nth(1).unwrap().parse().unwrap();
        pages * 4_096
    }

    #[test]
    fn every_store_is_known_once_with_the_version_of_each_shard() {
        let (directory, before) = (TrackedDirectory::new(SHARDS), resident_bytes());
        let all: Vec<Arc<ListingChange>> = (0..STORES).map(|n| change(n, 1)).collect();
        (0..SHARDS).for_each(|shard| directory.update(shard, &all));
        let bytes = resident_bytes().saturating_sub(before);
        println!("{STORES} stores on {SHARDS} shards have {} bytes each in memory", bytes / u64::from(STORES));
        let behind = |entry: &TrackedListing| entry.behind().next().is_some();
        assert_eq!(directory.page(None, usize::MAX, |_| true).len(), STORES as usize);
        assert!(directory.page(None, 1, behind).is_empty());
        directory.update(0, &[change(7, 3)]);
        directory.update(1, &[change(7, 2)]);
        directory.update(0, &[change(7, 2)]);
        let found = directory.page(None, 2, behind);
        assert_eq!((found.len(), found[0].version()), (1, 3), "an older state that is read late changes nothing");
        let versions: Vec<u64> = found[0].behind().map(|(_, version)| version).collect();
        assert_eq!((versions.len(), versions[0], versions[1]), (SHARDS as usize - 1, 2, 1));
    }
}
