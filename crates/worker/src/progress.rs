//! How far a partition is done: tasks of many orders run at once, and the position is the lowest
//! one that is not finished. Committed with it are the highest identities read, so that whatever is
//! emitted again is known as a repeat.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message;
use twqr_journal::Position;
use twqr_order::EffectId;
use twqr_wire::{bus, convert::effect_id_out};

/// Highest identities by shard, and what is not finished.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    next: u64,
    open: BTreeSet<u64>,
    highest: BTreeMap<u16, EffectId>,
}

impl Progress {
    /// From a committed position: where to read on, who held the partition there, and what is known
    /// of repeats.
    pub(crate) fn from_position(position: Option<&Position>) -> (Self, Option<u64>) {
        // Without metadata a position says nothing about who held what (an operator's tool may have
        // written it): then everything is read again, and asked about.
        let kept = position.filter(|position| !position.metadata.is_empty());
        let kept = kept.and_then(|kept| Some((kept, bus::WorkerPosition::decode(kept.metadata.clone()).ok()?)));
        let Some((position, kept)) = kept else { return (Self::default(), None) };
        let highest = |id: bus::EffectId| {
            let shard = u16::try_from(id.shard).unwrap_or(u16::MAX);
            (shard, EffectId { shard: twqr_types::ShardId(shard), offset: id.offset, n: id.n })
        };
        let highest = kept.highest.into_iter().map(highest).collect();
        (Self { next: position.next, open: BTreeSet::new(), highest }, kept.holder)
    }

    /// A record was read; a task stays open until it is finished.
    pub(crate) fn read(&mut self, offset: u64, is_task: bool) {
        self.next = offset + 1;
        if is_task {
            self.open.insert(offset);
        }
    }

    /// Notes a task's identity. True: it is above all read before, so this is its first reading.
    pub(crate) fn first_reading(&mut self, id: EffectId) -> bool {
        let first = self.highest.get(&id.shard.0).is_none_or(|highest| *highest < id);
        if first {
            self.highest.insert(id.shard.0, id);
        }
        first
    }

    /// The outcome of the task at `offset` is acknowledged.
    pub(crate) fn finish(&mut self, offset: u64) {
        self.open.remove(&offset);
    }

    /// How many tasks are open.
    pub(crate) fn open(&self) -> usize {
        self.open.len()
    }

    /// The offset of the next record to read.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Where a successor must begin to read.
    pub(crate) fn position(&self) -> u64 {
        self.open.first().copied().unwrap_or(self.next)
    }

    /// What to commit, with the holder at that position.
    pub(crate) fn to_commit(&self, holder: Option<u64>) -> Position {
        let highest = self.highest.values().map(|id| effect_id_out(*id)).collect();
        let metadata = bus::WorkerPosition { highest, holder }.encode_to_vec();
        Position { next: self.position(), metadata: Bytes::from(metadata) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twqr_types::ShardId;

    fn id(shard: u16, offset: u64) -> EffectId {
        EffectId { shard: ShardId(shard), offset, n: 0 }
    }

    #[test]
    fn a_position_without_our_metadata_is_none() {
        for metadata in [&b""[..], b"\xff\xff"] {
            let position = Position { next: 50, metadata: Bytes::copy_from_slice(metadata) };
            let (progress, holder) = Progress::from_position(Some(&position));
            assert_eq!((progress.position(), holder), (0, None), "{metadata:?}");
        }
    }

    #[test]
    fn the_position_waits_for_the_slowest_and_repeats_are_known_after_a_restart() {
        let mut progress = Progress::default();
        for offset in 10..14 {
            progress.read(offset, true);
            assert!(progress.first_reading(id(1, offset)));
        }
        progress.finish(12);
        progress.finish(10);
        assert_eq!((progress.position(), progress.open()), (11, 2));
        let (mut again, holder) = Progress::from_position(Some(&progress.to_commit(Some(7))));
        assert_eq!((again.position(), holder), (11, Some(7)));
        assert!(!again.first_reading(id(1, 11)), "read before the restart");
        assert!(again.first_reading(id(2, 5)), "another shard counts for itself");
        assert!(again.first_reading(id(1, 14)));
        progress.finish(11);
        progress.finish(13);
        assert_eq!(progress.position(), 14);
    }
}
