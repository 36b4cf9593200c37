//! Outcomes on their way to `orders`. A task is finished once its outcome is acknowledged (protocol
//! rule P5), so each append knows which tasks it finishes.

use std::{collections::BTreeMap, future::Future, pin::Pin};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::time::Instant;
use twqr_journal::{Ack, Entry, Journal, JournalError, Offset, Partition, Topic};
use twqr_types::ShardId;

use crate::metrics;

type Finishing = Pin<Box<dyn Future<Output = Result<Vec<Offset>, JournalError>> + Send>>;

/// Outcomes that are not acknowledged yet.
#[derive(Default)]
pub(super) struct Outcomes {
    /// By shard: the outcomes to append, and the offsets of the tasks that they finish.
    to_append: BTreeMap<ShardId, (Vec<Entry>, Vec<Offset>)>,
    /// The appends that are not acknowledged yet.
    appended: FuturesUnordered<Finishing>,
}

impl Outcomes {
    /// Adds an outcome for a shard; `task` is the offset of the task that it finishes, if any.
    pub(super) fn add(&mut self, shard: ShardId, outcome: Entry, task: Option<Offset>) {
        let (entries, tasks) = self.to_append.entry(shard).or_default();
        entries.push(outcome);
        tasks.extend(task);
    }

    /// Appends the outcomes that were added.
    pub(super) fn append(&mut self, journal: &dyn Journal) {
        for (shard, (entries, tasks)) in std::mem::take(&mut self.to_append) {
            let orders = Partition { topic: Topic::Orders, index: u32::from(shard.0) };
            self.await_ack(tasks, journal.append(orders, entries));
        }
    }

    /// Adds an append that finishes these tasks once it is acknowledged.
    pub(super) fn await_ack(&mut self, tasks: Vec<Offset>, ack: Ack) {
        let appended_at = Instant::now();
        self.appended.push(Box::pin(async move {
            ack.await?;
            metrics::outcomes_acknowledged(appended_at);
            Ok(tasks)
        }));
    }

    /// The offsets of the tasks that the next acknowledged append finishes; `None` if no append is
    /// in progress.
    pub(super) async fn next_acknowledged(&mut self) -> Option<Result<Vec<Offset>, JournalError>> {
        self.appended.next().await
    }
}
