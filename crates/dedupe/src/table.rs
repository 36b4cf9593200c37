//! The map of one generation.

use std::{
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
};

use crate::Key;

/// What a generation needs of its map; every method is atomic.
pub trait Table<S>: Send + Sync {
    /// An empty map that takes so many entries without growing.
    fn sized(capacity: usize) -> Self;
    /// The entry of a key.
    fn get(&self, key: Key) -> Option<Arc<S>>;
    /// Puts an entry where there is none; else returns the one that is there.
    fn insert(&self, key: Key, slot: Arc<S>) -> Result<(), Arc<S>>;
    /// Removes this very entry, if it is still the key's.
    fn remove(&self, key: Key, slot: &Arc<S>);
    /// How many entries there are.
    fn len(&self) -> usize;
    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Keys are hashes already.
#[derive(Debug, Default)]
pub struct KeyAsHash(u64);

impl Hasher for KeyAsHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }
}

/// papaya's lock-free map.
pub struct PapayaTable<S>(papaya::HashMap<Key, Arc<S>, BuildHasherDefault<KeyAsHash>>);

impl<S: Send + Sync> Table<S> for PapayaTable<S> {
    fn sized(capacity: usize) -> Self {
        Self(papaya::HashMap::with_capacity_and_hasher(capacity, BuildHasherDefault::default()))
    }

    fn get(&self, key: Key) -> Option<Arc<S>> {
        self.0.pin().get(&key).cloned()
    }

    fn insert(&self, key: Key, slot: Arc<S>) -> Result<(), Arc<S>> {
        match self.0.pin().try_insert(key, slot) {
            Ok(_) => Ok(()),
            Err(there) => Err(there.current.clone()),
        }
    }

    fn remove(&self, key: Key, slot: &Arc<S>) {
        let _other_or_none = self.0.pin().remove_if(&key, |_, there| Arc::ptr_eq(there, slot));
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}
