//! A read model in memory, for tests in virtual time.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use twqr_consumer::KnownBeginnings;
use twqr_journal::Offset;
use twqr_order::{ListingChange, ListingKey, PolicyVersions};
use twqr_types::OrderKey;

use super::{ModelError, ReadModel, ShardSnapshot, StoredOrder, Watermark};

/// A read model in memory; it outlives the tracker that writes to it, but not the process.
#[derive(Debug, Default)]
pub struct MemoryModel(Mutex<BTreeMap<u32, Shard>>);

#[derive(Debug, Default)]
struct Shard {
    next: Offset,
    beginnings: KnownBeginnings,
    orders: BTreeMap<Vec<u8>, StoredOrder>,
    policies: Option<(u64, PolicyVersions)>,
    listings: BTreeMap<ListingKey, Arc<ListingChange>>,
}

impl MemoryModel {
    fn shards(&self) -> MutexGuard<'_, BTreeMap<u32, Shard>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ReadModel for MemoryModel {
    async fn snapshot(&self, shard: u32) -> Result<ShardSnapshot, ModelError> {
        let shards = self.shards();
        let Some(shard) = shards.get(&shard) else { return Ok(ShardSnapshot::default()) };
        let in_progress = shard.orders.values().filter(|stored| !stored.order.is_at_rest()).cloned().collect();
        let (next, beginnings, policies) = (shard.next, shard.beginnings, shard.policies.clone());
        Ok(ShardSnapshot { next, beginnings, in_progress, policies, unreadable: Vec::new() })
    }

    async fn superseded(&self, shard: u32, states: Vec<(OrderKey, u64)>) -> Result<HashSet<OrderKey>, ModelError> {
        let shards = self.shards();
        let Some(shard) = shards.get(&shard) else { return Ok(HashSet::new()) };
        let is_older = |(key, position): &(OrderKey, u64)| {
            shard.orders.get(&key.to_bytes()).is_some_and(|stored| stored.position > *position)
        };
        Ok(states.into_iter().filter(is_older).map(|(key, _)| key).collect())
    }

    async fn apply(&self, shard: u32, watermark: Watermark, states: Arc<Vec<StoredOrder>>) -> Result<(), ModelError> {
        let mut shards = self.shards();
        let shard = shards.entry(shard).or_default();
        (shard.next, shard.beginnings) = (watermark.next, watermark.beginnings);
        for state in &*states {
            let key = state.order.key().to_bytes();
            if shard.orders.get(&key).is_none_or(|stored| stored.position <= state.position) {
                shard.orders.insert(key, state.clone());
            }
        }
        Ok(())
    }

    async fn store_policies(&self, shard: u32, position: u64, versions: Arc<PolicyVersions>) -> Result<(), ModelError> {
        let mut shards = self.shards();
        let shard = shards.entry(shard).or_default();
        if shard.policies.as_ref().is_none_or(|(stored, _)| *stored <= position) {
            shard.policies = Some((position, (*versions).clone()));
        }
        Ok(())
    }

    async fn listings(&self, shard: u32) -> Result<Vec<Arc<ListingChange>>, ModelError> {
        let shards = self.shards();
        Ok(shards.get(&shard).map_or_else(Vec::new, |shard| shard.listings.values().cloned().collect()))
    }

    async fn store_listings(&self, shard: u32, changes: Arc<Vec<Arc<ListingChange>>>) -> Result<(), ModelError> {
        let mut shards = self.shards();
        let shard = shards.entry(shard).or_default();
        for change in &*changes {
            if shard.listings.get(&change.key).is_none_or(|stored| stored.version <= change.version) {
                shard.listings.insert(change.key.clone(), change.clone());
            }
        }
        Ok(())
    }
}
