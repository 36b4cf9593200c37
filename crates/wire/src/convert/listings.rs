//! The directory of merchants: changes of its entries, and the versions that a shard has had.

use std::sync::Arc;

use prost::Message;
use twqr_order::{Listing, ListingChange, ListingKey, ListingVersions, MerchantListing, StoreListing};
use twqr_types::{KeyName, MerchantId, StoreId, UnixMs};

use super::fault::{RecordFault, need};
use crate::bus::{self, listing_change::Listing as ListingBody};

/// Encodes a change of an entry.
pub(crate) fn listing_change_out(change: &ListingChange) -> bus::ListingChange {
    bus::ListingChange {
        merchant_id: change.key.merchant_id.as_str().to_owned(),
        store_id: change.key.store_id.as_ref().map(|store_id| store_id.as_str().to_owned()),
        version: change.version,
        listing: change.listing.as_ref().map(listing_out),
        who: change.who.to_string(),
        why: change.why.to_string(),
        at_ms: change.at.0,
    }
}

/// Decodes a change of an entry. A listing that is invalid, or of another kind than its key, is a
/// fault.
pub(crate) fn listing_change_from(change: bus::ListingChange) -> Result<ListingChange, RecordFault> {
    let invalid = RecordFault::invalid;
    let store_id = change.store_id.map(StoreId::parse).transpose().map_err(invalid("store_id"))?;
    let listing = change.listing.map(listing_from).transpose()?;
    let is_store = |listing: &Listing| matches!(listing, Listing::Store(_));
    if listing.as_ref().is_some_and(|listing| is_store(listing) != store_id.is_some()) {
        let problem = "a merchant's listing has no store_id, and a store's has one".to_owned();
        return Err(RecordFault::Invalid { field: "listing", problem });
    }
    Ok(ListingChange {
        key: ListingKey {
            merchant_id: MerchantId::parse(change.merchant_id).map_err(invalid("merchant_id"))?,
            store_id,
        },
        version: change.version,
        listing,
        who: change.who.into(),
        why: change.why.into(),
        at: UnixMs(change.at_ms),
    })
}

fn listing_out(listing: &Listing) -> ListingBody {
    match listing {
        Listing::Merchant(merchant) => ListingBody::Merchant(bus::MerchantListing {
            payment_max: merchant.payment_max.unwrap_or_default(),
            closed: !merchant.is_open,
            keys: merchant.keys.iter().map(|key| key.as_str().to_owned()).collect(),
            any_store: merchant.takes_any_store,
        }),
        Listing::Store(store) => ListingBody::Store(bus::StoreListing {
            payment_max: store.payment_max.unwrap_or_default(),
            closed: !store.is_open,
        }),
    }
}

fn listing_from(listing: ListingBody) -> Result<Listing, RecordFault> {
    let limit = |most: i64| (most != 0).then_some(most);
    let key = |name: String| KeyName::parse(name).map_err(RecordFault::invalid("keys"));
    let listing = match listing {
        ListingBody::Merchant(merchant) => Listing::Merchant(MerchantListing {
            keys: merchant.keys.into_iter().map(key).collect::<Result<_, RecordFault>>()?,
            payment_max: limit(merchant.payment_max),
            is_open: !merchant.closed,
            takes_any_store: merchant.any_store,
        }),
        ListingBody::Store(store) => {
            Listing::Store(StoreListing { payment_max: limit(store.payment_max), is_open: !store.closed })
        }
    };
    listing.fault().map_or(Ok(listing), |problem| Err(RecordFault::Invalid { field: "listing", problem }))
}

/// Encodes the versions of an entry.
pub(crate) fn listing_versions_out(versions: &ListingVersions) -> bus::ListingVersions {
    let version = |(from_offset, change): (u64, &Arc<ListingChange>)| bus::ListingVersion {
        from_offset,
        change: Some(listing_change_out(change)),
    };
    bus::ListingVersions { versions: versions.iter().map(version).collect() }
}

/// Decodes the versions of an entry; there is at least one, and all are of the same entry.
pub(crate) fn listing_versions_from(listing: bus::ListingVersions) -> Result<ListingVersions, RecordFault> {
    let mut versions = ListingVersions::default();
    for version in listing.versions {
        let change = listing_change_from(need(version.change, "change")?)?;
        if versions.newest().is_some_and(|newest| newest.key != change.key) {
            let problem = "has versions of several entries".to_owned();
            return Err(RecordFault::Invalid { field: "listing", problem });
        }
        versions.insert(version.from_offset, Arc::new(change));
    }
    if versions.newest().is_none() {
        return Err(RecordFault::Missing("versions"));
    }
    Ok(versions)
}

/// Writes a change of an entry, without the frame of a log record.
pub fn encode_listing_change(change: &ListingChange) -> Vec<u8> {
    listing_change_out(change).encode_to_vec()
}

/// Reads a change that [`encode_listing_change`] wrote.
pub fn decode_listing_change(bytes: &[u8]) -> Result<ListingChange, RecordFault> {
    listing_change_from(bus::ListingChange::decode(bytes).map_err(|_| RecordFault::NotProtobuf)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(store_id: Option<&str>, listing: impl Into<Option<ListingBody>>) -> bus::ListingChange {
        bus::ListingChange {
            merchant_id: "M".into(),
            store_id: store_id.map(str::to_owned),
            version: 3,
            listing: listing.into(),
            who: "w".into(),
            why: "y".into(),
            at_ms: 5,
        }
    }

    fn merchant(payment_max: i64, keys: &[&str]) -> ListingBody {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        ListingBody::Merchant(bus::MerchantListing { payment_max, closed: true, keys, any_store: true })
    }

    fn store(payment_max: i64) -> ListingBody {
        ListingBody::Store(bus::StoreListing { payment_max, closed: false })
    }

    #[test]
    fn a_change_is_the_same_after_encoding_and_decoding() {
        for change in [
            change(None, merchant(0, &["a", "b"])),
            change(None, None),
            change(Some(""), store(7)),
            change(Some("S"), None),
        ] {
            let read = listing_change_from(change.clone()).unwrap();
            assert_eq!(listing_change_out(&read), change);
            assert_eq!(decode_listing_change(&encode_listing_change(&read)), Ok(read));
        }
    }

    #[test]
    fn a_listing_that_is_invalid_or_of_another_kind_is_a_fault() {
        let many: Vec<String> = (0..33).map(|n| n.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for (name, change, expected) in [
            ("a store's", change(None, store(1)), "a merchant's listing has no store_id"),
            ("a merchant's", change(Some(""), merchant(1, &[])), "a merchant's listing has no store_id"),
            ("below 1", change(Some("S"), store(-1)), "payment_max is -1, must be 1 or more"),
            ("twice", change(None, merchant(1, &["a", "a"])), "keys names \"a\" twice"),
            ("too many", change(None, merchant(1, &many)), "keys has 33 names, must have at most 32"),
        ] {
            let fault = listing_change_from(change).unwrap_err().to_string();
            assert!(fault.contains(expected), "{name}: {fault}");
        }
    }
}
