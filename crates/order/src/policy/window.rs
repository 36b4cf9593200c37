//! Announced maintenance of an issuer.

use twqr_types::UnixMs;

/// An announced window in which no calls to an issuer are started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first millisecond of the window.
    pub from: UnixMs,
    /// The first millisecond after the window.
    pub to: UnixMs,
}

impl Window {
    /// Whether `at` lies within the window.
    pub fn contains(&self, at: UnixMs) -> bool {
        self.from <= at && at < self.to
    }
}
