//! One shard's part of the local store, for async code: calls that may wait for the disk run on
//! threads for blocking work, so a disk that stalls under one shard stops no other shard.

use std::sync::Arc;

use bytes::Bytes;
use tokio::task::spawn_blocking;
use tracing::warn;
use twqr_service::CancellationToken;

use super::{StateStore, StoreError, StoreMark, StoredState};

/// The local store of one shard.
#[derive(Clone)]
pub(crate) struct ShardStore {
    shard: u16,
    store: Arc<dyn StateStore>,
}

impl ShardStore {
    pub(crate) fn new(shard: u16, store: Arc<dyn StateStore>) -> Self {
        Self { shard, store }
    }

    /// Does the work with the store and the shard's number. Dropping the future does not stop work
    /// that has begun.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn StateStore, u16) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (shard, store) = (self.shard, self.store.clone());
        if !store.may_block() {
            return work(&*store, shard);
        }
        let done = spawn_blocking(move || work(&*store, shard)).await;
        done.unwrap_or_else(|error| Err(StoreError(format!("a call did not end: {error}"))))
    }

    /// Whether the store surely has no state of the order with this key. Never waits.
    pub(crate) fn is_absent(&self, order: &[u8]) -> bool {
        self.store.is_absent(self.shard, order)
    }

    /// Learns in the background which orders are stored, until `stop` fires.
    pub(crate) fn learn_keys(&self, stop: CancellationToken) {
        let store = self.clone();
        tokio::spawn(async move {
            let learned = store.run(move |store, shard| store.learn_keys(shard, &stop)).await;
            if let Err(error) = learned {
                warn!(shard = store.shard, %error, "the keys of the stored orders cannot be read, so each new order is looked up in the store");
            }
        });
    }

    pub(crate) async fn mark(&self) -> Result<StoreMark, StoreError> {
        self.run(StateStore::mark).await
    }

    /// Stores the states and the mark; returns the keys in `order-states` of superseded states.
    pub(crate) async fn put(&self, states: Vec<StoredState>, mark: StoreMark) -> Result<Vec<Bytes>, StoreError> {
        self.run(move |store, shard| store.put(shard, &states, mark)).await
    }
}
