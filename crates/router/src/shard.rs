//! The state of one shard in memory: the hot orders, the versions of the policy, and what has
//! changed since the last checkpoint. An order is hot while it is in progress or its last change is
//! not in the local store yet.

use std::{collections::HashMap, sync::Arc};

use tracing::error;
use twqr_order::{Order, PolicyVersions};
use twqr_types::{MerchantId, MerchantTradeNo, OrderKey, ShardId, TradeNo};
use twqr_wire::convert::{StateBody, decode_state};

use crate::store::{StateStore, StoreError, StoredState};

/// The key of the policy's versions in the local store.
pub(crate) const POLICIES_KEY: &[u8] = &[0];

/// The key under which the local store keeps the key of the payment with this TradeNo. It begins
/// with the byte 1, with which no order's key begins.
fn number_key(number: TradeNo) -> Vec<u8> {
    let mut key = vec![1];
    key.extend_from_slice(number.as_str().as_bytes());
    key
}

/// Returns the entry of the local store by which a refund finds its payment from the payment's
/// TradeNo; `None` for an order that is no payment.
pub(crate) fn number_index(order: &Order, position: u64) -> Option<StoredState> {
    let payment = order.as_payment()?;
    let key = number_key(payment.trade_no).into();
    Some(StoredState { key, position, record: payment.key.to_bytes().into() })
}

/// One shard in the memory of its owner.
pub(crate) struct Shard {
    pub(crate) id: ShardId,
    store: Arc<dyn StateStore>,
    hot: HashMap<OrderKey, Hot>,
    /// The hot payments by their TradeNo.
    numbers: HashMap<TradeNo, OrderKey>,
    pub(crate) dirty: Vec<OrderKey>,
    pub(crate) versions: PolicyVersions,
    pub(crate) versions_dirty: bool,
    /// Whether the state of some order cannot be read. If so, a TradeNo that is not found may be
    /// that order's.
    pub(crate) has_unreadable: bool,
    /// The offset of the next record to apply.
    pub(crate) next: u64,
}

/// An order in memory.
pub(crate) struct Hot {
    pub(crate) order: Option<Order>,
    /// The order already reflects every record below this offset.
    pub(crate) reflects: u64,
    /// Whether it has changed since the last checkpoint was taken.
    dirty: bool,
    /// Whether it is in a checkpoint that is not in the local store yet.
    in_checkpoint: bool,
}

impl Shard {
    pub(crate) fn new(id: ShardId, store: Arc<dyn StateStore>, versions: PolicyVersions, next: u64) -> Self {
        Self {
            id,
            store,
            hot: HashMap::new(),
            numbers: HashMap::new(),
            dirty: Vec::new(),
            versions,
            versions_dirty: false,
            has_unreadable: false,
            next,
        }
    }

    /// The key of the payment with this TradeNo, from memory or from the local store.
    pub(crate) fn key_of(&self, number: TradeNo) -> Result<Option<OrderKey>, StoreError> {
        if let Some(key) = self.numbers.get(&number) {
            return Ok(Some(key.clone()));
        }
        let Some((_, key)) = self.store.get(self.id.0, &number_key(number))? else { return Ok(None) };
        let unreadable = || {
            StoreError(format!(
                "the key of the order with TradeNo {number} cannot be read; remove the local store, and it is rebuilt"
            ))
        };
        let text = std::str::from_utf8(&key).map_err(|_| unreadable())?;
        let (merchant_id, merchant_trade_no) = text.split_once('\0').ok_or_else(unreadable)?;
        Ok(Some(OrderKey {
            merchant_id: MerchantId::parse(merchant_id.to_owned()).map_err(|_| unreadable())?,
            merchant_trade_no: MerchantTradeNo::parse(merchant_trade_no.to_owned()).map_err(|_| unreadable())?,
        }))
    }

    /// The order, from memory or from the local store, with the versions of the policy; `None` if
    /// its state cannot be read.
    pub(crate) fn load(&mut self, key: &OrderKey) -> Result<Option<(&mut Hot, &PolicyVersions)>, StoreError> {
        if !self.hot.contains_key(key) {
            let Some(hot) = self.read(key)? else { return Ok(None) };
            self.hot.insert(key.clone(), hot);
        }
        Ok(self.hot.get_mut(key).map(|hot| (hot, &self.versions)))
    }

    /// Reads an order from the local store; `None` if its state cannot be read.
    fn read(&self, key: &OrderKey) -> Result<Option<Hot>, StoreError> {
        let Some((_, record)) = self.store.get(self.id.0, &key.to_bytes())? else {
            return Ok(Some(Hot { order: None, reflects: 0, dirty: false, in_checkpoint: false }));
        };
        match decode_state(record).map(|entry| (entry.position, entry.body)) {
            Ok((reflects, StateBody::Order(order))) => {
                Ok(Some(Hot { order: Some(*order), reflects, dirty: false, in_checkpoint: false }))
            }
            Ok((_, StateBody::Policies(_) | StateBody::Marker)) | Err(_) => {
                error!(
                    shard = self.id.0, order = %key,
                    "the local store has no readable state of the order; if order-states has one, remove the local \
                     store, and it is rebuilt"
                );
                Ok(None)
            }
        }
    }

    /// The order, if it is in memory and exists.
    pub(crate) fn hot(&self, key: &OrderKey) -> Option<&Order> {
        self.hot.get(key).and_then(|hot| hot.order.as_ref())
    }

    /// Marks the order as changed, and notes the TradeNo of a payment. An order that is marked
    /// already may still lack its TradeNo: if its cancel arrived before the payment, it was no
    /// payment until now.
    pub(crate) fn touch(&mut self, key: &OrderKey) {
        let Some(hot) = self.hot.get_mut(key) else { return };
        if let Some(payment) = hot.order.as_ref().and_then(Order::as_payment) {
            self.numbers.entry(payment.trade_no).or_insert_with(|| key.clone());
        }
        if !hot.dirty {
            hot.dirty = true;
            self.dirty.push(key.clone());
        }
    }

    /// Takes the changed orders for a checkpoint; later changes count for the next one.
    pub(crate) fn take_dirty(&mut self) -> Vec<OrderKey> {
        let keys = std::mem::take(&mut self.dirty);
        for key in &keys {
            if let Some(hot) = self.hot.get_mut(key) {
                hot.dirty = false;
                hot.in_checkpoint = true;
            }
        }
        keys
    }

    /// Notes that these orders are in the local store now, and drops those that are not in progress
    /// from memory.
    pub(crate) fn settle(&mut self, keys: &[OrderKey]) {
        for key in keys {
            if let Some(hot) = self.hot.get_mut(key) {
                hot.in_checkpoint = false;
            }
            self.forget_if_cold(key);
        }
    }

    /// Drops the order from memory if the local store has its current state and it is not in
    /// progress.
    pub(crate) fn forget_if_cold(&mut self, key: &OrderKey) {
        let cold = |hot: &Hot| !hot.dirty && !hot.in_checkpoint && hot.order.as_ref().is_none_or(Order::is_at_rest);
        if self.hot.get(key).is_some_and(cold)
            && let Some(payment) = self.hot.remove(key).and_then(|hot| hot.order?.as_payment().map(|p| p.trade_no))
        {
            self.numbers.remove(&payment);
        }
    }

    pub(crate) fn needs_checkpoint(&self) -> bool {
        !self.dirty.is_empty() || self.versions_dirty
    }
}

#[cfg(test)]
mod tests {
    use twqr_order::{CancelRequest, Command, Pay, Position, Record, apply};
    use twqr_types::{PayForm, RawPay, UnixMs};

    use super::*;
    use crate::MemoryStore;

    fn form() -> PayForm {
        let raw = RawPay {
            merchant_id: "M1".into(),
            merchant_trade_no: "T1".into(),
            card_token: "22abcdefghijklmnop".into(),
            trade_amount: 1,
            ..RawPay::default()
        };
        PayForm::parse(raw).unwrap()
    }

    fn shard() -> Shard {
        Shard::new(ShardId(0), Arc::new(MemoryStore::default()), PolicyVersions::default(), 0)
    }

    /// Applies a command. Without a policy a payment is refused, so it is final at once.
    fn take(shard: &mut Shard, offset: u64, command: Command) {
        let (key, record) = (form().key, Record { at: UnixMs(0), signed_by: None, command });
        let cause = Position { shard: ShardId(0), offset };
        apply(&mut shard.load(&key).unwrap().unwrap().0.order, &record, cause, None, &mut Vec::new());
        shard.touch(&key);
    }

    fn pay() -> Command {
        Command::Pay(Box::new(Pay { form: form(), reply_to: None }))
    }

    #[test]
    fn an_order_stays_in_memory_until_its_checkpoint_is_stored() {
        let (mut shard, key) = (shard(), form().key);
        take(&mut shard, 0, pay());
        let taken = shard.take_dirty();
        shard.forget_if_cold(&key);
        assert!(shard.load(&key).unwrap().unwrap().0.order.is_some(), "the store does not have it yet");
        shard.settle(&taken);
        assert!(shard.hot(&key).is_none(), "the store has it");
    }

    #[test]
    fn a_payment_is_found_by_its_trade_no_even_if_its_cancel_arrived_first() {
        let cancel = || Command::Cancel(Box::new(CancelRequest { form: form(), reply_to: None }));
        for (name, commands) in [("alone", vec![pay()]), ("after its cancel", vec![cancel(), pay()])] {
            let (mut shard, key) = (shard(), form().key);
            for (offset, command) in (0..).zip(commands) {
                take(&mut shard, offset, command);
            }
            let number = shard.hot(&key).and_then(Order::trade_no).unwrap();
            assert_eq!(shard.key_of(number).unwrap(), Some(key), "{name}");
        }
    }
}
