//! A map of bounded size in two generations: when the young one is full it becomes the old one, and the old one is forgotten.
//! Split into parts with a lock each, held only for one look.

use std::{
    collections::{HashMap, hash_map::Entry},
    mem,
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// A power of two, so that a part is found by a mask.
const PARTS: usize = 64;

/// Values by 128-bit key.
pub(super) struct Cache<V> {
    parts: Vec<Mutex<Part<V>>>,
    young_len_max: usize,
}

struct Part<V> {
    young: HashMap<u128, V>,
    old: HashMap<u128, V>,
}

/// What became of an insertion.
pub(super) enum Inserted<V> {
    New,
    /// The key is taken, by this value.
    Present(V),
}

impl<V: Clone> Cache<V> {
    /// Keeps at most `kept` values, give or take the rounding to parts, and at least half as many of the newest.
    pub(super) fn new(kept: NonZeroUsize) -> Self {
        let part = || Mutex::new(Part { young: HashMap::new(), old: HashMap::new() });
        let parts = std::iter::repeat_with(part).take(PARTS).collect();
        Self { parts, young_len_max: kept.get().div_ceil(2 * PARTS) }
    }

    /// One of many callers with the same key gets `New`.
    pub(super) fn insert_if_absent(&self, key: u128, value: V) -> Inserted<V> {
        let mut part = self.part(key);
        if let Some(present) = part.old.get(&key) {
            return Inserted::Present(present.clone());
        }
        match part.young.entry(key) {
            Entry::Occupied(present) => return Inserted::Present(present.get().clone()),
            Entry::Vacant(place) => drop(place.insert(value)),
        }
        let forgotten = (part.young.len() >= self.young_len_max).then(|| {
            let empty = HashMap::with_capacity(self.young_len_max);
            let full = mem::replace(&mut part.young, empty);
            mem::replace(&mut part.old, full)
        });
        drop(part);
        drop(forgotten);
        Inserted::New
    }

    /// Removes the value of the key if it is the one that is meant.
    pub(super) fn remove_if(&self, key: u128, meant: impl Fn(&V) -> bool) {
        let mut guard = self.part(key);
        let Part { young, old } = &mut *guard;
        for generation in [young, old] {
            if generation.get(&key).is_some_and(&meant) {
                generation.remove(&key);
            }
        }
    }

    fn part(&self, key: u128) -> MutexGuard<'_, Part<V>> {
        let at = key as usize & (PARTS - 1);
        self.parts[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        let len = |part: &Mutex<Part<V>>| part.lock().map_or(0, |part| part.young.len() + part.old.len());
        self.parts.iter().map(len).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn the_newest_half_stays_and_the_whole_is_bounded() {
        let kept = 1_024;
        let cache = Cache::new(NonZeroUsize::new(kept).unwrap());
        for key in 0..100_000_u128 {
            assert!(matches!(cache.insert_if_absent(key, key), Inserted::New), "{key}");
            assert!(cache.len() <= kept);
            let earlier = key.saturating_sub(kept as u128 / 2 - PARTS as u128);
            assert!(matches!(cache.insert_if_absent(earlier, 0), Inserted::Present(value) if value == earlier));
        }
    }

    #[test]
    fn one_of_many_is_first() {
        let cache = Cache::new(NonZeroUsize::new(4_096).unwrap());
        let first = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for key in 0..1_000 {
                        if matches!(cache.insert_if_absent(key, ()), Inserted::New) {
                            first.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(first.into_inner(), 1_000);
    }

    #[test]
    fn only_the_value_that_is_meant_is_removed() {
        let cache = Cache::new(NonZeroUsize::MIN);
        cache.insert_if_absent(7, "a");
        cache.remove_if(7, |value| *value == "b");
        assert!(matches!(cache.insert_if_absent(7, "c"), Inserted::Present("a")));
        cache.remove_if(7, |value| *value == "a");
        assert!(matches!(cache.insert_if_absent(7, "c"), Inserted::New));
    }
}
