//! Code that is shared by the services that read partitions of the journal. It runs a task for each
//! partition that the group assigns, and writes records that cannot be used to `dead-letters`. It
//! is a crate of its own because it needs `journal`, `wire` and `service`, which do not depend on
//! each other.

mod assigned;
mod dead_letters;

pub use assigned::hold_assigned;
pub use dead_letters::DeadLetters;
