//! Code that is shared by the services that read partitions of the journal. It watches, claims
//! and holds partitions, writes records that cannot be used to `dead-letters`, and measures the
//! clock. It is a crate of its own because it needs `journal`, `wire` and `service`, which do not
//! depend on each other.

mod beginnings;
mod clock_meter;
mod dead_letters;
mod doubles;
mod holders;
mod metrics;
mod partitions;
mod patience;
mod seat;
mod signs;
mod watch;
mod witness;

pub use crate::metrics::METRICS;
pub use beginnings::{BeginningsCheck, KnownBeginnings, beginnings_read};
pub use clock_meter::ClockMeter;
pub use dead_letters::DeadLetters;
pub use partitions::{TopicMember, group_part, hold_partitions};
pub use seat::{Held, HoldEnd, Yields};
pub use signs::Signs;
pub use witness::{order_record_mark, stored_witness, task_mark, task_record_mark, witness_of};
