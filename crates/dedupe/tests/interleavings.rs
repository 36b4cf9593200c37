//! The protocol under every interleaving of small scopes (loom): inserters of one key while
//! generations rotate. The map and the pointer are loom's mutexed models, each step atomic; what is
//! checked is the order of the steps.

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
            Some(there) => Err(there.clone()),
            None => {
                map.insert(key, slot);
                Ok(())
            }
        }
    }

    fn remove(&self, key: Key, slot: &Arc<ModelSlot>) {
        let mut map = self.0.lock().unwrap();
        if map.get(&key).is_some_and(|there| Arc::ptr_eq(there, slot)) {
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

/// Inserters of one key at once, with `rotations` beside them; returns what each was told.
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
        let mut told = vec![cache.insert_if_absent(1, 0)];
        told.extend(threads.into_iter().map(|thread| thread.join().unwrap()));
        rotator.join().unwrap();
        check(&cache, &told);
    });
}

fn one_first(cache: &Model, told: &[Inserted<u32>]) {
    let first: Vec<usize> = (0..told.len()).filter(|i| told[*i] == Inserted::New).collect();
    assert_eq!(first.len(), 1, "{told:?}");
    let value = first[0] as u32;
    for other in told.iter().filter(|told| **told != Inserted::New) {
        assert_eq!(*other, Inserted::Present(value), "{told:?}");
    }
    assert_eq!(cache.get(1), Some(value), "the first one's value is what is found afterwards");
}

#[test]
fn two_inserters_have_one_first_while_generations_rotate() {
    explore(2, 1, 4, one_first);
}

#[test]
fn three_inserters_have_one_first() {
    explore(3, 0, 3, one_first);
}

#[test]
fn three_inserters_have_one_first_while_generations_rotate() {
    explore(3, 1, 2, one_first);
}
