//! The newest records of each partition in memory, so that readers near the end never read the
//! disk.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::disk::Disk;
use crate::{Entry, JournalError, Offset, Partition, Record, Topic};

/// Memory for the tail of a durable partition, in bytes.
const TAIL_BYTES_MAX: usize = 1 << 20;
/// Memory for a partition of `replies`, in bytes; larger, because it exists only in memory.
const REPLIES_BYTES_MAX: usize = 8 << 20;

pub(super) struct Tails(BTreeMap<Partition, Arc<Tail>>);

pub(super) struct Tail {
    records: Mutex<KeptRecords>,
    end: watch::Sender<Offset>,
    bytes_max: usize,
    /// Held while entries are published without the committer, to give them offsets in order.
    direct_publish: Mutex<()>,
}

struct KeptRecords {
    records: VecDeque<Record>,
    bytes: usize,
    /// All records from this offset on are in `records`.
    first: Offset,
}

/// The result of reading a tail from an offset.
pub(super) enum TailRead {
    /// The records from there on; empty at the end of the partition.
    Records(Vec<Record>),
    /// The tail begins later, at this offset; older records are on disk.
    OnDiskBelow(Offset),
}

impl Tails {
    pub(super) fn new(counts: &BTreeMap<Topic, u32>, disk: &Disk) -> Result<Self, JournalError> {
        let mut tails = BTreeMap::new();
        for (topic, count) in counts {
            for index in 0..*count {
                let partition = Partition { topic: *topic, index };
                tails.insert(partition, Arc::new(Tail::new(*topic, disk.end(partition)?)));
            }
        }
        Ok(Self(tails))
    }

    pub(super) fn get(&self, partition: Partition) -> Option<Arc<Tail>> {
        self.0.get(&partition).cloned()
    }
}

/// The memory that a record takes in a tail, in bytes.
fn size(record: &Record) -> usize {
    size_of::<Record>() + record.entry.byte_len()
}

impl Tail {
    fn new(topic: Topic, end: Offset) -> Self {
        let records = Mutex::new(KeptRecords { records: VecDeque::new(), bytes: 0, first: end });
        let bytes_max = if topic == Topic::Replies { REPLIES_BYTES_MAX } else { TAIL_BYTES_MAX };
        Self { records, end: watch::Sender::new(end), bytes_max, direct_publish: Mutex::new(()) }
    }

    fn lock(&self) -> MutexGuard<'_, KeptRecords> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn end(&self) -> Offset {
        *self.end.borrow()
    }

    /// The offset from which on all records are in memory.
    pub(super) fn first(&self) -> Offset {
        self.lock().first
    }

    pub(super) fn watch(&self) -> watch::Receiver<Offset> {
        self.end.subscribe()
    }

    /// Gives entries their offsets and makes them readable at once; for records that need no
    /// durability.
    pub(super) fn publish_entries(&self, entries: Vec<Entry>) {
        let _one_at_a_time = self.direct_publish.lock().unwrap_or_else(PoisonError::into_inner);
        let first = self.end();
        self.publish((first..).zip(entries).map(|(offset, entry)| Record { offset, entry }).collect());
    }

    /// Makes durable records readable.
    pub(super) fn publish(&self, records: Vec<Record>) {
        let Some(end) = records.last().map(|record| record.offset + 1) else { return };
        {
            let mut kept = self.lock();
            for record in records {
                kept.bytes += size(&record);
                kept.records.push_back(record);
            }
            while kept.bytes > self.bytes_max {
                let Some(dropped) = kept.records.pop_front() else { break };
                kept.bytes -= size(&dropped);
                kept.first = dropped.offset + 1;
            }
        }
        self.end.send_replace(end);
    }

    pub(super) fn read(&self, from: Offset, max: usize) -> TailRead {
        let kept = self.lock();
        if from < kept.first {
            return TailRead::OnDiskBelow(kept.first);
        }
        // Offsets in a tail have no gaps, so the difference is the position in the queue.
        let start = ((from - kept.first) as usize).min(kept.records.len());
        TailRead::Records(kept.records.range(start..).take(max).cloned().collect())
    }
}
