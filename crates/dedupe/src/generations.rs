//! Two generations, and the protocol that gives every key one first inserter while they rotate.
//!
//! Danger: a slow inserter puts its entry into a generation that has just become the previous one,
//! after somebody else has looked for it there in vain and inserts into the new one. So an entry
//! begins as *pending*, and counts only once it is *confirmed*:
//!
//! - After inserting, look whether the generations are still the same. If so, whoever sees newer
//!   ones will find the entry: confirm it. If not, void it and begin again.
//! - Who meets a pending entry in the current generation, and sees that the generations are still
//!   the same, confirms it for its owner.
//! - Who meets a pending entry in the previous generation voids it, and goes on as if there were
//!   none.
//! - Pending becomes confirmed or void in one compare-and-swap, so that all agree; the owner was
//!   first if and only if it was confirmed.

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

/// What an insertion found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted<V> {
    /// Nobody was there: this one is the first.
    New,
    /// The first one's value.
    Present(V),
}

/// The state of a slot: one byte, changed by compare-and-swap.
pub trait State: Default + Send + Sync {
    /// Changes `from` to `to`; else tells what it is.
    fn change(&self, from: u8, to: u8) -> Result<(), u8>;
    /// What it is.
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

/// An entry.
#[derive(Debug)]
pub struct Slot<V, S> {
    state: S,
    value: V,
}

/// The generations at a moment.
#[derive(Debug)]
pub struct Pair<T> {
    current: Arc<T>,
    previous: Arc<T>,
    /// Confirmed entries that the current one has taken.
    taken: AtomicUsize,
}

/// Where the pair stands; replaced as a whole.
pub trait Pointer<T>: Send + Sync {
    /// Begins with this pair.
    fn new(pair: Arc<Pair<T>>) -> Self;
    /// The pair now.
    fn load(&self) -> Arc<Pair<T>>;
    /// Puts `new` in the place of `old`, if that is still there.
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

/// The protocol over any map, state and pointer; [`Cache`] is what to use.
pub struct Protocol<V, S, T, P> {
    pointer: P,
    /// Entries of one generation.
    size: usize,
    slots: PhantomData<fn() -> Slot<V, S>>,
    table: PhantomData<fn() -> T>,
}

/// The cache.
pub type Cache<V, T = PapayaTable<Slot<V, AtomicU8>>> = Protocol<V, AtomicU8, T, ArcSwap<Pair<T>>>;

impl<V, S, T, P> Protocol<V, S, T, P>
where
    V: Clone + Send + Sync,
    S: State,
    T: Table<Slot<V, S>>,
    P: Pointer<T>,
{
    /// Two generations of `size` entries each, allocated at once.
    pub fn new(size: NonZeroUsize) -> Self {
        let size = size.get();
        let pair =
            Pair { current: Arc::new(T::sized(size)), previous: Arc::new(T::sized(0)), taken: AtomicUsize::new(0) };
        Self { pointer: P::new(Arc::new(pair)), size, slots: PhantomData, table: PhantomData }
    }

    /// Of any number of callers with one key, exactly one is told [`Inserted::New`] while its entry
    /// lives.
    pub fn insert_if_absent(&self, key: Key, value: V) -> Inserted<V> {
        loop {
            let pair = self.pair();
            if let Some(there) = find_previous(&pair, key) {
                return Inserted::Present(there);
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
                Err(there) => match self.settle_other(&pair, &there) {
                    Some(value) => return Inserted::Present(value),
                    None => pair.current.remove(key, &there),
                },
            }
        }
    }

    /// The first one's value, if it is known.
    pub fn get(&self, key: Key) -> Option<V> {
        let pair = self.pair();
        let current = pair.current.get(key).and_then(|there| self.settle_other(&pair, &there));
        current.or_else(|| find_previous(&pair, key))
    }

    /// Forgets the key's entry if `is_it` says so of its value; the next to insert is the first
    /// again.
    pub fn remove_if(&self, key: Key, is_it: impl Fn(&V) -> bool) {
        let pair = self.pair();
        for table in [&pair.current, &pair.previous] {
            if let Some(slot) = table.get(key).filter(|slot| is_it(&slot.value)) {
                let is = slot.state.change(CONFIRMED, VOID).map_or_else(|is| is, |()| VOID);
                if is == VOID {
                    table.remove(key, &slot);
                }
            }
        }
    }

    /// Makes the current generation the previous one.
    pub fn rotate(&self) {
        let pair = self.pair();
        self.rotate_from(&pair);
    }

    /// How many entries are kept.
    pub fn len(&self) -> usize {
        let pair = self.pair();
        pair.current.len() + pair.previous.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many entries are kept at the most, but for those that are being inserted.
    pub fn capacity(&self) -> usize {
        self.size * 2
    }

    /// What is read after this is at least as new as the pair.
    fn pair(&self) -> Arc<Pair<T>> {
        let pair = self.pointer.load();
        fence(Ordering::SeqCst);
        pair
    }

    fn is_now(&self, pair: &Arc<Pair<T>>) -> bool {
        fence(Ordering::SeqCst);
        Arc::ptr_eq(&self.pointer.load(), pair)
    }

    /// Whether the entry that was just inserted counts.
    fn settle_own(&self, pair: &Arc<Pair<T>>, own: &Slot<V, S>) -> bool {
        let to = if self.is_now(pair) { CONFIRMED } else { VOID };
        match own.state.change(PENDING, to) {
            Ok(()) => to == CONFIRMED,
            Err(is) => is == CONFIRMED,
        }
    }

    /// The value of another's entry in the current generation, if it counts.
    fn settle_other(&self, pair: &Arc<Pair<T>>, there: &Slot<V, S>) -> Option<V> {
        let is = match there.state.read() {
            PENDING => {
                let to = if self.is_now(pair) { CONFIRMED } else { VOID };
                there.state.change(PENDING, to).map_or_else(|is| is, |()| to)
            }
            is => is,
        };
        (is == CONFIRMED).then(|| there.value.clone())
    }

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

/// The value of a key in the previous generation; an entry that is still pending there never
/// counts.
fn find_previous<V, S, T>(pair: &Pair<T>, key: Key) -> Option<V>
where
    V: Clone,
    S: State,
    T: Table<Slot<V, S>>,
{
    let there = pair.previous.get(key)?;
    let is = there.state.change(PENDING, VOID).map_or_else(|is| is, |()| VOID);
    (is == CONFIRMED).then(|| there.value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(size: usize) -> Cache<u32> {
        Cache::new(NonZeroUsize::new(size).unwrap())
    }

    #[test]
    fn the_first_value_stays() {
        let cache = cache(8);
        assert_eq!(cache.insert_if_absent(1, 10), Inserted::New);
        assert_eq!(cache.insert_if_absent(1, 11), Inserted::Present(10));
        assert_eq!((cache.get(1), cache.get(2)), (Some(10), None));
    }

    #[test]
    fn an_entry_lives_for_one_generation_at_least_and_two_at_most() {
        let cache = cache(100);
        for key in 0..1_000_u32 {
            assert_eq!(cache.insert_if_absent(key.into(), key), Inserted::New);
            for newer in 0..=key.min(99) {
                assert_eq!(cache.get((key - newer).into()), Some(key - newer), "at {key}");
            }
            assert!(key < 200 || cache.get((key - 200).into()).is_none(), "at {key}");
            assert!(cache.len() <= cache.capacity());
        }
    }

    #[test]
    fn what_is_removed_can_be_first_again_in_either_generation() {
        let cache = cache(8);
        for rotations in 0..2 {
            let key = 7 + rotations;
            assert_eq!(cache.insert_if_absent(key, 1), Inserted::New);
            for _ in 0..rotations {
                cache.rotate();
            }
            cache.remove_if(key, |value| *value == 2);
            assert_eq!(cache.insert_if_absent(key, 2), Inserted::Present(1), "another's entry stays");
            cache.remove_if(key, |value| *value == 1);
            assert_eq!(cache.insert_if_absent(key, 3), Inserted::New);
        }
    }

    #[test]
    fn many_threads_have_one_first_for_each_key_while_generations_rotate() {
        let cache = Arc::new(cache(64));
        let wins: Vec<AtomicUsize> = (0..20_000).map(|_| AtomicUsize::new(0)).collect();
        std::thread::scope(|scope| {
            for thread in 0..4_u32 {
                let (cache, wins) = (&cache, &wins);
                scope.spawn(move || {
                    for (key, won) in wins.iter().enumerate() {
                        if cache.insert_if_absent(key as u128, thread) == Inserted::New {
                            won.fetch_add(1, Ordering::Relaxed);
                        }
                        if key % 16 == 0 {
                            std::thread::yield_now();
                        }
                    }
                });
            }
        });
        // A thread that lags by more than a generation may meet a key that was forgotten meanwhile;
        // nobody may find one unwon.
        assert!(wins.iter().all(|won| won.load(Ordering::Relaxed) >= 1));
    }
}
