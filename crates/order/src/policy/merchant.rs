//! Who may be paid: merchants, their stores, their limits, and which of their keys count. The keys
//! themselves are secrets, and elsewhere.

use std::collections::BTreeSet;

use twqr_types::{KeyName, MerchantId, StatusCode, StoreId};

/// A merchant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merchant {
    /// MerchantID.
    pub id: MerchantId,
    /// Its stores; empty: every StoreID.
    pub stores: Vec<Store>,
    /// Which of its keys count, by name; empty: each that the ingresses have.
    pub keys: Vec<KeyName>,
    /// The largest payment, in whole TWD: 1 and more; none: no limit.
    pub payment_max: Option<i64>,
    /// Whether it takes payments and refunds at all; cancels it always takes.
    pub is_open: bool,
}

/// A store of a merchant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// StoreID.
    pub id: StoreId,
    /// The largest payment, in whole TWD: 1 and more; none: no limit.
    pub payment_max: Option<i64>,
    /// Whether it takes payments and refunds.
    pub is_open: bool,
}

impl Merchant {
    fn store(&self, id: &StoreId) -> Option<&Store> {
        self.stores.iter().find(|store| store.id == *id)
    }

    /// StatusCode and StatusDesc with which a payment or a refund at this store is refused, if it
    /// is.
    pub(crate) fn closed(&self, store_id: &StoreId) -> Option<(StatusCode, &'static str)> {
        let store = self.store(store_id);
        match store {
            None if !self.stores.is_empty() => {
                Some((StatusCode::NOT_A_PARTNER_STORE, "the store is none of the merchant's"))
            }
            _ if !self.is_open => Some((StatusCode::STORE_CLOSED, "the merchant is closed")),
            Some(store) if !store.is_open => Some((StatusCode::STORE_CLOSED, "the store is closed")),
            Some(_) | None => None,
        }
    }

    /// The same for a payment of this amount in whole TWD.
    pub(crate) fn over_limit(&self, store_id: &StoreId, amount: i64) -> Option<(StatusCode, &'static str)> {
        let above = |limit: Option<i64>| limit.is_some_and(|limit| amount > limit);
        if above(self.payment_max) {
            return Some((StatusCode::AMOUNT_OVER_LIMIT, "the amount is over the merchant's limit"));
        }
        above(self.store(store_id)?.payment_max)
            .then_some((StatusCode::STORE_LIMIT, "the amount is over the store's limit"))
    }

    /// Place and problem of everything that is wrong with it.
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
                faults.push((format!("stores[{i}].id"), format!("{:?} stands there already", store.id.as_str())));
            }
        }
        for (i, key) in self.keys.iter().enumerate() {
            if !keys.insert(key) {
                faults.push((format!("keys[{i}]"), format!("{:?} stands there already", key.as_str())));
            }
        }
        faults
    }
}

impl super::Policy {
    /// Whether a merchant's key with this name counts.
    pub(crate) fn key_counts(&self, merchant_id: &MerchantId, name: &KeyName) -> bool {
        self.merchant(merchant_id).is_none_or(|merchant| merchant.keys.is_empty() || merchant.keys.contains(name))
    }

    /// StatusCode and StatusDesc with which merchant or store refuse a payment (`amount` in whole
    /// TWD) or a refund (none), if they do.
    pub(crate) fn merchant_refusal(
        &self,
        merchant_id: &MerchantId,
        store_id: &StoreId,
        amount: Option<i64>,
    ) -> Option<(StatusCode, &'static str)> {
        if self.merchants.is_empty() {
            return None;
        }
        let Some(merchant) = self.merchant(merchant_id) else {
            return Some((StatusCode::NOT_A_PARTNER_STORE, "the merchant is not known"));
        };
        merchant.closed(store_id).or_else(|| merchant.over_limit(store_id, amount?))
    }
}
