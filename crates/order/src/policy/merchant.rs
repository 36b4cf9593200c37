//! The merchants that the policy itself lists: their stores, their limits, and the names of the
//! keys that are accepted. The keys themselves are secrets, and are not in the policy.

use std::collections::BTreeSet;

use twqr_types::{KeyName, MerchantId, StatusCode, StoreId};

use crate::{Listings, StoreListing};

/// A merchant that may be paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merchant {
    /// The merchant's MerchantID.
    pub id: MerchantId,
    /// The merchant's stores; if the list is empty, every StoreID is accepted.
    pub stores: Vec<Store>,
    /// The names of the merchant's keys that are accepted; if the list is empty, every key that the
    /// ingresses have.
    pub keys: Vec<KeyName>,
    /// The largest payment in whole TWD, 1 or more; `None` is no limit.
    pub payment_max: Option<i64>,
    /// Whether the merchant takes payments and refunds. Cancels are always taken.
    pub is_open: bool,
}

/// A store of a merchant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The store's StoreID.
    pub id: StoreId,
    /// The largest payment in whole TWD, 1 or more; `None` is no limit.
    pub payment_max: Option<i64>,
    /// Whether the store takes payments and refunds.
    pub is_open: bool,
}

/// The conditions for one merchant and one store.
pub(super) struct Conditions {
    merchant_payment_max: Option<i64>,
    is_merchant_open: bool,
    /// Whether a store that is not listed is accepted.
    takes_any_store: bool,
    /// The store, if it is listed.
    store: Option<StoreListing>,
}

impl Conditions {
    /// The conditions of a merchant in the policy.
    pub(super) fn of_merchant(merchant: &Merchant, store_id: &StoreId) -> Self {
        let store = merchant.stores.iter().find(|store| store.id == *store_id);
        Self {
            merchant_payment_max: merchant.payment_max,
            is_merchant_open: merchant.is_open,
            takes_any_store: merchant.stores.is_empty(),
            store: store.map(|store| StoreListing { payment_max: store.payment_max, is_open: store.is_open }),
        }
    }

    /// The conditions in the directory; `None` if the merchant is not listed.
    pub(super) fn of_listings(listings: Listings<'_>) -> Option<Self> {
        listings.merchant.map(|merchant| Self {
            merchant_payment_max: merchant.payment_max,
            is_merchant_open: merchant.is_open,
            takes_any_store: merchant.takes_any_store,
            store: listings.store,
        })
    }

    /// The StatusCode and StatusDesc that refuse every payment and refund at this store, if it is
    /// closed or unknown.
    pub(super) fn closed(&self) -> Option<(StatusCode, &'static str)> {
        match self.store {
            None if !self.takes_any_store => {
                Some((StatusCode::NOT_A_PARTNER_STORE, "the store is none of the merchant's"))
            }
            _ if !self.is_merchant_open => Some((StatusCode::STORE_CLOSED, "the merchant is closed")),
            Some(store) if !store.is_open => Some((StatusCode::STORE_CLOSED, "the store is closed")),
            Some(_) | None => None,
        }
    }

    /// The StatusCode and StatusDesc that refuse a payment of this amount (whole TWD), if it is
    /// over a limit.
    pub(super) fn over_limit(&self, amount: i64) -> Option<(StatusCode, &'static str)> {
        let above = |limit: Option<i64>| limit.is_some_and(|limit| amount > limit);
        if above(self.merchant_payment_max) {
            return Some((StatusCode::AMOUNT_OVER_LIMIT, "the amount is over the merchant's limit"));
        }
        above(self.store?.payment_max).then_some((StatusCode::STORE_LIMIT, "the amount is over the store's limit"))
    }
}

impl Merchant {
    /// Lists everything that is wrong with the merchant, as place and problem.
    pub(super) fn faults(&self) -> Vec<(String, String)> {
        let limits = self.stores.iter().enumerate();
        let limits = limits.map(|(i, store)| (format!("stores[{i}].payment_max"), store.payment_max));
        let low = |(place, limit): (String, Option<i64>)| {
            let limit = limit.filter(|limit| *limit < 1)?;
            Some((place, format!("is {limit}, must be 1 or more (whole TWD)")))
        };
        let mut faults: Vec<_> = limits.chain([("payment_max".to_owned(), self.payment_max)]).filter_map(low).collect();
        let (mut stores, mut keys) = (BTreeSet::new(), BTreeSet::new());
        for (i, store) in self.stores.iter().enumerate() {
            if !stores.insert(&store.id) {
                faults.push((format!("stores[{i}].id"), format!("{:?} is in the list twice", store.id.as_str())));
            }
        }
        for (i, key) in self.keys.iter().enumerate() {
            if !keys.insert(key) {
                faults.push((format!("keys[{i}]"), format!("{:?} is in the list twice", key.as_str())));
            }
        }
        faults
    }
}
