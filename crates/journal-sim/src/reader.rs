//! Reads a partition as one session sees it: nothing while the session is paused, and an error once
//! it has crashed.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;
use twqr_journal::{JournalError, Offset, Partition, Reader, Record};

use crate::{
    cluster::Cluster,
    status::{Stalls, Status, until_running},
};

pub(crate) struct SimReader {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) partition: Partition,
    pub(crate) next: Offset,
    pub(crate) stalls: Arc<Stalls>,
    /// The partition's number of stalls when this reader was opened.
    pub(crate) stalls_when_opened: u64,
    pub(crate) end: watch::Receiver<Offset>,
    pub(crate) status: watch::Receiver<Status>,
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
            if self.stalls.count(self.partition) > self.stalls_when_opened {
                std::future::pending::<()>().await;
            }
            self.end.mark_unchanged();
            let records = self.cluster.read(self.partition, self.next, max);
            if let Some(last) = records.last() {
                if self.cluster.draw_read_failure() {
                    return Err(self.failed("a fault that the simulation has drawn"));
                }
                self.next = last.offset + 1;
                return Ok(records);
            }
            let changed = tokio::select! {
                changed = self.end.changed() => changed.is_ok(),
                changed = self.status.changed() => changed.is_ok(),
            };
            if !changed {
                return Err(self.failed("the simulated cluster was dropped"));
            }
        }
    }
}
