//! The directory of merchants: which merchants and stores may be paid, apart from the policy's
//! rules. Each entry, a listing, is changed by a record of its own, so that a change of one store
//! among 100,000 is one small record on each shard.
//!
//! As with the policy, a record is decided by the listings in force at its own offset (protocol
//! rule P7). So an entry keeps its earlier versions for as long as a replay may need them.

mod versions;

use std::collections::{BTreeMap, BTreeSet};

use twqr_types::{KeyName, MerchantId, StoreId, UnixMs};

pub use versions::ListingVersions;

/// The most names of keys in one listing.
const KEYS_MAX: usize = 32;

/// The subject of an entry of the directory: a merchant, or one of its stores.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListingKey {
    /// The merchant's MerchantID.
    pub merchant_id: MerchantId,
    /// The store's StoreID; `None` for the merchant itself.
    pub store_id: Option<StoreId>,
}

impl ListingKey {
    /// The key as bytes. It is unambiguous, since neither part may contain a control character.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.merchant_id.as_str().as_bytes().to_vec();
        if let Some(store_id) = &self.store_id {
            bytes.push(0);
            bytes.extend_from_slice(store_id.as_str().as_bytes());
        }
        bytes
    }
}

impl std::fmt::Display for ListingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.store_id {
            Some(store_id) => write!(f, "{}/{store_id}", self.merchant_id),
            None => write!(f, "{}", self.merchant_id),
        }
    }
}

/// An entry of the directory. A store counts only while its merchant is listed, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listing {
    /// A merchant, without its stores.
    Merchant(MerchantListing),
    /// A store of a merchant.
    Store(StoreListing),
}

/// The conditions under which a merchant may be paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MerchantListing {
    /// The names of the merchant's keys that are accepted; if the list is empty, every key that the
    /// ingresses have. At most 32.
    pub keys: Vec<KeyName>,
    /// The largest payment in whole TWD, 1 or more; `None` is no limit.
    pub payment_max: Option<i64>,
    /// Whether the merchant takes payments and refunds. Cancels are always taken.
    pub is_open: bool,
    /// Whether a StoreID that is not listed is accepted, too.
    pub takes_any_store: bool,
}

/// The conditions under which a store may be paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreListing {
    /// The largest payment in whole TWD, 1 or more; `None` is no limit.
    pub payment_max: Option<i64>,
    /// Whether the store takes payments and refunds.
    pub is_open: bool,
}

impl Listing {
    /// Returns the first thing that is wrong with the listing, and what is allowed.
    pub fn fault(&self) -> Option<String> {
        let limit = match self {
            Self::Merchant(merchant) => merchant.payment_max,
            Self::Store(store) => store.payment_max,
        };
        if let Some(limit) = limit.filter(|limit| *limit < 1) {
            return Some(format!("payment_max is {limit}, must be 1 or more (whole TWD)"));
        }
        let Self::Merchant(MerchantListing { keys, .. }) = self else { return None };
        if keys.len() > KEYS_MAX {
            return Some(format!("keys has {} names, must have at most {KEYS_MAX}", keys.len()));
        }
        let mut names = BTreeSet::new();
        let twice = keys.iter().find(|name| !names.insert(*name))?;
        Some(format!("keys names {:?} twice", twice.as_str()))
    }
}

/// A new version of one entry of the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListingChange {
    /// The merchant or store.
    pub key: ListingKey,
    /// The version of this entry, from 1. Shard 0 takes a version only if its number is the next
    /// one; the other shards follow shard 0.
    pub version: u64,
    /// The new content, of the kind that `key` names; `None` takes the entry out of the directory.
    pub listing: Option<Listing>,
    /// Who changed it, for people.
    pub who: Box<str>,
    /// The reason, for people.
    pub why: Box<str>,
    /// When it was changed, by the clock of the process that made the change.
    pub at: UnixMs,
}

/// The directory's listings of the merchant and the store of one record.
#[derive(Clone, Copy, Debug, Default)]
pub struct Listings<'a> {
    /// The merchant; `None` if it is not listed.
    pub merchant: Option<&'a MerchantListing>,
    /// The store; `None` if it is not listed.
    pub store: Option<StoreListing>,
}

impl<'a> Listings<'a> {
    /// Looks up the merchant and the store; `find` returns an entry that is in force.
    pub fn find(
        merchant_id: &MerchantId,
        store_id: Option<&StoreId>,
        find: impl Fn(&ListingKey) -> Option<&'a Listing>,
    ) -> Self {
        let mut key = ListingKey { merchant_id: merchant_id.clone(), store_id: None };
        let merchant = match find(&key) {
            Some(Listing::Merchant(merchant)) => Some(merchant),
            Some(Listing::Store(_)) | None => None,
        };
        key.store_id = store_id.cloned();
        let store = match key.store_id.is_some().then(|| find(&key)).flatten() {
            Some(Listing::Store(store)) => Some(*store),
            Some(Listing::Merchant(_)) | None => None,
        };
        Self { merchant, store }
    }
}

/// A directory as it is at one moment.
#[derive(Clone, Debug, Default)]
pub struct Directory(BTreeMap<ListingKey, Listing>);

impl FromIterator<(ListingKey, Listing)> for Directory {
    fn from_iter<T: IntoIterator<Item = (ListingKey, Listing)>>(entries: T) -> Self {
        Self(entries.into_iter().collect())
    }
}

impl Directory {
    /// The directory's listings of this merchant and this store.
    pub fn listings(&self, merchant_id: &MerchantId, store_id: Option<&StoreId>) -> Listings<'_> {
        Listings::find(merchant_id, store_id, |key| self.0.get(key))
    }
}
