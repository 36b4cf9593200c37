//! The merchants of a policy, with their stores and the names of their keys.

use twqr_order::{Merchant, Store};
use twqr_types::{KeyName, MerchantId, StoreId};

use crate::{bus, convert::fault::RecordFault};

pub(super) fn merchant_out(merchant: &Merchant) -> bus::Merchant {
    let store = |store: &Store| bus::Store {
        store_id: store.id.as_str().to_owned(),
        payment_max: store.payment_max.unwrap_or_default(),
        closed: !store.is_open,
    };
    bus::Merchant {
        merchant_id: merchant.id.as_str().to_owned(),
        stores: merchant.stores.iter().map(store).collect(),
        keys: merchant.keys.iter().map(|key| key.as_str().to_owned()).collect(),
        payment_max: merchant.payment_max.unwrap_or_default(),
        closed: !merchant.is_open,
    }
}

pub(super) fn merchant_from(merchant: bus::Merchant) -> Result<Merchant, RecordFault> {
    let limit = |most: i64| (most != 0).then_some(most);
    let store = |store: bus::Store| {
        let id = StoreId::parse(store.store_id).map_err(RecordFault::invalid("store_id"))?;
        Ok(Store { id, payment_max: limit(store.payment_max), is_open: !store.closed })
    };
    let key = |name: String| KeyName::parse(name).map_err(RecordFault::invalid("keys"));
    Ok(Merchant {
        id: MerchantId::parse(merchant.merchant_id).map_err(RecordFault::invalid("merchant_id"))?,
        stores: merchant.stores.into_iter().map(store).collect::<Result<_, RecordFault>>()?,
        keys: merchant.keys.into_iter().map(key).collect::<Result<_, RecordFault>>()?,
        payment_max: limit(merchant.payment_max),
        is_open: !merchant.closed,
    })
}
