//! The local store on disk, in fjall. Writes are never synced: states that are lost in a crash of
//! the machine are read again from `order-states`.

use std::{
    array,
    collections::HashMap,
    fs, io,
    ops::Bound,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, config::PartitioningPolicy};
use tracing::info;
use twqr_consumer::KnownBeginnings;
use twqr_journal::Witness;
use twqr_service::CancellationToken;

use super::{StateStore, StoreError, StoreMark, StoredState, known_keys::KnownKeys};

/// A local store in a folder.
pub struct DiskStore {
    database: Database,
    states: Keyspace,
    marks: Keyspace,
    /// Held while the states of a shard are compared and written, so that two writers of one shard
    /// never replace a newer state. Shard number modulo length is the index.
    writing: [Mutex<()>; LOCKS],
    known: Mutex<HashMap<u16, Arc<Mutex<KnownKeys>>>>,
}

/// The name of the keyspace with the copies of states.
const COPIES: &str = "states";
/// How many locks the shards share.
const LOCKS: usize = 64;

/// The memory for cached blocks, in bytes.
const CACHE_BYTES: u64 = 16 << 20;
/// The memory for changes that are not written to a table yet, in bytes.
const MEMTABLE_BYTES: u64 = 8 << 20;
/// The size of the write-ahead log at which changes are written to tables, in bytes. All of the log
/// is read when the store is opened, so it bounds how long a restart takes.
const JOURNALING_BYTES_MAX: u64 = 64 << 20;
/// How many keys are learned at once, and the pause before the next ones: payments are decided
/// meanwhile.
const LEARNED_AT_ONCE: usize = 4_096;
const LEARN_PAUSE: Duration = Duration::from_millis(20);
/// The first byte with which an order's key may begin; those below mark other entries.
const ORDERS_FROM: u8 = 3;
/// The first byte of an index entry's key.
const INDEX_ENTRY: u8 = 1;
/// The length of the shard's number in front of each key, in bytes.
const SHARD_LEN: usize = 2;
/// The length of the position in front of each record, in bytes.
const POSITION_LEN: usize = 8;

#[allow(clippy::needless_pass_by_value, reason = "used as a function in map_err")]
fn failed(error: fjall::Error) -> StoreError {
    StoreError(error.to_string())
}

fn remove_if_there(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn open_database(folder: &Path) -> Result<Database, StoreError> {
    let database = Database::builder(folder).cache_size(CACHE_BYTES).max_journaling_size(JOURNALING_BYTES_MAX);
    database.open().map_err(failed)
}

impl DiskStore {
    /// Opens or creates the store in `folder`.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        Self::open_keyspaces(open_database(folder)?, [COPIES, "marks"])
    }

    /// Opens or creates a store of references in `folder`. They are in keyspaces of their own,
    /// since builds that know only copies would take an order's reference for an unreadable state.
    pub(super) fn open_for_references(folder: &Path) -> Result<Self, StoreError> {
        let failed = |error: io::Error| StoreError(format!("cannot remove the copies of states: {error}"));
        let removed = folder.with_extension("removed");
        remove_if_there(&removed).map_err(failed)?;
        let mut database = open_database(folder)?;
        if database.keyspace_exists(COPIES) {
            info!(folder = %folder.display(), "removing the copies of states; they are read again from order-states");
            drop(database);
            // Moved first: a store that a crash left removed in part may never open again.
            fs::rename(folder, &removed).and_then(|()| remove_if_there(&removed)).map_err(failed)?;
            database = open_database(folder)?;
        }
        Self::open_keyspaces(database, ["references", "reference-marks"])
    }

    fn open_keyspaces(database: Database, [states, marks]: [&str; 2]) -> Result<Self, StoreError> {
        // Filters and indices are read in parts: of a large table, all of one would replace most of
        // the cache at each look-up.
        let options = || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(MEMTABLE_BYTES)
                .filter_block_partitioning_policy(PartitioningPolicy::all(true))
                .index_block_partitioning_policy(PartitioningPolicy::all(true))
        };
        let states = database.keyspace(states, options).map_err(failed)?;
        let marks = database.keyspace(marks, KeyspaceCreateOptions::default).map_err(failed)?;
        Ok(Self { database, states, marks, writing: array::from_fn(|_| Mutex::default()), known: Mutex::default() })
    }

    /// The known keys of a shard. Every key is added before it is stored.
    fn known(&self, shard: u16) -> Arc<Mutex<KnownKeys>> {
        let new = || Arc::new(Mutex::new(KnownKeys::new()));
        lock(&self.known).entry(shard).or_insert_with(new).clone()
    }

    /// The keys of the shard's orders after `last`, at most [`LEARNED_AT_ONCE`] of them.
    fn keys_after(&self, shard: u16, last: &[u8]) -> Result<Vec<fjall::Slice>, StoreError> {
        let end = match shard.checked_add(1) {
            Some(next) => Bound::Excluded(full_key(next, &[])),
            None => Bound::Unbounded,
        };
        let keys = self.states.range((Bound::Excluded(full_key(shard, last)), end));
        keys.take(LEARNED_AT_ONCE).map(|guard| guard.key().map_err(failed)).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn full_key(shard: u16, key: &[u8]) -> Vec<u8> {
    let mut full = Vec::with_capacity(SHARD_LEN + key.len());
    full.extend_from_slice(&shard.to_be_bytes());
    full.extend_from_slice(key);
    full
}

/// Whether the entry is one of the index: those of one key all have the same content, so none
/// replaces a newer one.
fn is_index_entry(state: &StoredState) -> bool {
    state.key.first() == Some(&INDEX_ENTRY)
}

fn number(bytes: &[u8]) -> u64 {
    bytes.first_chunk::<8>().map_or(0, |eight| u64::from_be_bytes(*eight))
}

/// A witness in the first 16 bytes.
fn witness_in(bytes: &[u8]) -> Witness {
    Witness { offset: number(bytes), mark: bytes.get(8..).map_or(0, number) }
}

fn add_witness(value: &mut Vec<u8>, Witness { offset, mark }: Witness) {
    value.extend_from_slice(&offset.to_be_bytes());
    value.extend_from_slice(&mark.to_be_bytes());
}

impl StateStore for DiskStore {
    fn is_absent(&self, shard: u16, order: &[u8]) -> bool {
        lock(&self.known(shard)).is_absent(order)
    }

    fn learn_keys(&self, shard: u16, stop: &CancellationToken) -> Result<(), StoreError> {
        let known = self.known(shard);
        let mut last = vec![ORDERS_FROM];
        while !lock(&known).is_complete() && !stop.is_cancelled() {
            let keys = self.keys_after(shard, &last)?;
            let mut known = lock(&known);
            for key in &keys {
                known.add(key.get(SHARD_LEN..).unwrap_or_default());
            }
            let Some(newest) = keys.last().filter(|_| keys.len() == LEARNED_AT_ONCE) else {
                known.set_complete();
                return Ok(());
            };
            last = newest.get(SHARD_LEN..).unwrap_or_default().to_vec();
            drop(known);
            thread::sleep(LEARN_PAUSE);
        }
        Ok(())
    }

    fn mark(&self, shard: u16) -> Result<StoreMark, StoreError> {
        let mark = self.marks.get(shard.to_be_bytes()).map_err(failed)?;
        if mark.is_none() && self.keys_after(shard, &[])?.is_empty() {
            // A restore of a whole shard follows: it looks no order up that it knows to be new.
            lock(&self.known(shard)).set_complete();
        }
        Ok(mark.map_or(StoreMark::default(), |bytes| StoreMark {
            position: number(&bytes),
            states_offset: bytes.get(8..).map_or(0, number),
            // A mark of an earlier build ends before the witness or the beginnings.
            witness: bytes.get(16..32).map(witness_in),
            beginnings: bytes.get(32..64).map_or(KnownBeginnings::default(), |rest| KnownBeginnings {
                first: Some(witness_in(rest)),
                newest: Some(number(&rest[16..])),
            }),
            marker_follows: bytes.get(56..64).map(number) == Some(1),
            // The epoch comes last, and only it has 8 bytes after pairs of numbers.
            epoch: bytes.len().checked_sub(8).filter(|at| at % 16 == 0).and_then(|at| bytes.get(at..)).map(number),
        }))
    }

    fn get(&self, shard: u16, key: &[u8]) -> Result<Option<(u64, Bytes)>, StoreError> {
        let kept = self.states.get(full_key(shard, key)).map_err(failed)?;
        Ok(kept.map(|bytes| (number(&bytes), Bytes::copy_from_slice(bytes.get(POSITION_LEN..).unwrap_or_default()))))
    }

    fn put(&self, shard: u16, states: &[StoredState], mark: StoreMark) -> Result<Vec<Bytes>, StoreError> {
        let _writing = lock(&self.writing[usize::from(shard) % LOCKS]);
        let known = self.known(shard);
        let mut batch = self.database.batch();
        // One order may be in the batch twice, with its older state last, if a paused router wrote
        // that state to `order-states` late.
        let mut newest: HashMap<&[u8], (u64, Bytes)> = HashMap::with_capacity(states.len());
        let mut superseded = Vec::new();
        for state in states {
            let is_new = is_index_entry(state) || lock(&known).add(&state.key);
            let kept = match newest.get(&*state.key) {
                Some(newest) => Some(newest.clone()),
                None if is_new => None,
                None => self.get(shard, &state.key)?,
            };
            superseded.extend(kept.as_ref().and_then(|(position, record)| state.superseded(*position, record)));
            if kept.is_none_or(|(position, _)| position <= state.position) {
                newest.insert(&state.key, (state.position, state.record.clone()));
                let mut value = Vec::with_capacity(POSITION_LEN + state.record.len());
                value.extend_from_slice(&state.position.to_be_bytes());
                value.extend_from_slice(&state.record);
                batch.insert(&self.states, full_key(shard, &state.key), value);
            }
        }
        let StoreMark { position, states_offset, witness, epoch, beginnings, marker_follows } = mark;
        let mut value = position.to_be_bytes().to_vec();
        value.extend_from_slice(&states_offset.to_be_bytes());
        if let Some(witness) = witness {
            add_witness(&mut value, witness);
            if let KnownBeginnings { first: Some(first), newest: Some(newest) } = beginnings {
                add_witness(&mut value, first);
                value.extend_from_slice(&newest.to_be_bytes());
                value.extend_from_slice(&u64::from(marker_follows).to_be_bytes());
            }
        }
        value.extend(epoch.into_iter().flat_map(u64::to_be_bytes));
        batch.insert(&self.marks, shard.to_be_bytes(), value);
        batch.commit().map_err(failed)?;
        Ok(superseded)
    }
}
