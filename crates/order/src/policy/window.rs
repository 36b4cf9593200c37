//! Announced maintenance.

use twqr_types::UnixMs;

/// An announced window in which an issuer is neither charged nor asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its first millisecond.
    pub from: UnixMs,
    /// The first millisecond after it.
    pub to: UnixMs,
}

impl Window {
    /// Whether `at` is within it.
    pub fn has(&self, at: UnixMs) -> bool {
        self.from <= at && at < self.to
    }
}
