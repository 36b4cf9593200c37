//! A change of one caller.

use std::sync::Arc;

use twqr_types::UnixMs;

use crate::{Caller, CallerName};

/// A version of one caller, as a record of the topic `callers` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerChange {
    /// The caller's name.
    pub name: CallerName,
    /// One more than the version before; the configured caller is version 0.
    pub version: u64,
    /// The caller from now on; absent if it is taken out.
    pub caller: Option<Arc<Caller>>,
    /// Whether this build can read all of the caller. If not, `caller` has fewer rights than the
    /// record, and must not be written again.
    pub is_whole: bool,
    /// Who changed it.
    pub who: Box<str>,
    /// The reason why it was changed.
    pub why: Box<str>,
    /// When it was changed.
    pub at: UnixMs,
}
