//! In memory, for tests in virtual time.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use twqr_journal::Offset;
use twqr_types::OrderKey;

use super::{Known, ModelError, ReadModel, Seen};

/// A model in memory.
#[derive(Debug, Default)]
pub struct MemoryModel(Mutex<BTreeMap<u32, Shard>>);

#[derive(Debug, Default)]
struct Shard {
    next: Offset,
    orders: BTreeMap<Vec<u8>, Seen>,
}

#[async_trait]
impl ReadModel for MemoryModel {
    async fn begin(&self, shard: u32) -> Result<Known, ModelError> {
        let shards = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some(shard) = shards.get(&shard) else { return Ok(Known::default()) };
        let in_progress = shard.orders.values().filter(|seen| !seen.order.is_at_rest()).cloned().collect();
        Ok(Known { next: shard.next, in_progress })
    }

    async fn apply(
        &self,
        shard: u32,
        next: Offset,
        seen: Arc<Vec<Seen>>,
    ) -> Result<Arc<HashSet<OrderKey>>, ModelError> {
        let mut shards = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let shard = shards.entry(shard).or_default();
        shard.next = next;
        let mut changed = HashSet::new();
        for seen in &*seen {
            let key = seen.order.key().to_bytes();
            if shard.orders.get(&key).is_none_or(|kept| kept.position <= seen.position) {
                shard.orders.insert(key, seen.clone());
                changed.insert(seen.order.key().clone());
            }
        }
        Ok(Arc::new(changed))
    }
}
