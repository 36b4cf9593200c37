//! The folder on disk: a keyspace for each durable topic, with records by partition and offset, and
//! keyspaces for the positions of readers and for the layout that the folder was created with.

use std::{collections::BTreeMap, fs, os::unix::fs::DirBuilderExt, path::Path, sync::Arc};

use bytes::Bytes;
use fjall::{
    Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Readable, config::PartitioningPolicy,
};

use super::{
    floors::Floors,
    record_key::{offset_of, record_key},
};
use crate::{Entry, Group, JournalError, Offset, Partition, Position, Record, Topic};

/// The format of the folder; another build may write another one.
const FORMAT: &[u8] = b"twqr journal 1";
/// Memory for cached blocks, in bytes.
const CACHE_BYTES: u64 = 16 << 20;
/// Memory for the changes of each keyspace that are not yet in a table, in bytes.
const MEMTABLE_BYTES: u64 = 8 << 20;
/// Size of the write-ahead log at which memtables are flushed, in bytes.
const JOURNALING_BYTES_MAX: u64 = 128 << 20;

pub(super) struct Disk {
    database: Database,
    topics: BTreeMap<Topic, Keyspace>,
    /// The offset of the newest entry, by partition index and key of a compacted topic.
    newest: Keyspace,
    positions: Keyspace,
    /// The floor of each trimmed partition, under the partition's name.
    stored_floors: Keyspace,
    layout: Keyspace,
    floors: Floors,
}

/// The end of a partition to look up.
#[derive(Clone, Copy)]
enum Edge {
    Oldest,
    Newest,
}

fn unusable(dir: &Path, error: &dyn std::fmt::Display) -> JournalError {
    JournalError::Unusable(format!("journal in {}: {error}", dir.display()).into())
}

/// The key under which the offset of the newest entry with this key is kept.
fn newest_key(partition: Partition, key: &[u8]) -> Vec<u8> {
    [&partition.index.to_be_bytes(), key].concat()
}

fn position_key(group: Group, partition: Partition) -> Vec<u8> {
    format!("{}/{partition}", group.name()).into_bytes()
}

/// The stored form of an entry: length of the key in four bytes, the key, then 1 and the value, or
/// 0 if there is no value.
pub fn stored_form(entry: &Entry) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(5 + entry.key.len() + entry.value.as_ref().map_or(0, Bytes::len));
    bytes.extend_from_slice(&(entry.key.len() as u32).to_be_bytes());
    bytes.extend_from_slice(&entry.key);
    bytes.push(u8::from(entry.value.is_some()));
    bytes.extend_from_slice(entry.value.as_deref().unwrap_or_default());
    bytes
}

/// Reads an entry in its stored form; absent if it is damaged.
pub fn read_stored(bytes: &[u8]) -> Option<Entry> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (key, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    let (has_value, value) = rest.split_first()?;
    let value = (*has_value == 1).then(|| Bytes::copy_from_slice(value));
    Some(Entry { key: Bytes::copy_from_slice(key), value })
}

impl Disk {
    pub(super) fn open(dir: &Path, counts: &BTreeMap<Topic, u32>) -> Result<Self, JournalError> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| unusable(dir, &error))?;
        let floors = Floors::default();
        let filters = floors.clone();
        let database = Database::builder(dir)
            .with_compaction_filter_factories(Arc::new(move |keyspace| {
                let trimmed = Topic::ALL.into_iter().find(|topic| topic.name() == keyspace && topic.is_trimmed());
                trimmed.map(|topic| filters.filter(topic))
            }))
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNALING_BYTES_MAX)
            .manual_journal_persist(true)
            .worker_threads(1)
            .open()
            .map_err(|error| {
                if matches!(error, fjall::Error::Locked) {
                    return unusable(dir, &"is in use by another process; stop that process, or choose another folder");
                }
                unusable(dir, &error)
            })?;
        let keyspace = |name: &str| {
            // Filters and indices are read in parts: of a large table, all of one would replace
            // most of the cache at each look-up.
            let options = || {
                KeyspaceCreateOptions::default()
                    .max_memtable_size(MEMTABLE_BYTES)
                    .manual_journal_persist(true)
                    .filter_block_partitioning_policy(PartitioningPolicy::all(true))
                    .index_block_partitioning_policy(PartitioningPolicy::all(true))
            };
            database.keyspace(name, options).map_err(|error| unusable(dir, &error))
        };
        let durable = Topic::ALL.into_iter().filter(|topic| *topic != Topic::Replies);
        let topics = durable.map(|topic| Ok((topic, keyspace(topic.name())?))).collect::<Result<_, JournalError>>()?;
        let (newest, positions, layout) = (keyspace("newest")?, keyspace("positions")?, keyspace("layout")?);
        let stored_floors = keyspace("floors")?;
        let disk = Self { database, topics, newest, positions, stored_floors, layout, floors };
        disk.check_layout(dir, counts)?;
        for (topic, count) in counts {
            for partition in (0..*count).map(|index| Partition { topic: *topic, index }) {
                let stored = disk.stored_floors.get(partition.to_string()).map_err(|error| unusable(dir, &error))?;
                disk.floors.raise(partition, stored.map_or(0, |bytes| offset_of(&bytes)));
            }
        }
        Ok(disk)
    }

    /// Refuses a folder with other numbers of partitions or another format. The numbers are fixed
    /// at creation, because with another number an order would belong to another shard.
    fn check_layout(&self, dir: &Path, counts: &BTreeMap<Topic, u32>) -> Result<(), JournalError> {
        let (layout, failed) = (&self.layout, |error: fjall::Error| unusable(dir, &error));
        match layout.get("format").map_err(failed)? {
            None => {
                let mut batch = self.database.batch();
                batch.insert(layout, "format", FORMAT);
                for (topic, count) in counts {
                    batch.insert(layout, topic.name(), count.to_be_bytes());
                }
                batch.commit().map_err(failed)?;
                return self.database.persist(PersistMode::SyncAll).map_err(failed);
            }
            Some(format) if *format == *FORMAT => {}
            Some(_) => {
                return Err(unusable(dir, &"has another format than this build writes; use the build that created it"));
            }
        }
        for (topic, count) in counts {
            let stored = layout.get(topic.name()).map_err(failed)?;
            let stored = stored.and_then(|bytes| bytes.first_chunk::<4>().map(|four| u32::from_be_bytes(*four)));
            // Builds that had no callers made folders without their topic.
            if stored.is_none() && *topic == Topic::Callers {
                layout.insert(topic.name(), count.to_be_bytes()).map_err(failed)?;
                self.database.persist(PersistMode::SyncAll).map_err(failed)?;
                continue;
            }
            if stored != Some(*count) {
                let (name, stored) = (topic.name(), stored.unwrap_or_default());
                let problem = format!(
                    "{name} was created with {stored} partitions, configured are {count}; configure {stored}, or another folder"
                );
                return Err(unusable(dir, &problem));
            }
        }
        Ok(())
    }

    /// The offset after the newest record. It is not below the floor: a trimmed partition whose
    /// records are all gone continues where it was.
    pub(super) fn end(&self, partition: Partition) -> Result<Offset, JournalError> {
        let newest = self.outermost(partition, Edge::Newest)?;
        Ok(newest.map_or(0, |offset| offset + 1).max(self.floors.of(partition)))
    }

    /// The offset of the oldest record, or the floor if there is none.
    pub(super) fn start(&self, partition: Partition) -> Result<Offset, JournalError> {
        Ok(self.outermost(partition, Edge::Oldest)?.unwrap_or(self.floors.of(partition)))
    }

    fn outermost(&self, partition: Partition, edge: Edge) -> Result<Option<Offset>, JournalError> {
        let Some(keyspace) = self.topics.get(&partition.topic) else { return Ok(None) };
        let floor = self.floors.of(partition);
        let mut range = keyspace.range(record_key(partition, floor)..=record_key(partition, Offset::MAX));
        let guard = match edge {
            Edge::Oldest => range.next(),
            Edge::Newest => range.next_back(),
        };
        let offset = |guard: fjall::Guard| guard.into_inner().map(|(key, _)| offset_of(&key));
        guard.map(offset).transpose().map_err(|error| unreadable(partition, &error))
    }

    /// Reads at most `max` records at the offsets `from..below`.
    pub(super) fn read(
        &self,
        partition: Partition,
        from: Offset,
        below: Offset,
        max: usize,
    ) -> Result<Vec<Record>, JournalError> {
        let Some(keyspace) = self.topics.get(&partition.topic) else { return Ok(Vec::new()) };
        let from = from.max(self.floors.of(partition)).min(below);
        let range = record_key(partition, from)..record_key(partition, below);
        let record = |guard: fjall::Guard| {
            let (key, value) = guard.into_inner().map_err(|error| unreadable(partition, &error))?;
            let offset = offset_of(&key);
            let entry =
                read_stored(&value).ok_or_else(|| unreadable(partition, &format!("record {offset} is damaged")))?;
            Ok(Record { offset, entry })
        };
        keyspace.range(range).take(max).map(record).collect()
    }

    /// The value of the newest entry with this key of a compacted topic, if it has one.
    pub(super) fn newest(&self, partition: Partition, key: &[u8]) -> Result<Option<Bytes>, JournalError> {
        let Some(keyspace) = self.topics.get(&partition.topic) else { return Ok(None) };
        // One view of both keyspaces: otherwise the committer could replace the entry between the
        // two reads.
        let view = self.database.snapshot();
        let failed = |error: fjall::Error| unreadable(partition, &error);
        let Some(offset) = view.get(&self.newest, newest_key(partition, key)).map_err(failed)? else { return Ok(None) };
        let offset = offset_of(&offset);
        let stored = view.get(keyspace, record_key(partition, offset)).map_err(failed)?;
        let entry = stored.as_deref().and_then(read_stored);
        let entry = entry.ok_or_else(|| unreadable(partition, &format!("record {offset} is missing or damaged")))?;
        Ok(entry.value)
    }

    pub(super) fn position(&self, group: Group, partition: Partition) -> Result<Option<Position>, JournalError> {
        let kept = self.positions.get(position_key(group, partition)).map_err(|error| unreadable(partition, &error))?;
        Ok(kept.map(|bytes| Position {
            next: bytes.first_chunk::<8>().map_or(0, |eight| u64::from_be_bytes(*eight)),
            metadata: Bytes::copy_from_slice(bytes.get(8..).unwrap_or_default()),
        }))
    }

    pub(super) fn batch(&self) -> OwnedWriteBatch {
        self.database.batch()
    }

    /// Adds a record to a batch. On a compacted topic the batch also removes the record that this
    /// one replaces; `newest` holds the offsets of records that the batch itself adds.
    pub(super) fn put(
        &self,
        batch: &mut OwnedWriteBatch,
        newest: &mut BTreeMap<Vec<u8>, Offset>,
        partition: Partition,
        record: &Record,
    ) -> fjall::Result<()> {
        let Some(keyspace) = self.topics.get(&partition.topic) else { return Ok(()) };
        batch.insert(keyspace, record_key(partition, record.offset), stored_form(&record.entry));
        if partition.topic.is_compacted() {
            let key = newest_key(partition, &record.entry.key);
            let older = match newest.get(&key) {
                Some(offset) => Some(*offset),
                None => self.newest.get(&key)?.map(|offset| offset_of(&offset)),
            };
            if let Some(older) = older {
                batch.remove(keyspace, record_key(partition, older));
            }
            batch.insert(&self.newest, key.clone(), record.offset.to_be_bytes());
            newest.insert(key, record.offset);
        }
        Ok(())
    }

    pub(super) fn put_position(
        &self,
        batch: &mut OwnedWriteBatch,
        group: Group,
        partition: Partition,
        position: &Position,
    ) {
        let mut value = position.next.to_be_bytes().to_vec();
        value.extend_from_slice(&position.metadata);
        batch.insert(&self.positions, position_key(group, partition), value);
    }

    /// Adds to a batch that the partition begins at `floor` from then on, or where it begins
    /// already if that is later.
    pub(super) fn put_floor(&self, batch: &mut OwnedWriteBatch, partition: Partition, floor: Offset) {
        let floor = floor.max(self.floors.of(partition));
        batch.insert(&self.stored_floors, partition.to_string(), floor.to_be_bytes());
    }

    /// Takes a floor into force that is on disk.
    pub(super) fn raise_floor(&self, partition: Partition, floor: Offset) {
        self.floors.raise(partition, floor);
    }

    /// Removes the records below the floors from the tables of a topic. The write-ahead log may
    /// still contain them: it is replaced after each further 64 MB or so.
    pub(super) fn compact(&self, topic: Topic) -> fjall::Result<()> {
        let Some(keyspace) = self.topics.get(&topic) else { return Ok(()) };
        // An old file of the write-ahead log is deleted once every keyspace has its part of it in
        // tables.
        let small = [&self.newest, &self.positions, &self.stored_floors, &self.layout];
        for keyspace in self.topics.values().chain(small) {
            keyspace.rotate_memtable_and_wait()?;
        }
        keyspace.major_compact()
    }

    /// The bytes that the folder takes on disk.
    pub(super) fn bytes(&self) -> fjall::Result<u64> {
        self.database.disk_space()
    }

    /// Writes the batch, then syncs the data once.
    pub(super) fn write(&self, batch: OwnedWriteBatch) -> fjall::Result<()> {
        batch.commit()?;
        self.database.persist(PersistMode::SyncData)
    }
}

fn unreadable(partition: Partition, error: &dyn std::fmt::Display) -> JournalError {
    JournalError::Read { partition, reason: error.to_string().into() }
}
