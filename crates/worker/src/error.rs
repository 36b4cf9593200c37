//! The errors that stop a worker or a holder.

use twqr_journal::JournalError;
use twqr_order::PROTOCOL_VERSION_NEWEST;
use twqr_service::Stalled;

/// The reason why a worker, or the holder of one partition, had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The journal failed; the partition is claimed again.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The reader of the partition stalled; the partition is claimed again.
    #[error(transparent)]
    Stalled(#[from] Stalled),
    /// The task of the backend's connections has ended, which only a panic does; the partition is
    /// claimed again.
    #[error("the task of the backend's connections has ended; see the log")]
    LinkEnded,
    /// A task was written under a protocol version that this build does not know; the partition is
    /// left to others.
    #[error(
        "a task has protocol version {0}, but this build knows only versions up to {PROTOCOL_VERSION_NEWEST}: use a newer build"
    )]
    NewerProtocol(u32),
    /// The backend's address is malformed.
    #[error("backend address: {0}; use a form such as http://127.0.0.1:17061")]
    Address(String),
}
