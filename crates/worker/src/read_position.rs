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

use crate::holding::{HeldBy, UNKNOWN_CLAIM};

/// How many signs of life may be read before the position is committed for them alone.
const SIGNS_PER_COMMIT: u64 = 256;

/// The position on a task partition.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReadPosition {
    next: u64,
    /// The offset after the last record read that is more than a sign of life.
    worked_to: u64,
    /// The offsets of unfinished tasks.
    unfinished: BTreeSet<u64>,
    /// The highest identity read, by the shard that emitted the task.
    highest: BTreeMap<ShardId, EffectId>,
    /// The newest record that was read, by which the log is recognised.
    witness: Option<Witness>,
}

impl ReadPosition {
    /// Continues at a committed position; also returns who held the partition there.
    pub(crate) fn from_committed(position: Option<&Position>) -> (Self, HeldBy) {
        // Without our metadata (an operator's tool may have written the position) it is unknown
        // which claim held the partition. Then everything is read again, and inquired about.
        let committed = position.filter(|position| !position.metadata.is_empty());
        let committed = committed.and_then(|at| Some((at.next, decode_worker_position(at.metadata.clone()).ok()?)));
        let Some((next, WorkerPosition { highest, holder, newest, witness })) = committed else {
            return (Self::default(), HeldBy::default());
        };
        // An earlier build's metadata does not say which claim was released.
        let newest = newest.or(holder).or(Some(UNKNOWN_CLAIM));
        let highest = highest.into_iter().map(|id| (id.shard, id)).collect();
        let witness = witness.map(witness_of);
        let read = Self { next, worked_to: next, unfinished: BTreeSet::new(), highest, witness };
        (read, HeldBy { newest, holder })
    }

    /// Notes that a record was read. The position cannot pass a record that must be finished until
    /// it is.
    pub(crate) fn read(&mut self, offset: u64, must_be_finished: bool) {
        (self.next, self.worked_to) = (offset + 1, offset + 1);
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

    /// Notes that a record was read which only shows that processes work.
    pub(crate) fn read_sign(&mut self, offset: u64) {
        self.next = offset + 1;
    }

    /// Whether the position should be committed, after it was committed at `committed`. Signs of
    /// life alone are committed only when there are many, so that a successor need not read them.
    pub(crate) fn is_commit_due(&self, committed: u64) -> bool {
        let position = self.position();
        position > committed && (self.worked_to > committed || position - committed >= SIGNS_PER_COMMIT)
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

    /// Returns what to commit; `held` is who holds the partition at the position.
    pub(crate) fn to_commit(&self, held: HeldBy) -> Position {
        let highest = self.highest.values().copied().collect();
        let HeldBy { newest, holder } = held;
        let newest = newest.filter(|newest| *newest != UNKNOWN_CLAIM);
        let witness = self.witness.map(stored_witness);
        let metadata = encode_worker_position(&WorkerPosition { highest, holder, newest, witness });
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
            assert_eq!((read.position(), holder), (0, HeldBy::default()), "{metadata:?}");
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
        let held = HeldBy { newest: Some(7), holder: None };
        let (mut restarted, restarted_held) = ReadPosition::from_committed(Some(&read.to_commit(held)));
        assert_eq!((restarted.position(), restarted_held), (11, held));
        assert!(!restarted.note_identity(id(1, 11)), "read before the restart");
        assert!(restarted.note_identity(id(2, 5)), "the identities of each shard are compared separately");
        assert!(restarted.note_identity(id(1, 14)));
        read.finish(11);
        read.finish(13);
        assert_eq!(read.position(), 14);
    }
}
