//! Code that is shared by the services that read partitions of the journal. It runs a task for each
//! partition that the group assigns, and writes records that cannot be used to `dead-letters`. It
//! is a crate of its own because it needs `journal`, `wire` and `service`, which do not depend on
//! each other.

mod assigned;
mod dead_letters;
mod witness;

pub use assigned::hold_assigned;
pub use dead_letters::DeadLetters;
pub use witness::{order_record_mark, state_record_mark, stored_witness, task_mark, task_record_mark, witness_of};
