//! Loom explores the interleavings of a few threads that insert one key while generations rotate,
//! up to a number of preemptions. The map and the pointer are models with loom's mutexes, so each
//! of their steps is atomic; the tests check the protocol's order of steps.

#![allow(clippy::unwrap_used, clippy::single_match_else, reason = "a test fails by panicking")]

use std::{collections::HashMap, num::NonZeroUsize, sync::Arc};

use loom::sync::{
    Mutex,
    atomic::{AtomicU8, Ordering},
};
use twqr_dedupe::{
    Inserted, Key, Table,
    protocol::{Pair, Pointer, Protocol, Slot, State},
};

#[derive(Default)]
struct ModelState(AtomicU8);

impl State for ModelState {
    fn change(&self, from: u8, to: u8) -> Result<(), u8> {
        self.0.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).map(|_| ())
    }

    fn read(&self) -> u8 {
        self.0.load(Ordering::SeqCst)
    }
}

type ModelSlot = Slot<u32, ModelState>;

struct ModelTable(Mutex<HashMap<Key, Arc<ModelSlot>>>);

impl Table<ModelSlot> for ModelTable {
    fn sized(_: usize) -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    fn get(&self, key: Key) -> Option<Arc<ModelSlot>> {
        self.0.lock().unwrap().get(&key).cloned()
    }

    fn insert(&self, key: Key, slot: Arc<ModelSlot>) -> Result<(), Arc<ModelSlot>> {
        let mut map = self.0.lock().unwrap();
        match map.get(&key) {
            Some(existing) => Err(existing.clone()),
            None => {
                map.insert(key, slot);
                Ok(())
            }
        }
    }

    fn remove(&self, key: Key, slot: &Arc<ModelSlot>) {
        let mut map = self.0.lock().unwrap();
        if map.get(&key).is_some_and(|entry| Arc::ptr_eq(entry, slot)) {
            map.remove(&key);
        }
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

struct ModelPointer(Mutex<Arc<Pair<ModelTable>>>);

impl Pointer<ModelTable> for ModelPointer {
    fn new(pair: Arc<Pair<ModelTable>>) -> Self {
        Self(Mutex::new(pair))
    }

    fn load(&self) -> Arc<Pair<ModelTable>> {
        self.0.lock().unwrap().clone()
    }

    fn replace(&self, old: &Arc<Pair<ModelTable>>, new: Arc<Pair<ModelTable>>) {
        let mut pair = self.0.lock().unwrap();
        if Arc::ptr_eq(&pair, old) {
            *pair = new;
        }
    }
}

type Model = Protocol<u32, ModelState, ModelTable, ModelPointer>;

/// Explores `inserters` threads that insert one key while another thread rotates `rotations` times.
/// `check` gets the cache and the result of each insertion.
fn explore(inserters: u32, rotations: usize, preemptions: usize, check: fn(&Model, &[Inserted<u32>])) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(move || {
        let cache = Arc::new(Model::new(NonZeroUsize::new(100).unwrap()));
        let threads: Vec<_> = (1..inserters)
            .map(|value| {
                let cache = cache.clone();
                loom::thread::spawn(move || cache.insert_if_absent(1, value))
            })
            .collect();
        let rotating = cache.clone();
        let rotator = loom::thread::spawn(move || (0..rotations).for_each(|_| rotating.rotate()));
        let mut results = vec![cache.insert_if_absent(1, 0)];
        results.extend(threads.into_iter().map(|thread| thread.join().unwrap()));
        rotator.join().unwrap();
        check(&cache, &results);
    });
}

fn exactly_one_is_first(cache: &Model, results: &[Inserted<u32>]) {
    let first: Vec<usize> = (0..results.len()).filter(|i| results[*i] == Inserted::New).collect();
    assert_eq!(first.len(), 1, "{results:?}");
    let value = first[0] as u32;
    for other in results.iter().filter(|result| **result != Inserted::New) {
        assert_eq!(*other, Inserted::Present(value), "{results:?}");
    }
    assert_eq!(cache.get(1), Some(value), "a later read did not find the first value");
}

#[test]
fn one_of_two_inserters_is_first_while_generations_rotate() {
    explore(2, 1, 4, exactly_one_is_first);
}

#[test]
fn one_of_three_inserters_is_first() {
    explore(3, 0, 3, exactly_one_is_first);
}

#[test]
fn one_of_three_inserters_is_first_while_generations_rotate() {
    explore(3, 1, 2, exactly_one_is_first);
}
