//! Compares the cache's protocol with different maps, one of them behind a mutex, on the same
//! trace: new payments, a tenth of them repeats of recent ones, some removed. The time of the whole
//! trace, with one thread and with two, decides which map we use.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_sign_loss,
    clippy::type_complexity,
    reason = "a benchmark"
)]

use std::{
    collections::HashMap,
    hash::BuildHasherDefault,
    hint::black_box,
    num::NonZeroUsize,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use twqr_dedupe::{Cache, Key, PapayaTable, Table, protocol::Slot};

const SIZE: usize = 16_384;
const STEPS: usize = 200_000;

type Entry = Slot<u64, std::sync::atomic::AtomicU8>;

struct Scc<S>(scc::HashMap<Key, Arc<S>, BuildHasherDefault<twqr_dedupe::KeyAsHash>>);

impl<S: Send + Sync> Table<S> for Scc<S> {
    fn sized(capacity: usize) -> Self {
        Self(scc::HashMap::with_capacity_and_hasher(capacity, BuildHasherDefault::default()))
    }
    fn get(&self, key: Key) -> Option<Arc<S>> {
        self.0.read_sync(&key, |_, slot| slot.clone())
    }
    fn insert(&self, key: Key, slot: Arc<S>) -> Result<(), Arc<S>> {
        match self.0.entry_sync(key) {
            scc::hash_map::Entry::Occupied(entry) => Err(entry.get().clone()),
            scc::hash_map::Entry::Vacant(place) => {
                place.insert_entry(slot);
                Ok(())
            }
        }
    }
    fn remove(&self, key: Key, slot: &Arc<S>) {
        drop(self.0.remove_if_sync(&key, |entry| Arc::ptr_eq(entry, slot)));
    }
    fn len(&self) -> usize {
        self.0.len()
    }
}

struct Dash<S>(dashmap::DashMap<Key, Arc<S>, BuildHasherDefault<twqr_dedupe::KeyAsHash>>);

impl<S: Send + Sync> Table<S> for Dash<S> {
    fn sized(capacity: usize) -> Self {
        Self(dashmap::DashMap::with_capacity_and_hasher(capacity, BuildHasherDefault::default()))
    }
    fn get(&self, key: Key) -> Option<Arc<S>> {
        self.0.get(&key).map(|slot| slot.clone())
    }
    fn insert(&self, key: Key, slot: Arc<S>) -> Result<(), Arc<S>> {
        match self.0.entry(key) {
            dashmap::Entry::Occupied(entry) => Err(entry.get().clone()),
            dashmap::Entry::Vacant(place) => {
                place.insert(slot);
                Ok(())
            }
        }
    }
    fn remove(&self, key: Key, slot: &Arc<S>) {
        self.0.remove_if(&key, |_, entry| Arc::ptr_eq(entry, slot));
    }
    fn len(&self) -> usize {
        self.0.len()
    }
}

struct Mutexed<S>(Mutex<HashMap<Key, Arc<S>, BuildHasherDefault<twqr_dedupe::KeyAsHash>>>);

impl<S: Send + Sync> Table<S> for Mutexed<S> {
    fn sized(capacity: usize) -> Self {
        Self(Mutex::new(HashMap::with_capacity_and_hasher(capacity, BuildHasherDefault::default())))
    }
    fn get(&self, key: Key) -> Option<Arc<S>> {
        self.0.lock().unwrap().get(&key).cloned()
    }
    fn insert(&self, key: Key, slot: Arc<S>) -> Result<(), Arc<S>> {
        match self.0.lock().unwrap().entry(key) {
            std::collections::hash_map::Entry::Occupied(entry) => Err(entry.get().clone()),
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(slot);
                Ok(())
            }
        }
    }
    fn remove(&self, key: Key, slot: &Arc<S>) {
        let mut map = self.0.lock().unwrap();
        if map.get(&key).is_some_and(|entry| Arc::ptr_eq(entry, slot)) {
            map.remove(&key);
        }
    }
    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// Keys in order; every tenth one is a repeat of one of the last 1,000.
fn trace(seed: u64) -> Vec<Key> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut keys: Vec<Key> = Vec::with_capacity(STEPS);
    for n in 0..STEPS {
        let repeat = n > 1_000 && random.random_bool(0.1);
        let key = if repeat { keys[n - random.random_range(1..1_000)] } else { random.random() };
        keys.push(key);
    }
    keys
}

fn replay<T: Table<Entry>>(cache: &Cache<u64, T>, keys: &[Key]) {
    for (n, key) in keys.iter().enumerate() {
        black_box(cache.insert_if_absent(*key, n as u64));
        if n % 50 == 0 {
            cache.remove_if(*key, |_| true);
        }
    }
}

fn run<T: Table<Entry>>(threads: u64, rounds: u64) -> Duration {
    let traces: Vec<Vec<Key>> = (0..threads).map(trace).collect();
    let mut took = Duration::ZERO;
    for _ in 0..rounds {
        let cache: Cache<u64, T> = Cache::new(NonZeroUsize::new(SIZE).unwrap());
        let began = Instant::now();
        std::thread::scope(|scope| {
            for keys in &traces {
                scope.spawn(|| replay(&cache, keys));
            }
        });
        took += began.elapsed();
    }
    took
}

/// Times each insertion of one thread, to show how long a single payment may wait.
fn pauses<T: Table<Entry>>(name: &str) {
    let cache: Cache<u64, T> = Cache::new(NonZeroUsize::new(SIZE).unwrap());
    let mut times: Vec<u64> = trace(9)
        .iter()
        .map(|key| {
            let began = Instant::now();
            black_box(cache.insert_if_absent(*key, 1));
            began.elapsed().as_nanos() as u64
        })
        .collect();
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!("{name}: p50 {} ns, p99.9 {} ns, p99.99 {} ns, longest {} ns", at(0.5), at(0.999), at(0.9999), at(1.0));
}

fn compare(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("trace");
    group.sample_size(10).measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_millis(500));
    for threads in [1, 2] {
        group.throughput(Throughput::Elements(STEPS as u64 * threads));
        let runs: [(&str, fn(u64, u64) -> Duration); 4] = [
            ("papaya", run::<PapayaTable<Entry>>),
            ("scc", run::<Scc<Entry>>),
            ("dashmap", run::<Dash<Entry>>),
            ("mutex", run::<Mutexed<Entry>>),
        ];
        for (name, run) in runs {
            group.bench_with_input(BenchmarkId::new(name, threads), &threads, |bencher, threads| {
                bencher.iter_custom(|rounds| run(*threads, rounds));
            });
        }
    }
    group.finish();
    pauses::<PapayaTable<Entry>>("papaya");
    pauses::<Scc<Entry>>("scc");
    pauses::<Dash<Entry>>("dashmap");
    pauses::<Mutexed<Entry>>("mutex");
}

criterion_group!(benches, compare);
criterion_main!(benches);
