//! Hands the states that a follower has read to the writer of the read model, so that each state is
//! decoded once. The follower never waits for the writer: while the feed is full it drops the
//! states that it reads, and the writer reads the gap from the log.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;
use twqr_journal::Offset;

use crate::states::StatesBatch;

/// How many states are kept for the writer.
const STATES_MAX: usize = 8_192;

/// The feed of one shard.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    batches: Mutex<VecDeque<StatesBatch>>,
    /// The follower has read every record below this offset.
    read: watch::Sender<Offset>,
    /// The read model has every record below this offset.
    written: watch::Sender<Offset>,
}

impl Feed {
    /// Adds what the follower has read, unless the feed is full.
    pub(crate) fn push(&self, batch: StatesBatch) {
        let next = batch.next;
        let mut batches = self.batches();
        let states = |batch: &StatesBatch| batch.orders.len() + batch.listings.len();
        let kept: usize = batches.iter().map(states).sum();
        if kept + states(&batch) <= STATES_MAX {
            batches.push_back(batch);
        }
        drop(batches);
        self.read.send_replace(next);
    }

    /// Waits until the follower has read more than the records below `next`.
    pub(crate) async fn wait_beyond(&self, next: Offset) {
        let mut read = self.read.subscribe();
        // The sender lives as long as the feed.
        let _never_closed = read.wait_for(|read| *read > next).await.map(drop);
    }

    /// Returns the batch that contains the record at `next`, and drops those before it; `None` if
    /// the feed does not have that record.
    pub(crate) fn take(&self, next: Offset) -> Option<StatesBatch> {
        let mut batches = self.batches();
        while batches.front().is_some_and(|batch| batch.next <= next) {
            batches.pop_front();
        }
        if batches.front()?.from > next {
            return None;
        }
        batches.pop_front()
    }

    /// The read model has every record below `next`.
    pub(crate) fn set_written(&self, next: Offset) {
        self.written.send_replace(next);
    }

    /// How many records the follower has read that the read model does not have.
    pub(crate) fn unwritten(&self) -> u64 {
        self.read.borrow().saturating_sub(*self.written.borrow())
    }

    fn batches(&self) -> MutexGuard<'_, VecDeque<StatesBatch>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(from: Offset, next: Offset) -> StatesBatch {
        StatesBatch { from, next, ..StatesBatch::default() }
    }

    #[test]
    fn a_batch_is_taken_by_the_record_that_it_contains() {
        let feed = Feed::default();
        for (from, next) in [(0, 3), (3, 5), (7, 9)] {
            feed.push(batch(from, next));
        }
        let taken = |next| feed.take(next).map(|batch| (batch.from, batch.next));
        assert_eq!(taken(3), Some((3, 5)), "the batch before it is dropped");
        assert_eq!(taken(5), None, "the feed does not have the records 5 and 6");
        assert_eq!(taken(8), Some((7, 9)));
        assert_eq!(taken(9), None);
        feed.set_written(2);
        assert_eq!(feed.unwritten(), 7);
    }
}
