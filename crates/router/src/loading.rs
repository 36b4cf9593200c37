//! Reads orders of one shard from the local store. This may wait for the disk.

use std::collections::{HashMap, HashSet};

use tracing::error;
use twqr_order::{ListingKey, ListingVersions, Order};
use twqr_types::{MerchantId, MerchantTradeNo, OrderKey, TradeNo};
use twqr_wire::convert::{StateBody, decode_state};

use crate::store::{StateStore, StoreError, StoredState};

/// An order in memory.
#[derive(Default)]
pub(crate) struct Hot {
    pub(crate) order: Option<Order>,
    /// The order already reflects every record below this offset.
    pub(crate) reflects: u64,
    /// Whether it has changed since the last checkpoint was taken.
    pub(crate) dirty: bool,
    /// Whether it is in a checkpoint that is not in the local store yet.
    pub(crate) in_checkpoint: bool,
}

/// The states to read.
#[derive(Default)]
pub(crate) struct Missing {
    pub(crate) keys: HashSet<OrderKey>,
    pub(crate) numbers: HashSet<TradeNo>,
    pub(crate) listings: HashSet<ListingKey>,
}

/// The states that were read.
#[derive(Default)]
pub(crate) struct Loaded {
    /// The orders, and `None` for an order whose state cannot be read. An order that the store does
    /// not have has no state.
    pub(crate) orders: HashMap<OrderKey, Option<Hot>>,
    /// The keys of the payments with these numbers.
    pub(crate) numbers: HashMap<TradeNo, OrderKey>,
    /// The entries of the directory of merchants; without versions where the store has none.
    pub(crate) listings: HashMap<ListingKey, ListingVersions>,
}

/// The key under which the local store keeps the key of the payment with this TradeNo. It begins
/// with the byte 1, with which no order's key begins.
fn number_key(number: TradeNo) -> Vec<u8> {
    let mut key = vec![1];
    key.extend_from_slice(number.as_str().as_bytes());
    key
}

/// The key under which the local store keeps an entry of the directory of merchants. It begins with
/// the byte 2, with which no order's key begins.
pub(crate) fn listing_key(key: &ListingKey) -> Vec<u8> {
    let mut bytes = vec![2];
    bytes.extend(key.to_bytes());
    bytes
}

/// Returns the entry of the local store by which a refund finds its payment from the payment's
/// TradeNo; `None` for an order that is no payment.
pub(crate) fn number_index(order: &Order, position: u64) -> Option<StoredState> {
    let payment = order.as_payment()?;
    let key = number_key(payment.trade_no).into();
    Some(StoredState { key, position, record: payment.key.to_bytes().into() })
}

impl Missing {
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.numbers.is_empty() && self.listings.is_empty()
    }

    /// Reads everything, and the orders that the numbers name.
    pub(crate) fn read(mut self, store: &dyn StateStore, shard: u16) -> Result<Loaded, StoreError> {
        let mut loaded = Loaded::default();
        for number in self.numbers {
            if let Some((_, key)) = store.get(shard, &number_key(number))? {
                let key = order_key(number, &key)?;
                self.keys.insert(key.clone());
                loaded.numbers.insert(number, key);
            }
        }
        for key in self.keys {
            let order = read_order(store, shard, &key)?;
            loaded.orders.insert(key, order);
        }
        for key in self.listings {
            let versions = read_listing(store, shard, &key)?;
            loaded.listings.insert(key, versions);
        }
        Ok(loaded)
    }
}

fn order_key(number: TradeNo, bytes: &[u8]) -> Result<OrderKey, StoreError> {
    let unreadable = || {
        StoreError(format!(
            "the key of the order with TradeNo {number} cannot be read; remove the local store, and it is rebuilt"
        ))
    };
    let text = std::str::from_utf8(bytes).map_err(|_| unreadable())?;
    let (merchant_id, merchant_trade_no) = text.split_once('\0').ok_or_else(unreadable)?;
    Ok(OrderKey {
        merchant_id: MerchantId::parse(merchant_id.to_owned()).map_err(|_| unreadable())?,
        merchant_trade_no: MerchantTradeNo::parse(merchant_trade_no.to_owned()).map_err(|_| unreadable())?,
    })
}

/// Reads one order; `None` if its state cannot be read.
fn read_order(store: &dyn StateStore, shard: u16, key: &OrderKey) -> Result<Option<Hot>, StoreError> {
    let Some((_, record)) = store.get(shard, &key.to_bytes())? else { return Ok(Some(Hot::default())) };
    match decode_state(record).map(|entry| (entry.position, entry.body)) {
        Ok((reflects, StateBody::Order(order))) => Ok(Some(Hot { order: Some(*order), reflects, ..Hot::default() })),
        Ok((_, StateBody::Policies(_) | StateBody::Listing(_) | StateBody::Marker | StateBody::Beginning { .. }))
        | Err(_) => {
            error!(
                shard, order = %key,
                "the local store has no readable state of the order; if order-states has one, remove the local \
                 store, and it is rebuilt"
            );
            Ok(None)
        }
    }
}

/// Reads one entry of the directory of merchants. Nothing of a merchant can be decided without its
/// entry, so one that cannot be read is an error.
fn read_listing(store: &dyn StateStore, shard: u16, key: &ListingKey) -> Result<ListingVersions, StoreError> {
    let Some((_, record)) = store.get(shard, &listing_key(key))? else { return Ok(ListingVersions::default()) };
    match decode_state(record).map(|entry| entry.body) {
        Ok(StateBody::Listing(versions)) => Ok(versions),
        Ok(StateBody::Order(_) | StateBody::Policies(_) | StateBody::Marker | StateBody::Beginning { .. }) | Err(_) => {
            Err(StoreError(format!("the listing of {key} cannot be read; remove the local store, and it is rebuilt")))
        }
    }
}
