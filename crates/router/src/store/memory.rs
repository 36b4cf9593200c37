//! The local store in memory, for tests: a test decides whether it survives a simulated restart.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use super::{StateStore, StoreError, StoreMark, StoredState};

/// A local store in memory.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<Shards>);

type Shards = BTreeMap<u16, (StoreMark, BTreeMap<Bytes, (u64, Bytes)>)>;

impl MemoryStore {
    fn lock(&self) -> MutexGuard<'_, Shards> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StateStore for MemoryStore {
    fn may_block(&self) -> bool {
        false
    }

    fn is_absent(&self, shard: u16, order: &[u8]) -> bool {
        self.lock().get(&shard).is_none_or(|(_, states)| !states.contains_key(order))
    }

    fn mark(&self, shard: u16) -> Result<StoreMark, StoreError> {
        Ok(self.lock().get(&shard).map(|(mark, _)| *mark).unwrap_or_default())
    }

    fn get(&self, shard: u16, key: &[u8]) -> Result<Option<(u64, Bytes)>, StoreError> {
        Ok(self.lock().get(&shard).and_then(|(_, states)| states.get(key).cloned()))
    }

    fn put(&self, shard: u16, states: &[StoredState], mark: StoreMark) -> Result<Vec<Bytes>, StoreError> {
        let mut shards = self.lock();
        let (kept_mark, kept) = shards.entry(shard).or_default();
        let mut superseded = Vec::new();
        for state in states {
            let stored = kept.get(&state.key);
            superseded.extend(stored.and_then(|(position, record)| state.superseded(*position, record)));
            let is_not_older = stored.is_none_or(|(position, _)| *position <= state.position);
            if is_not_older {
                kept.insert(state.key.clone(), (state.position, state.record.clone()));
            }
        }
        *kept_mark = mark;
        Ok(superseded)
    }
}
