//! The map of one generation: the operations that the protocol needs, and their implementation with
//! papaya.

use std::{
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
};

use crate::Key;

/// The map of one generation. Every method must be atomic.
pub trait Table<S>: Send + Sync {
    /// An empty map that takes `capacity` entries without growing.
    fn sized(capacity: usize) -> Self;
    /// The entry of a key, if there is one.
    fn get(&self, key: Key) -> Option<Arc<S>>;
    /// Inserts an entry if the key is absent; otherwise returns the existing entry as the error.
    fn insert(&self, key: Key, slot: Arc<S>) -> Result<(), Arc<S>>;
    /// Removes the key's entry if it is still this one, compared by pointer.
    fn remove(&self, key: Key, slot: &Arc<S>);
    /// The number of entries.
    fn len(&self) -> usize;
    /// Whether the map has no entry.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A hasher that returns the lower 64 bits of a key, which is a hash already.
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

/// The lock-free map of the crate papaya.
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
            Err(occupied) => Err(occupied.current.clone()),
        }
    }

    fn remove(&self, key: Key, slot: &Arc<S>) {
        let _not_removed = self.0.pin().remove_if(&key, |_, entry| Arc::ptr_eq(entry, slot));
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}
