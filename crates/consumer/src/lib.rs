//! What the services that read partitions of the journal share: holding the partitions that the
//! group assigns, and writing records that cannot be used to `dead-letters`. It stands above
//! `journal`, `wire` and `service`, which know nothing of each other.

mod assigned;
mod dead_letters;

pub use assigned::hold_assigned;
pub use dead_letters::DeadLetters;
