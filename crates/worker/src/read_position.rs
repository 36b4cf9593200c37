//! How far the tasks of a partition have been processed. Many tasks run at once, so the position is
//! the offset of the first task that is not finished. The highest identities read are committed
//! with it, so that a task that the router emits again is recognised as a repeat (protocol rule
//! P3).

use std::collections::{BTreeMap, BTreeSet};

use twqr_consumer::{stored_witness, witness_of};
use twqr_journal::{Position, Witness};
use twqr_order::EffectId;
use twqr_types::ShardId;
use twqr_wire::convert::{WorkerPosition, decode_worker_position, encode_worker_position};

/// The position on a task partition.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReadPosition {
    next: u64,
    /// The offsets of unfinished tasks.
    unfinished: BTreeSet<u64>,
    /// The highest identity read, by the shard that emitted the task.
    highest: BTreeMap<ShardId, EffectId>,
    /// The newest record that was read, by which the log is recognised.
    witness: Option<Witness>,
}

impl ReadPosition {
    /// Continues at a committed position; also returns the claim that held the partition there.
    pub(crate) fn from_committed(position: Option<&Position>) -> (Self, Option<u64>) {
        // Without our metadata (an operator's tool may have written the position) it is unknown
        // which claim held the partition. Then everything is read again, and inquired about.
        let committed = position.filter(|position| !position.metadata.is_empty());
        let committed = committed.and_then(|at| Some((at.next, decode_worker_position(at.metadata.clone()).ok()?)));
        let Some((next, WorkerPosition { highest, holder, newest: _, witness })) = committed else {
            return (Self::default(), None);
        };
        let highest = highest.into_iter().map(|id| (id.shard, id)).collect();
        (Self { next, unfinished: BTreeSet::new(), highest, witness: witness.map(witness_of) }, holder)
    }

    /// Notes that a record was read. The position cannot pass a record that must be finished until
    /// it is.
    pub(crate) fn read(&mut self, offset: u64, must_be_finished: bool) {
        self.next = offset + 1;
        if must_be_finished {
            self.unfinished.insert(offset);
        }
    }

    /// Notes by which number the record at `offset` is recognised.
    pub(crate) fn note_witness(&mut self, offset: u64, mark: u64) {
        self.witness = Some(Witness { offset, mark });
    }

    /// The record by which the log is recognised.
    pub(crate) fn witness(&self) -> Option<Witness> {
        self.witness
    }

    /// Notes the identity of a task. Returns true if it is above all identities read before, so
    /// that this is the first time that the task is read.
    pub(crate) fn note_identity(&mut self, id: EffectId) -> bool {
        let is_first = self.highest.get(&id.shard).is_none_or(|highest| *highest < id);
        if is_first {
            self.highest.insert(id.shard, id);
        }
        is_first
    }

    /// Notes that the outcome of the task at `offset` is acknowledged.
    pub(crate) fn finish(&mut self, offset: u64) {
        self.unfinished.remove(&offset);
    }

    /// How many tasks are unfinished.
    pub(crate) fn unfinished(&self) -> usize {
        self.unfinished.len()
    }

    /// The offset of the next record to read.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// The offset at which a successor must begin to read.
    pub(crate) fn position(&self) -> u64 {
        self.unfinished.first().copied().unwrap_or(self.next)
    }

    /// Returns what to commit; `holder` is the claim that holds the partition at the position.
    pub(crate) fn to_commit(&self, holder: Option<u64>) -> Position {
        let highest = self.highest.values().copied().collect();
        let witness = self.witness.map(stored_witness);
        let metadata = encode_worker_position(&WorkerPosition { highest, holder, newest: None, witness });
        Position { next: self.position(), metadata }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn id(shard: u16, offset: u64) -> EffectId {
        EffectId { shard: ShardId(shard), offset, n: 0 }
    }

    #[test]
    fn a_position_without_our_metadata_is_not_used() {
        for metadata in [&b""[..], b"\xff\xff"] {
            let position = Position { next: 50, metadata: Bytes::copy_from_slice(metadata) };
            let (read, holder) = ReadPosition::from_committed(Some(&position));
            assert_eq!((read.position(), holder), (0, None), "{metadata:?}");
        }
    }

    #[test]
    fn the_position_waits_for_the_slowest_task_and_repeats_are_recognised_after_a_restart() {
        let mut read = ReadPosition::default();
        for offset in 10..14 {
            read.read(offset, true);
            assert!(read.note_identity(id(1, offset)));
        }
        read.finish(12);
        read.finish(10);
        assert_eq!((read.position(), read.unfinished()), (11, 2));
        let (mut restarted, holder) = ReadPosition::from_committed(Some(&read.to_commit(Some(7))));
        assert_eq!((restarted.position(), holder), (11, Some(7)));
        assert!(!restarted.note_identity(id(1, 11)), "read before the restart");
        assert!(restarted.note_identity(id(2, 5)), "the identities of each shard are compared separately");
        assert!(restarted.note_identity(id(1, 14)));
        read.finish(11);
        read.finish(13);
        assert_eq!(read.position(), 14);
    }
}
