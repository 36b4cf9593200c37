//! The state of one shard in memory: the hot orders, the versions of the policy, and what has
//! changed since the last checkpoint. An order is hot while it is in progress or its last change is
//! not in the local store yet.

use std::collections::{HashMap, HashSet};

use twqr_journal::Witness;
use twqr_order::{Command, Order, PolicyVersions, Target};
use twqr_types::{OrderKey, ShardId, TradeNo};
use twqr_wire::convert::fit_into_record;

use crate::{
    directory::ShardDirectory,
    loading::{Hot, Missing},
    store::{ShardStore, StoreError},
    superseded::Superseded,
};

/// The key of the policy's versions in the local store.
pub(crate) const POLICIES_KEY: &[u8] = &[0];

/// One shard in the memory of its owner.
pub(crate) struct Shard {
    pub(crate) id: ShardId,
    store: ShardStore,
    hot: HashMap<OrderKey, Hot>,
    /// The hot payments by their TradeNo.
    numbers: HashMap<TradeNo, OrderKey>,
    pub(crate) dirty: Vec<OrderKey>,
    pub(crate) versions: PolicyVersions,
    pub(crate) versions_dirty: bool,
    /// Where a replay of the shard may begin: at the last marker, and at the marker of the
    /// checkpoint that is being written.
    pub(crate) replay_starts: [u64; 2],
    pub(crate) directory: ShardDirectory,
    /// The states that were read from the local store for the records that are being applied.
    loaded: LoadedTargets,
    /// The offset in `order-states` of the first state of an order that cannot be read. If there is
    /// one, a TradeNo that is not found may be that order's.
    pub(crate) first_unreadable: Option<u64>,
    /// The records that the next checkpoints delete.
    pub(crate) superseded: Superseded,
    /// The offset of the next record to apply.
    pub(crate) next: u64,
    /// A record below `next`, by which the log is recognised.
    pub(crate) witness: Option<Witness>,
}

/// The states that the records of a batch need from the local store.
#[derive(Default)]
struct LoadedTargets {
    keys: Vec<OrderKey>,
    numbers: HashMap<TradeNo, OrderKey>,
    /// The orders whose states cannot be read.
    unreadable: HashSet<OrderKey>,
}

impl Shard {
    pub(crate) fn new(id: ShardId, store: ShardStore, versions: PolicyVersions, next: u64) -> Self {
        Self {
            id,
            store,
            hot: HashMap::new(),
            numbers: HashMap::new(),
            dirty: Vec::new(),
            versions,
            versions_dirty: false,
            replay_starts: [next; 2],
            directory: ShardDirectory::default(),
            loaded: LoadedTargets::default(),
            first_unreadable: None,
            superseded: Superseded::default(),
            next,
            witness: None,
        }
    }

    /// Reads from the local store what the records need and memory does not have. Until
    /// [`Shard::end_batch`] the orders stay in memory, so applying the records reads no disk.
    pub(crate) async fn load_targets<'a>(
        &mut self,
        records: impl Iterator<Item = &'a twqr_order::Record>,
    ) -> Result<(), StoreError> {
        let mut missing = Missing::default();
        let mut needs_listings = self.versions.iter().any(|(_, change)| change.policy.uses_listings());
        for record in records {
            if let Command::Policy(change) = &record.command {
                needs_listings |= change.policy.uses_listings();
            }
            missing.listings.extend(self.directory.missing(&record.command, needs_listings));
            let Some(target) = record.command.target() else { continue };
            match target {
                Target::Key(key) if self.hot.contains_key(key) => {}
                Target::Key(key) if self.store.is_absent(&key.to_bytes()) => {
                    self.hot.insert(key.clone(), Hot::default());
                    self.loaded.keys.push(key.clone());
                }
                Target::Key(key) => drop(missing.keys.insert(key.clone())),
                Target::Number(number) => match self.numbers.get(&number) {
                    Some(key) if self.hot.contains_key(key) => {}
                    Some(key) => drop(missing.keys.insert(key.clone())),
                    None => drop(missing.numbers.insert(number)),
                },
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let loaded = self.store.run(move |store, shard| missing.read(store, shard)).await?;
        for (key, hot) in loaded.orders {
            match hot {
                None => drop(self.loaded.unreadable.insert(key)),
                Some(hot) => {
                    // An order that is in memory may be newer than the stored one.
                    self.hot.entry(key.clone()).or_insert(hot);
                    self.loaded.keys.push(key);
                }
            }
        }
        self.loaded.numbers.extend(loaded.numbers);
        self.directory.add_loaded(loaded.listings);
        Ok(())
    }

    /// Drops from memory what [`Shard::load_targets`] read and the records did not change.
    pub(crate) fn end_batch(&mut self) {
        let loaded = std::mem::take(&mut self.loaded);
        for key in &loaded.keys {
            self.forget_if_cold(key);
        }
        self.directory.trim();
    }

    /// The key of the payment with this TradeNo, after [`Shard::load_targets`].
    pub(crate) fn key_of(&self, number: TradeNo) -> Option<OrderKey> {
        self.numbers.get(&number).or_else(|| self.loaded.numbers.get(&number)).cloned()
    }

    /// The order with the versions of the policy and the directory of merchants, after
    /// [`Shard::load_targets`]; `None` if its state cannot be read.
    pub(crate) fn order_mut(
        &mut self,
        key: &OrderKey,
    ) -> Result<Option<(&mut Hot, &PolicyVersions, &ShardDirectory)>, StoreError> {
        if self.loaded.unreadable.contains(key) {
            return Ok(None);
        }
        let hot = self.hot.get_mut(key).ok_or_else(|| StoreError(format!("the order {key} was not read")))?;
        Ok(Some((hot, &self.versions, &self.directory)))
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

    /// Marks the policy's versions and the closings as changed, and drops surplus ones.
    pub(crate) fn touch_versions(&mut self) {
        fit_into_record(&mut self.versions, &self.replay_starts);
        self.versions_dirty = true;
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
        !self.dirty.is_empty() || self.versions_dirty || self.directory.is_dirty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

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
        let store = ShardStore::new(0, Arc::new(MemoryStore::default()));
        Shard::new(ShardId(0), store, PolicyVersions::default(), 0)
    }

    /// Applies a command. Without a policy a payment is refused, so it is final at once.
    async fn take(shard: &mut Shard, offset: u64, command: Command) {
        let (key, record) = (form().key, Record { at: UnixMs(0), signed_by: None, nonce: None, command });
        let cause = Position { shard: ShardId(0), offset };
        shard.load_targets([&record].into_iter()).await.unwrap();
        apply(&mut shard.order_mut(&key).unwrap().unwrap().0.order, &record, cause, None, &mut Vec::new());
        shard.touch(&key);
        shard.end_batch();
    }

    fn pay() -> Command {
        Command::Pay(Box::new(Pay { form: form(), reply_to: None }))
    }

    #[tokio::test]
    async fn an_order_stays_in_memory_until_its_checkpoint_is_stored() {
        let (mut shard, key) = (shard(), form().key);
        take(&mut shard, 0, pay()).await;
        let taken = shard.take_dirty();
        shard.forget_if_cold(&key);
        assert!(shard.hot(&key).is_some(), "the store does not have it yet");
        shard.settle(&taken);
        assert!(shard.hot(&key).is_none(), "the store has it");
    }

    #[tokio::test]
    async fn a_payment_is_found_by_its_trade_no_even_if_its_cancel_arrived_first() {
        let cancel = || Command::Cancel(Box::new(CancelRequest { form: form(), reply_to: None }));
        for (name, commands) in [("alone", vec![pay()]), ("after its cancel", vec![cancel(), pay()])] {
            let (mut shard, key) = (shard(), form().key);
            for (offset, command) in (0..).zip(commands) {
                take(&mut shard, offset, command).await;
            }
            let number = shard.hot(&key).and_then(Order::trade_no).unwrap();
            assert_eq!(shard.key_of(number), Some(key), "{name}");
        }
    }
}
