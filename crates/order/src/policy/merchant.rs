//! The merchants that may be paid: their stores, their limits, and the names of the keys that are
//! accepted. The keys themselves are secrets, and are not in the policy.

use std::collections::BTreeSet;

use twqr_types::{KeyName, MerchantId, StatusCode, StoreId};

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

impl Merchant {
    fn store(&self, id: &StoreId) -> Option<&Store> {
        self.stores.iter().find(|store| store.id == *id)
    }

    /// The StatusCode and StatusDesc that refuse every payment and refund at this store, if it is
    /// closed or unknown.
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

    /// The StatusCode and StatusDesc that refuse a payment of this amount (whole TWD), if it is
    /// over a limit.
    pub(crate) fn over_limit(&self, store_id: &StoreId, amount: i64) -> Option<(StatusCode, &'static str)> {
        let above = |limit: Option<i64>| limit.is_some_and(|limit| amount > limit);
        if above(self.payment_max) {
            return Some((StatusCode::AMOUNT_OVER_LIMIT, "the amount is over the merchant's limit"));
        }
        above(self.store(store_id)?.payment_max)
            .then_some((StatusCode::STORE_LIMIT, "the amount is over the store's limit"))
    }

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

impl super::Policy {
    /// Whether requests that were signed with the merchant's key of this name are accepted.
    pub(crate) fn accepts_key(&self, merchant_id: &MerchantId, name: &KeyName) -> bool {
        self.merchant(merchant_id).is_none_or(|merchant| merchant.keys.is_empty() || merchant.keys.contains(name))
    }

    /// The StatusCode and StatusDesc of the refusal if the merchant or the store does not allow a
    /// payment of `amount` (whole TWD), or a refund (`amount` is `None`).
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
