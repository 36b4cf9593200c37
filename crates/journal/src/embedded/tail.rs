//! The newest records of each partition in memory, so that readers at the end never touch the disk.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::disk::Disk;
use crate::{Entry, JournalError, Offset, Partition, Record, Topic};

/// What the tail of a durable partition keeps, in bytes.
const TAIL_BYTES_MAX: usize = 1 << 20;
/// What a partition of `replies` keeps, in bytes: it has nothing but its tail.
const REPLIES_BYTES_MAX: usize = 8 << 20;

pub(super) struct Tails(BTreeMap<Partition, Arc<Tail>>);

pub(super) struct Tail {
    kept: Mutex<Kept>,
    end: watch::Sender<Offset>,
    bytes_max: usize,
    /// Orders those who publish without the committer.
    volatile: Mutex<()>,
}

struct Kept {
    records: VecDeque<Record>,
    bytes: usize,
    /// Everything from here on is in `records`.
    first: Offset,
}

/// What a tail has from an offset on.
pub(super) enum Found {
    /// These.
    Records(Vec<Record>),
    /// It begins later; the disk has what is below this.
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

fn size(record: &Record) -> usize {
    size_of::<Record>() + record.entry.key.len() + record.entry.value.as_ref().map_or(0, bytes::Bytes::len)
}

impl Tail {
    fn new(topic: Topic, end: Offset) -> Self {
        let kept = Mutex::new(Kept { records: VecDeque::new(), bytes: 0, first: end });
        let bytes_max = if topic == Topic::Replies { REPLIES_BYTES_MAX } else { TAIL_BYTES_MAX };
        Self { kept, end: watch::Sender::new(end), bytes_max, volatile: Mutex::new(()) }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn end(&self) -> Offset {
        *self.end.borrow()
    }

    /// The oldest offset in memory.
    pub(super) fn first(&self) -> Offset {
        self.lock().first
    }

    pub(super) fn watch(&self) -> watch::Receiver<Offset> {
        self.end.subscribe()
    }

    /// Gives entries their offsets and makes them readable at once: for what needs no durability.
    pub(super) fn publish_entries(&self, entries: Vec<Entry>) {
        let _one_at_a_time = self.volatile.lock().unwrap_or_else(PoisonError::into_inner);
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

    pub(super) fn read(&self, from: Offset, max: usize) -> Found {
        let kept = self.lock();
        if from < kept.first {
            return Found::OnDiskBelow(kept.first);
        }
        // Offsets in a tail have no gaps.
        let start = ((from - kept.first) as usize).min(kept.records.len());
        Found::Records(kept.records.range(start..).take(max).cloned().collect())
    }
}
