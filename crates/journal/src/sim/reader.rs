//! Reads a partition as one session sees it: not while it is paused, and never after it has
//! crashed.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use super::{
    cluster::Shared,
    session::{Stalls, Status, until_running},
};
use crate::{JournalError, Offset, Partition, Reader, Record};

pub(super) struct SimReader {
    pub(super) shared: Arc<Shared>,
    pub(super) partition: Partition,
    pub(super) next: Offset,
    /// The session's stalls, and how many there were when this was opened.
    pub(super) stalls: (Arc<Stalls>, u64),
    pub(super) end: watch::Receiver<Offset>,
    pub(super) status: watch::Receiver<Status>,
}

impl SimReader {
    fn failed(&self, reason: &str) -> JournalError {
        JournalError::Read { partition: self.partition, reason: reason.into() }
    }
}

#[async_trait]
impl Reader for SimReader {
    async fn next(&mut self, max: usize) -> Result<Vec<Record>, JournalError> {
        loop {
            if !until_running(&mut self.status).await {
                return Err(self.failed("the session has crashed"));
            }
            let (stalls, opened_at) = &self.stalls;
            if stalls.count(self.partition) > *opened_at {
                std::future::pending::<()>().await;
            }
            self.end.mark_unchanged();
            let records = self.shared.read(self.partition, self.next, max);
            if let Some(last) = records.last() {
                if self.shared.draw_read_failure() {
                    return Err(self.failed("drawn by the simulation"));
                }
                self.next = last.offset + 1;
                return Ok(records);
            }
            let changed = tokio::select! {
                changed = self.end.changed() => changed.is_ok(),
                changed = self.status.changed() => changed.is_ok(),
            };
            if !changed {
                return Err(self.failed("the cluster is gone"));
            }
        }
    }
}
