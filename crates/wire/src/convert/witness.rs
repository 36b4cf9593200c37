//! The witness of a log: a record that was already read, by which the log is recognised. It is
//! stored with a position.

use crate::bus;

/// A record that was read before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogWitness {
    /// The record's offset.
    pub offset: u64,
    /// A number that another log does not have at this offset.
    pub mark: u64,
}

pub(super) fn witness_out(witness: LogWitness) -> bus::LogWitness {
    bus::LogWitness { offset: witness.offset, mark: witness.mark }
}

pub(super) fn witness_from(witness: bus::LogWitness) -> LogWitness {
    LogWitness { offset: witness.offset, mark: witness.mark }
}
