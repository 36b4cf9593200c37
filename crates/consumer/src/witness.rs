//! The witnesses of the topics from which services continue at a stored position
//! (`twqr_journal::read_whole`): the number that identifies a record. It never depends on a card
//! token.

use twqr_journal::{Record, Witness};
use twqr_order::HoldRecord;
use twqr_wire::convert::{LogWitness, TaskRecord, decode_record, decode_task_record};

/// A witness as it is stored.
pub fn stored_witness(witness: Witness) -> LogWitness {
    LogWitness { offset: witness.offset, mark: witness.mark }
}

/// A stored witness as the journal compares it.
pub fn witness_of(stored: LogWitness) -> Witness {
    Witness { offset: stored.offset, mark: stored.mark }
}

/// The number of a record of `orders`: its time.
pub fn order_record_mark(record: &Record) -> Option<u64> {
    Some(decode_record(record.entry.value.clone()?).ok()?.at.0.cast_unsigned())
}

/// The number of a record of a task topic.
pub fn task_record_mark(record: &Record) -> Option<u64> {
    decode_task_record(record.entry.value.clone()?).ok().map(|decoded| task_mark(&decoded))
}

/// The number of a decoded record of a task topic: a claim has its random number, a task its
/// identity and its `send_by`.
pub fn task_mark(record: &TaskRecord) -> u64 {
    match record {
        TaskRecord::Hold(HoldRecord::Claim { nonce, .. }) => *nonce,
        TaskRecord::Hold(HoldRecord::Release { claim }) => *claim,
        TaskRecord::Hold(HoldRecord::Intent(process) | HoldRecord::Doubt(process)) => {
            hash(process.name.bytes().chain(process.nonce.to_be_bytes()))
        }
        TaskRecord::Hold(HoldRecord::Alive(alive)) => {
            hash([alive.claim, alive.position].into_iter().flat_map(u64::to_be_bytes))
        }
        TaskRecord::Task(task) => {
            let (id, send_by) = (task.id, task.send_by.0.cast_unsigned());
            let numbers = [u64::from(id.shard.0), id.offset, u64::from(id.n), send_by];
            hash(numbers.into_iter().flat_map(u64::to_be_bytes))
        }
    }
}

/// FNV-1a with 64 bits: stored, so it must stay the same over builds.
fn hash(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
