//! A local store for a journal on the same disk that finds entries by their key. It keeps no second
//! copy of a state, but only the state's epoch and position. These give the key of the state in
//! `order-states`, from which it is read.
//!
//! A reference is stored once the state is acknowledged, and the key's newest entry is never
//! removed by compaction. An owner deletes the key of an older epoch only after its store refers to
//! a newer one. So a reference without a state means that `order-states` has lost records, and is
//! an error; otherwise the order would count as new.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use twqr_journal::{NewestByKey, Partition, Topic};
use twqr_service::CancellationToken;
use twqr_wire::convert::{epoch_key, state_epoch};

use super::{DiskStore, StateStore, StoreError, StoreMark, StoredState, subject};

/// The first byte of a reference, with which no protobuf record begins. The epoch follows, in eight
/// bytes.
const REFERENCE: u8 = 0;

/// A local store that refers to the states in `order-states`.
pub struct ReferenceStore {
    references: Arc<dyn StateStore>,
    states: Arc<dyn NewestByKey>,
}

impl ReferenceStore {
    /// Keeps the references in the store `references`, and reads the states from the journal.
    pub fn new(references: Arc<dyn StateStore>, states: Arc<dyn NewestByKey>) -> Self {
        Self { references, states }
    }

    /// Opens or creates the store in `folder`. A store of copies that is there is removed; the next
    /// restore reads all of `order-states` then.
    pub fn open(folder: &Path, states: Arc<dyn NewestByKey>) -> Result<Self, StoreError> {
        Ok(Self::new(Arc::new(DiskStore::open_for_references(folder)?), states))
    }
}

fn reference(epoch: u64) -> Bytes {
    [&[REFERENCE], epoch.to_be_bytes().as_slice()].concat().into()
}

fn referred_epoch(stored: &[u8]) -> Option<u64> {
    let (first, epoch) = stored.split_first()?;
    let epoch = epoch.first_chunk::<8>().filter(|_| *first == REFERENCE)?;
    Some(u64::from_be_bytes(*epoch))
}

/// The writer's epoch of a state that is stored as a record or as a reference.
pub(crate) fn stored_epoch(stored: &[u8]) -> Option<u64> {
    referred_epoch(stored).or_else(|| state_epoch(stored))
}

/// Replaces a record of `order-states` by a reference. Index entries stay as they are, and so does
/// a record whose epoch cannot be read.
fn refer(state: &StoredState) -> StoredState {
    let epoch = subject(&state.key).and_then(|_| state_epoch(&state.record));
    let record = epoch.map_or_else(|| state.record.clone(), reference);
    StoredState { key: state.key.clone(), position: state.position, record }
}

impl StateStore for ReferenceStore {
    fn may_block(&self) -> bool {
        self.references.may_block()
    }

    fn mark(&self, shard: u16) -> Result<StoreMark, StoreError> {
        self.references.mark(shard)
    }

    fn is_absent(&self, shard: u16, order: &[u8]) -> bool {
        self.references.is_absent(shard, order)
    }

    fn learn_keys(&self, shard: u16, stop: &CancellationToken) -> Result<(), StoreError> {
        self.references.learn_keys(shard, stop)
    }

    fn get(&self, shard: u16, key: &[u8]) -> Result<Option<(u64, Bytes)>, StoreError> {
        let Some((position, stored)) = self.references.get(shard, key)? else { return Ok(None) };
        let (Some(epoch), Some(subject)) = (referred_epoch(&stored), subject(key)) else {
            return Ok(Some((position, stored)));
        };
        let partition = Partition { topic: Topic::OrderStates, index: u32::from(shard) };
        let state = self.states.newest(partition, &epoch_key(epoch, subject));
        match state.map_err(|error| StoreError(error.to_string()))? {
            Some(state) => Ok(Some((position, state))),
            None => Err(StoreError(format!(
                "{partition} has no state of epoch {epoch} any more, to which the local store refers at position \
                 {position}: it has lost records; restore the data folder from a backup"
            ))),
        }
    }

    fn put(&self, shard: u16, states: &[StoredState], mark: StoreMark) -> Result<Vec<Bytes>, StoreError> {
        let references: Vec<StoredState> = states.iter().map(refer).collect();
        self.references.put(shard, &references, mark)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        sync::{Mutex, PoisonError},
    };

    use twqr_journal::JournalError;
    use twqr_order::PolicyVersions;
    use twqr_wire::convert::{StateBody, StateSubject, StatesEntry, encode_state};

    use super::*;
    use crate::MemoryStore;

    /// The newest entries of one partition.
    #[derive(Default)]
    struct Entries(Mutex<BTreeMap<Bytes, Bytes>>);

    impl Entries {
        fn set(&self, epoch: u64, record: Bytes) {
            let key = epoch_key(epoch, StateSubject::Order(b"order"));
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, record);
        }
    }

    impl NewestByKey for Entries {
        fn newest(&self, partition: Partition, key: &[u8]) -> Result<Option<Bytes>, JournalError> {
            assert_eq!(partition, Partition { topic: Topic::OrderStates, index: 7 });
            Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
        }
    }

    fn record(epoch: u64, position: u64) -> Bytes {
        encode_state(&StatesEntry { epoch, position, body: StateBody::Policies(PolicyVersions::default()) }).1
    }

    fn state(epoch: u64, position: u64) -> StoredState {
        StoredState { key: Bytes::from_static(b"order"), position, record: record(epoch, position) }
    }

    #[test]
    fn a_state_is_read_from_order_states_and_its_absence_there_is_never_that_of_the_order() {
        let (kept, entries) = (Arc::new(MemoryStore::default()), Arc::new(Entries::default()));
        let store = ReferenceStore::new(kept.clone(), entries.clone());
        store.put(7, &[state(3, 5)], StoreMark::default()).unwrap();
        let (_, stored) = kept.get(7, b"order").unwrap().unwrap();
        assert_eq!(stored.len(), 9, "a reference is small");
        let lost = store.get(7, b"order").unwrap_err().to_string();
        assert!(lost.contains("order-states/7 has no state of epoch 3"), "{lost}");
        for position in [5, 8] {
            entries.set(3, record(3, position));
            assert_eq!(store.get(7, b"order").unwrap().unwrap().1, record(3, position));
        }
        store.put(7, &[state(4, 12), state(3, 9)], StoreMark::default()).unwrap();
        entries.set(4, record(4, 12));
        assert_eq!(store.get(7, b"order").unwrap(), Some((12, record(4, 12))));
        assert_eq!(store.get(7, b"other").unwrap(), None);
    }

    #[test]
    fn index_entries_and_records_that_cannot_be_read_are_kept_as_they_are() {
        let store = ReferenceStore::new(Arc::new(MemoryStore::default()), Arc::new(Entries::default()));
        for key in [&b"\x01number"[..], b"order"] {
            let state = StoredState { key: Bytes::from_static(key), position: 4, record: "\u{1}M1\0T1".into() };
            store.put(7, std::slice::from_ref(&state), StoreMark::default()).unwrap();
            assert_eq!(store.get(7, key).unwrap(), Some((4, state.record)));
        }
    }
}
