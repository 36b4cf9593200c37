//! Merchants and their stores in the policy document. It contains only the names of signing keys;
//! the keys themselves are secrets and are kept in a separate file.

use anyhow::{Context as _, anyhow};
use serde::{Deserialize, Serialize};
use twqr_order::{Merchant, Store};
use twqr_types::{KeyName, MerchantId, StoreId};

/// A merchant. Without stores every StoreID is valid, without `payment_max` there is no limit, and
/// without `keys` every key that the ingresses know is valid.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct MerchantDocument {
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payment_max: Option<i64>,
    #[serde(default = "open")]
    open: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    keys: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    stores: Vec<StoreDocument>,
}

/// A store of a merchant.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct StoreDocument {
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payment_max: Option<i64>,
    #[serde(default = "open")]
    open: bool,
}

fn open() -> bool {
    true
}

impl MerchantDocument {
    pub(crate) fn merchant(&self) -> anyhow::Result<Merchant> {
        let stores = self.stores.iter().enumerate();
        let stores = stores.map(|(i, store)| store.store().with_context(|| format!("stores[{i}]")));
        let key = |(i, name): (usize, &String)| {
            KeyName::parse(name.clone()).map_err(|problem| anyhow!("keys[{i}] {problem}"))
        };
        let keys = self.keys.iter().enumerate().map(key);
        Ok(Merchant {
            id: MerchantId::parse(self.id.clone()).map_err(|problem| anyhow!("id {problem}"))?,
            stores: stores.collect::<anyhow::Result<_>>()?,
            keys: keys.collect::<anyhow::Result<_>>()?,
            payment_max: self.payment_max,
            is_open: self.open,
        })
    }

    pub(crate) fn from_merchant(merchant: &Merchant) -> Self {
        let store = |store: &Store| StoreDocument {
            id: store.id.as_str().to_owned(),
            payment_max: store.payment_max,
            open: store.is_open,
        };
        Self {
            id: merchant.id.as_str().to_owned(),
            payment_max: merchant.payment_max,
            open: merchant.is_open,
            keys: merchant.keys.iter().map(|key| key.as_str().to_owned()).collect(),
            stores: merchant.stores.iter().map(store).collect(),
        }
    }
}

impl StoreDocument {
    fn store(&self) -> anyhow::Result<Store> {
        let id = StoreId::parse(self.id.clone()).map_err(|problem| anyhow!("id {problem}"))?;
        Ok(Store { id, payment_max: self.payment_max, is_open: self.open })
    }
}
