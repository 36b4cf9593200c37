//! How a test disturbs a session: it pauses or crashes the whole process, or stalls the open
//! readers of one partition.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use tokio::sync::watch;
use twqr_journal::Partition;

/// The state of a session's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Running,
    Paused,
    Crashed,
}

/// Waits while the session is paused; returns false if it has crashed.
pub(crate) async fn until_running(status: &mut watch::Receiver<Status>) -> bool {
    let settled = status.wait_for(|status| *status != Status::Paused).await;
    settled.is_ok_and(|status| *status == Status::Running)
}

/// How often the readers of each partition were stalled. A reader that was opened before the latest
/// stall reads nothing more.
#[derive(Default)]
pub(crate) struct Stalls(Mutex<BTreeMap<Partition, u64>>);

impl Stalls {
    pub(crate) fn count(&self, partition: Partition) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&partition).copied().unwrap_or_default()
    }

    pub(crate) fn add(&self, partition: Partition) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(partition).or_default() += 1;
    }
}
