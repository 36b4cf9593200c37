//! A call to a backend, before it becomes a message.

use twqr_order::Task;
use twqr_types::UnixMs;

/// The purpose of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To move money.
    Transfer,
    /// To inquire about the result of a movement. The answer "not known" proves that it never
    /// happened only if the inquiry was made after the task's `absent_after`.
    Inquiry { proves_absence: bool },
}

/// A call for the transport to send.
#[derive(Debug)]
pub(crate) struct Call {
    /// Unique within the holder of a partition; the answer carries it.
    pub(crate) id: u64,
    pub(crate) task: Task,
    pub(crate) purpose: Purpose,
}

impl Call {
    /// Whether the call must not be sent any more. An inquiry may always be sent.
    pub(crate) fn is_late(&self, now: UnixMs) -> bool {
        match self.purpose {
            Purpose::Transfer => now > self.task.send_by,
            Purpose::Inquiry { .. } => false,
        }
    }
}
