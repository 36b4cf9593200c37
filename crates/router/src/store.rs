//! The local store: all orders of the owned shards, up to the last checkpoint. It is a cache of
//! `order-states`: all of its content was acknowledged in that topic, so the loss of a store costs
//! only time. If the topic is on the same disk, the store only refers to the states in it.

mod disk;
mod known_keys;
mod memory;
mod references;
mod shard_store;

use bytes::Bytes;
use twqr_consumer::KnownBeginnings;
use twqr_journal::Witness;
use twqr_service::CancellationToken;
use twqr_wire::convert::StateSubject;

use crate::superseded::superseded_key;

pub use disk::DiskStore;
pub use memory::MemoryStore;
pub use references::ReferenceStore;
pub(crate) use references::stored_epoch;
pub(crate) use shard_store::ShardStore;

/// The local store failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("local store of orders: {0}")]
pub struct StoreError(pub String);

/// The position of the store of a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreMark {
    /// The store reflects the records of `orders` below this offset.
    pub position: u64,
    /// The store reflects the records of `order-states` below this offset.
    pub states_offset: u64,
    /// A record of `orders` below `position`, by which the log is recognised.
    pub witness: Option<Witness>,
    /// The epoch of the marker at `position`; `None` if there is no marker, or if an earlier build
    /// has stored it.
    pub epoch: Option<u64>,
    /// The beginnings in `order-states` that were read, by which that topic is recognised.
    pub beginnings: KnownBeginnings,
    /// The marker of `position`, or a newer one, is in `order-states` at `states_offset` or after
    /// it. If this is false, it may also be before that.
    pub marker_follows: bool,
}

/// An entry to store: a record of `order-states`, unchanged; or an index entry from a payment's
/// TradeNo to its key.
#[derive(Clone, Debug)]
pub struct StoredState {
    /// The order's key in bytes; a single zero byte for the policy's versions; the byte 1 and the
    /// TradeNo for an index entry; the byte 2 and the listing's key for an entry of the directory
    /// of merchants.
    pub key: Bytes,
    /// The position that the state reflects.
    pub position: u64,
    /// The encoded record, or the payment's key.
    pub record: Bytes,
}

/// Stores the orders of the owned shards. A state's position never falls, whichever calls run at
/// once, so a mark that was true stays true.
pub trait StateStore: Send + Sync + 'static {
    /// Whether a call may wait for a disk. Such calls run on threads that may block, never on a
    /// thread of the async runtime.
    fn may_block(&self) -> bool {
        true
    }

    /// The position of the shard's store; zeros for a shard that was never stored.
    fn mark(&self, shard: u16) -> Result<StoreMark, StoreError>;

    /// Whether the store surely has no state of the order with this key. Never waits; false where
    /// that is not known.
    fn is_absent(&self, _shard: u16, _order: &[u8]) -> bool {
        false
    }

    /// Learns which orders of the shard are stored, so that [`StateStore::is_absent`] can tell.
    /// Takes long if there are many; ends early once `stop` fires.
    fn learn_keys(&self, _shard: u16, _stop: &CancellationToken) -> Result<(), StoreError> {
        Ok(())
    }

    /// A state, with the position up to which it is known to reflect the records.
    fn get(&self, shard: u16, key: &[u8]) -> Result<Option<(u64, Bytes)>, StoreError>;

    /// Stores the states and the mark atomically. A state that is older than the stored one is
    /// skipped. Returns the keys in `order-states` of the states that were replaced or skipped, if
    /// the other state belongs to a newer epoch.
    fn put(&self, shard: u16, states: &[StoredState], mark: StoreMark) -> Result<Vec<Bytes>, StoreError>;
}

/// The subject of a state with this key of [`StoredState::key`]; `None` for an index entry.
fn subject(key: &[u8]) -> Option<StateSubject<'_>> {
    match key.split_first()? {
        (0, _) => Some(StateSubject::Policies),
        (1, _) => None,
        (2, listing) => Some(StateSubject::Listing(listing)),
        _ => Some(StateSubject::Order(key)),
    }
}

impl StoredState {
    /// The key in `order-states` of this state or of the stored one, if the other supersedes it.
    fn superseded(&self, stored_position: u64, stored: &[u8]) -> Option<Bytes> {
        superseded_key(subject(&self.key)?, (stored_position, stored), (self.position, &self.record))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use twqr_journal_sim::{Faults, Layout, Sim};
    use twqr_order::PolicyVersions;
    use twqr_wire::convert::{StateBody, StatesEntry, encode_state, epoch_key};

    use super::*;

    const LAYOUT: Layout = Layout { shards: 1, task_partitions: 1 };

    /// The positions of one order's states in the order in which they were read, by batch; and the
    /// position of the state that is kept.
    const CASES: [(&str, &[&[u64]], u64); 5] = [
        ("one", &[&[5]], 5),
        ("newer in another batch", &[&[5], &[7]], 7),
        ("older in another batch", &[&[7], &[5]], 7),
        ("newer in one batch", &[&[5, 7]], 7),
        ("older last in one batch", &[&[3], &[5, 7, 6]], 7),
    ];

    /// A case's name, two states as epoch and position, and the epoch that is superseded.
    type Case = (&'static str, [(u64, u64); 2], Option<u64>);

    /// What is superseded when two states of an order are stored one after the other, each with its
    /// epoch and position: the epoch of the one whose key may be deleted.
    const SUPERSEDED: [Case; 4] = [
        ("a newer epoch follows", [(3, 5), (9, 12)], Some(3)),
        ("an older epoch follows late", [(9, 12), (3, 8)], Some(3)),
        ("the same epoch follows", [(3, 5), (3, 7)], None),
        ("a newer epoch is older, which never happens", [(9, 5), (3, 12)], None),
    ];

    fn check_superseded(store: &dyn StateStore, kind: &str) {
        for (shard, (name, states, superseded)) in (100..).zip(SUPERSEDED) {
            let versions = PolicyVersions::default();
            let stored = |(epoch, position)| {
                let body = StateBody::Policies(versions.clone());
                let record = encode_state(&StatesEntry { epoch, position, body }).1;
                StoredState { key: Bytes::from_static(b"order"), position, record }
            };
            let expected: Vec<Bytes> =
                superseded.map(|epoch| epoch_key(epoch, StateSubject::Order(b"order"))).into_iter().collect();
            let [first, second] = states.map(stored);
            let both = [first.clone(), second.clone()];
            assert_eq!(store.put(shard, &both, StoreMark::default()).unwrap(), expected, "{kind}: {name}, at once");
            let shard = shard + 100;
            assert!(store.put(shard, &[first], StoreMark::default()).unwrap().is_empty());
            assert_eq!(store.put(shard, &[second], StoreMark::default()).unwrap(), expected, "{kind}: {name}");
        }
    }

    #[test]
    fn the_key_of_an_older_epoch_is_superseded_in_any_order_of_arrival() {
        check_superseded(&MemoryStore::default(), "memory");
        let folder = tempfile::tempdir().unwrap();
        check_superseded(&DiskStore::open(folder.path()).unwrap(), "disk");
        let (kept, journal) = (Arc::new(MemoryStore::default()), Sim::new(LAYOUT, Faults::default(), 1));
        check_superseded(&ReferenceStore::new(kept, journal.session("router")), "references");
    }

    #[test]
    fn a_mark_is_kept_whole() {
        let folder = tempfile::tempdir().unwrap();
        let store = DiskStore::open(folder.path()).unwrap();
        let witness = |offset| Some(Witness { offset, mark: 77 });
        let some = KnownBeginnings { first: witness(3), newest: Some(9) };
        for (shard, (witness, epoch, beginnings, marker_follows)) in (0..).zip([
            (None, None, KnownBeginnings::default(), false),
            (None, Some(3), KnownBeginnings::default(), false),
            (witness(8), None, KnownBeginnings::default(), false),
            (witness(8), Some(3), KnownBeginnings::default(), false),
            (witness(8), None, some, true),
            (witness(8), Some(3), some, true),
            (witness(8), Some(3), some, false),
        ]) {
            let mark = StoreMark { position: 9, states_offset: 5, witness, epoch, beginnings, marker_follows };
            store.put(shard, &[], mark).unwrap();
            assert_eq!(store.mark(shard).unwrap(), mark);
        }
    }

    #[test]
    fn a_disk_store_knows_after_learning_which_orders_it_has_whenever_they_were_stored() {
        let folder = tempfile::tempdir().unwrap();
        let order = |n: u64| StoredState { key: format!("order-{n}").into(), position: n, record: "state".into() };
        let put = |store: &DiskStore, n| drop(store.put(7, &[order(n)], StoreMark::default()).unwrap());
        put(&DiskStore::open(folder.path()).unwrap(), 1);
        let store = DiskStore::open(folder.path()).unwrap();
        put(&store, 2);
        assert!(!store.is_absent(7, b"order-3"), "it has not learned yet");
        store.learn_keys(7, &CancellationToken::new()).unwrap();
        put(&store, 4);
        let absent: Vec<u64> = (1..6).filter(|n| store.is_absent(7, &order(*n).key)).collect();
        assert_eq!(absent, [3, 5]);
        assert!(!store.is_absent(8, b"order-3"), "each shard learns for itself");
    }

    #[test]
    fn an_empty_disk_store_knows_from_the_first_which_orders_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let order = |n: u64| StoredState { key: format!("order-{n}").into(), position: n, record: "state".into() };
        let mark = StoreMark { position: 9, ..StoreMark::default() };
        let store = DiskStore::open(folder.path()).unwrap();
        assert!(!store.is_absent(7, b"order-1"), "it has not looked yet");
        store.mark(7).unwrap();
        assert!(store.is_absent(7, b"order-1"));
        store.put(7, &[order(1)], mark).unwrap();
        assert_eq!([1, 2].map(|n| store.is_absent(7, &order(n).key)), [false, true]);
        drop(store);
        let store = DiskStore::open(folder.path()).unwrap();
        store.mark(7).unwrap();
        assert!(!store.is_absent(7, b"order-1"), "it is no longer empty");
    }

    #[test]
    fn learning_that_was_stopped_is_not_taken_for_complete() {
        let folder = tempfile::tempdir().unwrap();
        let store = DiskStore::open(folder.path()).unwrap();
        let stop = CancellationToken::new();
        stop.cancel();
        store.learn_keys(7, &stop).unwrap();
        assert!(!store.is_absent(7, b"order"));
    }

    #[test]
    fn a_store_of_references_replaces_one_of_copies_and_builds_that_know_only_copies_read_no_reference() {
        let folder = tempfile::tempdir().unwrap();
        let order = StoredState { key: "order".into(), position: 5, record: "state".into() };
        let mark = StoreMark { position: 9, ..StoreMark::default() };
        for _ in 0..2 {
            let copies = DiskStore::open(folder.path()).unwrap();
            assert_eq!(copies.mark(7).unwrap(), StoreMark::default());
            assert_eq!(copies.get(7, &order.key).unwrap(), None);
            copies.put(7, std::slice::from_ref(&order), mark).unwrap();
            drop(copies);
            let references = DiskStore::open_for_references(folder.path()).unwrap();
            assert_eq!(references.mark(7).unwrap(), StoreMark::default());
            references.put(7, std::slice::from_ref(&order), mark).unwrap();
            drop(references);
            let references = DiskStore::open_for_references(folder.path()).unwrap();
            assert_eq!(references.mark(7).unwrap(), mark, "references are kept");
            assert!(references.get(7, &order.key).unwrap().is_some());
        }
    }

    /// The removal of a store of copies may be cut off anywhere.
    #[test]
    fn what_a_crash_has_left_of_a_store_of_copies_is_removed_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let [orders, removed] = ["orders", "orders.removed"].map(|name| folder.path().join(name));
        drop(DiskStore::open(&orders).unwrap());
        std::fs::create_dir(&removed).unwrap();
        std::fs::write(removed.join("part"), "of a table").unwrap();
        for _ in 0..2 {
            drop(DiskStore::open_for_references(&orders).unwrap());
            assert!(!removed.exists());
        }
    }

    fn check(store: &dyn StateStore, kind: &str) {
        for (shard, (name, batches, kept)) in (0..).zip(CASES) {
            for batch in batches {
                let state = |position: &u64| StoredState {
                    key: Bytes::from_static(b"order"),
                    position: *position,
                    record: position.to_string().into(),
                };
                let states: Vec<StoredState> = batch.iter().map(state).collect();
                store.put(shard, &states, StoreMark::default()).unwrap();
            }
            let expected = Some((kept, Bytes::from(kept.to_string())));
            assert_eq!(store.get(shard, b"order").unwrap(), expected, "{kind}: {name}");
        }
    }

    #[test]
    fn the_state_with_the_highest_position_is_kept_in_any_order_of_arrival() {
        check(&MemoryStore::default(), "memory");
        let folder = tempfile::tempdir().unwrap();
        check(&DiskStore::open(folder.path()).unwrap(), "disk");
    }
}
