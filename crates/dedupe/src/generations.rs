//! The cache's two generations, and the protocol by which each key has exactly one first inserter
//! while generations rotate.
//!
//! The race to avoid: a slow inserter puts its entry into a generation that has just become the
//! previous one, after another inserter has looked there, found nothing, and inserted into the new
//! one. Both would be reported as first. So an entry begins as *pending*, and is valid only once it
//! is *confirmed*:
//!
//! - After inserting, an inserter checks that the generations have not changed. If they have not,
//!   any thread that uses newer generations will find the entry, so the inserter confirms it.
//!   Otherwise it voids the entry and starts again.
//! - A thread that finds a pending entry in the current generation, and sees that the generations
//!   have not changed, confirms the entry for its inserter.
//! - A thread that finds a pending entry in the previous generation voids it and continues as if
//!   the key were absent.
//! - Pending becomes confirmed or void in one compare-and-swap, so all threads agree. The inserter
//!   was first if and only if its entry was confirmed.

use std::{
    marker::PhantomData,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering, fence},
    },
};

use arc_swap::ArcSwap;

use crate::{Key, PapayaTable, Table};

const PENDING: u8 = 0;
const CONFIRMED: u8 = 1;
const VOID: u8 = 2;

/// The result of an insertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted<V> {
    /// The key was absent: this insertion is the first.
    New,
    /// The key was present, with this value of the first insertion.
    Present(V),
}

/// The state of a slot: one byte, changed by compare-and-swap.
pub trait State: Default + Send + Sync {
    /// Changes `from` to `to`. If the state is not `from`, returns the present state as the error.
    fn change(&self, from: u8, to: u8) -> Result<(), u8>;
    /// The present state.
    fn read(&self) -> u8;
}

impl State for AtomicU8 {
    fn change(&self, from: u8, to: u8) -> Result<(), u8> {
        self.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).map(|_| ())
    }

    fn read(&self) -> u8 {
        self.load(Ordering::Acquire)
    }
}

/// An entry of a generation: its value, and whether it is valid.
#[derive(Debug)]
pub struct Slot<V, S> {
    state: S,
    value: V,
}

/// The two generations at one moment; a rotation replaces the pair.
#[derive(Debug)]
pub struct Pair<T> {
    current: Arc<T>,
    previous: Arc<T>,
    /// How many confirmed entries the current generation has received.
    taken: AtomicUsize,
}

/// The shared pointer to the pair, which is replaced as a whole.
pub trait Pointer<T>: Send + Sync {
    /// Starts with this pair.
    fn new(pair: Arc<Pair<T>>) -> Self;
    /// The present pair.
    fn load(&self) -> Arc<Pair<T>>;
    /// Replaces `old` with `new`, if `old` is still the present pair.
    fn replace(&self, old: &Arc<Pair<T>>, new: Arc<Pair<T>>);
}

impl<T: Send + Sync> Pointer<T> for ArcSwap<Pair<T>> {
    fn new(pair: Arc<Pair<T>>) -> Self {
        Self::new(pair)
    }

    fn load(&self) -> Arc<Pair<T>> {
        self.load_full()
    }

    fn replace(&self, old: &Arc<Pair<T>>, new: Arc<Pair<T>>) {
        drop(self.compare_and_swap(old, new));
    }
}

/// The protocol for any map, state and pointer. Services use [`Cache`]; the parameters are for
/// tests and benchmarks.
pub struct Protocol<V, S, T, P> {
    pointer: P,
    /// The number of entries at which a generation is full.
    size: usize,
    slots: PhantomData<fn() -> Slot<V, S>>,
    table: PhantomData<fn() -> T>,
}

/// The cache with real atomics, and by default with the map of papaya.
pub type Cache<V, T = PapayaTable<Slot<V, AtomicU8>>> = Protocol<V, AtomicU8, T, ArcSwap<Pair<T>>>;

impl<V, S, T, P> Protocol<V, S, T, P>
where
    V: Clone + Send + Sync,
    S: State,
    T: Table<Slot<V, S>>,
    P: Pointer<T>,
{
    /// Creates a cache of two generations with `size` entries each. Each is allocated at once.
    pub fn new(size: NonZeroUsize) -> Self {
        let size = size.get();
        let pair =
            Pair { current: Arc::new(T::sized(size)), previous: Arc::new(T::sized(0)), taken: AtomicUsize::new(0) };
        Self { pointer: P::new(Arc::new(pair)), size, slots: PhantomData, table: PhantomData }
    }

    /// Inserts a value if the key is absent. Of all calls with one key, exactly one returns
    /// [`Inserted::New`] until its entry is dropped or removed.
    pub fn insert_if_absent(&self, key: Key, value: V) -> Inserted<V> {
        loop {
            let pair = self.pair();
            if let Some(value) = find_previous(&pair, key) {
                return Inserted::Present(value);
            }
            let own = Arc::new(Slot { state: S::default(), value: value.clone() });
            match pair.current.insert(key, own.clone()) {
                Ok(()) => {
                    if self.settle_own(&pair, &own) {
                        self.count(&pair);
                        return Inserted::New;
                    }
                    pair.current.remove(key, &own);
                }
                Err(existing) => match self.settle_other(&pair, &existing) {
                    Some(value) => return Inserted::Present(value),
                    None => pair.current.remove(key, &existing),
                },
            }
        }
    }

    /// The value that was inserted first, if its entry is still kept.
    pub fn get(&self, key: Key) -> Option<V> {
        let pair = self.pair();
        let current = pair.current.get(key).and_then(|entry| self.settle_other(&pair, &entry));
        current.or_else(|| find_previous(&pair, key))
    }

    /// Removes the key's entry if `matches` accepts its value. The next insertion of the key is
    /// then the first again.
    pub fn remove_if(&self, key: Key, matches: impl Fn(&V) -> bool) {
        let pair = self.pair();
        for table in [&pair.current, &pair.previous] {
            if let Some(slot) = table.get(key).filter(|slot| matches(&slot.value)) {
                let state = slot.state.change(CONFIRMED, VOID).map_or_else(|state| state, |()| VOID);
                if state == VOID {
                    table.remove(key, &slot);
                }
            }
        }
    }

    /// Makes the current generation the previous one, and drops the entries of the older one.
    pub fn rotate(&self) {
        let pair = self.pair();
        self.rotate_from(&pair);
    }

    /// The number of entries in both generations.
    pub fn len(&self) -> usize {
        let pair = self.pair();
        pair.current.len() + pair.previous.len()
    }

    /// Whether no entry is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The largest number of entries, not counting insertions in progress.
    pub fn capacity(&self) -> usize {
        self.size * 2
    }

    /// The present pair. The fence ensures that later reads see memory at least as new as the pair.
    fn pair(&self) -> Arc<Pair<T>> {
        let pair = self.pointer.load();
        fence(Ordering::SeqCst);
        pair
    }

    /// Whether no rotation has replaced the pair.
    fn is_present(&self, pair: &Arc<Pair<T>>) -> bool {
        fence(Ordering::SeqCst);
        Arc::ptr_eq(&self.pointer.load(), pair)
    }

    /// Confirms or voids the caller's new entry; returns whether it is confirmed.
    fn settle_own(&self, pair: &Arc<Pair<T>>, own: &Slot<V, S>) -> bool {
        let to = if self.is_present(pair) { CONFIRMED } else { VOID };
        match own.state.change(PENDING, to) {
            Ok(()) => to == CONFIRMED,
            Err(state) => state == CONFIRMED,
        }
    }

    /// Settles another inserter's entry in the current generation; returns its value if it is
    /// confirmed.
    fn settle_other(&self, pair: &Arc<Pair<T>>, entry: &Slot<V, S>) -> Option<V> {
        let state = match entry.state.read() {
            PENDING => {
                let to = if self.is_present(pair) { CONFIRMED } else { VOID };
                entry.state.change(PENDING, to).map_or_else(|state| state, |()| to)
            }
            settled => settled,
        };
        (state == CONFIRMED).then(|| entry.value.clone())
    }

    /// Counts a confirmed entry, and rotates when the generation is full.
    fn count(&self, pair: &Arc<Pair<T>>) {
        if pair.taken.fetch_add(1, Ordering::Relaxed) + 1 == self.size {
            self.rotate_from(pair);
        }
    }

    fn rotate_from(&self, pair: &Arc<Pair<T>>) {
        let next =
            Pair { current: Arc::new(T::sized(self.size)), previous: pair.current.clone(), taken: AtomicUsize::new(0) };
        self.pointer.replace(pair, Arc::new(next));
    }
}

/// The value of a key in the previous generation. An entry that is still pending there is voided.
fn find_previous<V, S, T>(pair: &Pair<T>, key: Key) -> Option<V>
where
    V: Clone,
    S: State,
    T: Table<Slot<V, S>>,
{
    let entry = pair.previous.get(key)?;
    let state = entry.state.change(PENDING, VOID).map_or_else(|state| state, |()| VOID);
    (state == CONFIRMED).then(|| entry.value.clone())
}

#[cfg(test)]
mod tests;
