//! The sizes of the records of one payment, in bytes, as the router writes them: one on `orders`, a
//! task, an outcome on `orders`, a reply and a state. The floors append as many bytes.

pub(super) const PAY_BYTES: usize = 260;
pub(super) const TASK_BYTES: usize = 260;
pub(super) const OUTCOME_BYTES: usize = 110;
pub(super) const REPLY_BYTES: usize = 330;
pub(super) const STATE_BYTES: usize = 400;
pub(super) const STATE_KEY_BYTES: usize = 32;
