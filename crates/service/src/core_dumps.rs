//! Forbids core dumps: the memory of a process contains card tokens and keys, and a dump would
//! store them.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use tracing::error;

/// Makes sure that the kernel writes no core dump of this process, and that only a privileged user
/// can read its memory. The limit alone does not stop a core pattern that is a pipe.
pub fn forbid_core_dumps() {
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }) {
        error!(%error, "core dumps cannot be limited");
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        error!(%error, "core dumps cannot be forbidden");
    }
}
