//! The errors of the journal, distinguished by what a caller may conclude from them and do about
//! them.

use std::sync::Arc;

use crate::topic::Partition;

/// An error of the journal. Its variant says what the caller may conclude.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// The entries may be in the log, may still arrive there later, or may be lost. The caller must
    /// not rely on any of the three.
    #[error("append to {partition} was not acknowledged: {reason}")]
    AppendUnknown {
        /// The partition that was appended to.
        partition: Partition,
        /// The reason, as the implementation reports it.
        reason: Arc<str>,
    },
    /// The append was refused before anything was written.
    #[error("append to {partition} was refused: {reason}")]
    AppendRefused {
        /// The partition that was to be appended to.
        partition: Partition,
        /// The cause, and what to do about it.
        reason: Arc<str>,
    },
    /// The partition could not be read; opening a new reader may help.
    #[error("cannot read {partition}: {reason}")]
    Read {
        /// The partition that was read.
        partition: Partition,
        /// The reason, as the implementation reports it.
        reason: Arc<str>,
    },
    /// The log is not the one that was read before, or lacks records of it. A retry does not help
    /// until an operator has acted.
    #[error(
        "the log of {partition} is not whole: {reason}; nothing is skipped, so this partition waits for an operator: see \"A log that is not whole\" in deploy/README.md"
    )]
    NotWhole {
        /// The partition whose log is not whole.
        partition: Partition,
        /// The expected record, the found one, and the possible reasons.
        reason: Arc<str>,
    },
    /// The topic has no partition of this index.
    #[error("there is no partition {0}")]
    NoPartition(Partition),
    /// The journal cannot be opened or used at all, and a retry does not help.
    #[error("{0}")]
    Unusable(Arc<str>),
    /// The journal cannot be reached now; a retry may help.
    #[error("{0}")]
    Unreachable(Arc<str>),
}
