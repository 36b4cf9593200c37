//! The address of an answer.

use twqr_types::UnixMs;

/// The address of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyTo {
    /// The partition of `replies` that the caller's ingress reads.
    pub partition: u32,
    /// The number of the pending call there.
    pub correlation: u64,
    /// The pending call ends at this time.
    pub until: UnixMs,
}
