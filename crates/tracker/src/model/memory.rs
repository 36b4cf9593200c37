//! In memory, for tests in virtual time.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use twqr_journal::Offset;
use twqr_order::PolicyVersions;
use twqr_types::OrderKey;

use super::{Known, ModelError, ReadModel, Seen, Upto};

/// A model in memory.
#[derive(Debug, Default)]
pub struct MemoryModel(Mutex<BTreeMap<u32, Shard>>);

#[derive(Debug, Default)]
struct Shard {
    next: Offset,
    orders: BTreeMap<Vec<u8>, Seen>,
    policies: Option<(u64, PolicyVersions)>,
}

#[async_trait]
impl ReadModel for MemoryModel {
    async fn begin(&self, shard: u32) -> Result<Known, ModelError> {
        let shards = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some(shard) = shards.get(&shard) else { return Ok(Known::default()) };
        let in_progress = shard.orders.values().filter(|seen| !seen.order.is_at_rest()).cloned().collect();
        Ok(Known { next: shard.next, in_progress, policies: shard.policies.clone() })
    }

    async fn apply(
        &self,
        shard: u32,
        Upto { next, .. }: Upto,
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

    async fn keep_policies(&self, shard: u32, position: u64, versions: Arc<PolicyVersions>) -> Result<(), ModelError> {
        let mut shards = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let shard = shards.entry(shard).or_default();
        if shard.policies.as_ref().is_none_or(|(known, _)| *known <= position) {
            shard.policies = Some((position, (*versions).clone()));
        }
        Ok(())
    }
}
