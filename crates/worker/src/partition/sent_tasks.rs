//! The idempotent tasks that this holder has sent. If the holder reads one of them again, it
//! inquires: it sends only another worker's task again, so it never repeats a call of its own that
//! timed out.

use std::collections::BTreeSet;

use twqr_order::{EffectId, Task};
use twqr_types::UnixMs;

/// The tasks that were sent and whose `send_by` has not passed; after it nothing is sent anyway.
#[derive(Debug, Default)]
pub(super) struct SentTasks(BTreeSet<(UnixMs, EffectId)>);

impl SentTasks {
    /// Notes that an idempotent task is sent; others are never sent twice.
    pub(super) fn note(&mut self, task: &Task, now: UnixMs) {
        while self.0.first().is_some_and(|(send_by, _)| *send_by < now) {
            self.0.pop_first();
        }
        if task.is_idempotent {
            self.0.insert((task.send_by, task.id));
        }
    }

    pub(super) fn contains(&self, task: &Task) -> bool {
        self.0.contains(&(task.send_by, task.id))
    }
}
