//! Finds out how much of `order-states` the next restore of a local store may skip.
//!
//! A store whose position is past our claim contains everything that older owners have written or
//! may still write, since their positions are at most our claim. So only a newer owner's states
//! must not be skipped. The end of `order-states` is read first, then the end of `orders`. Once
//! every record up to the end of `orders` was applied and none of them was a newer claim that
//! counts, no newer owner can have written anything below the end of `order-states`.

use std::{future::Future, pin::Pin, sync::Arc};

use tokio::time::{Duration, Instant};
use tracing::warn;
use twqr_journal::{Journal, JournalError, Partition, Topic};
use twqr_types::ShardId;

use crate::store::StoreMark;

/// The shortest time between two questions, in ms; each costs the broker two requests.
const PAUSE_MS: u64 = 2_000;

/// Two ends that were asked for one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    states: u64,
    orders: u64,
    /// The position of a marker that was written before.
    marker: u64,
}

type Question = Pin<Box<dyn Future<Output = Result<Ends, JournalError>> + Send>>;

/// The owner's knowledge about the end of `order-states`.
pub(crate) struct StatesEnd {
    shard: ShardId,
    journal: Arc<dyn Journal>,
    /// The first state that this build cannot read; the next restore must read it again.
    first_unreadable: Option<u64>,
    known: Option<Ends>,
    question: Option<Question>,
    /// Whether a checkpoint was written since the last question.
    is_outdated: bool,
    ask_from: Instant,
    /// Whether nothing more may be skipped.
    is_frozen: bool,
}

impl StatesEnd {
    pub(crate) fn new(shard: ShardId, journal: Arc<dyn Journal>, first_unreadable: Option<u64>) -> Self {
        let ask_from = Instant::now();
        Self {
            shard,
            journal,
            first_unreadable,
            known: None,
            question: None,
            is_outdated: true,
            ask_from,
            is_frozen: false,
        }
    }

    /// From here on nothing more is skipped: the end may have a beginning before it that the owner
    /// has not read.
    pub(crate) fn freeze(&mut self) {
        self.is_frozen = true;
    }

    /// Notes that a checkpoint was written.
    pub(crate) fn set_outdated(&mut self) {
        self.is_outdated = true;
    }

    /// Asks for the ends, unless they are known well enough; the marker of the position `marker` is
    /// written.
    pub(crate) fn ask_if_due(&mut self, marker: u64) {
        if self.is_frozen || !self.is_outdated || self.question.is_some() || Instant::now() < self.ask_from {
            return;
        }
        self.is_outdated = false;
        self.ask_from = Instant::now() + Duration::from_millis(PAUSE_MS);
        let (journal, index) = (self.journal.clone(), u32::from(self.shard.0));
        self.question = Some(Box::pin(async move {
            let states = journal.end(Partition { topic: Topic::OrderStates, index }).await?;
            let orders = journal.end(Partition { topic: Topic::Orders, index }).await?;
            Ok(Ends { states, orders, marker })
        }));
    }

    /// Waits for the answer, if there is a question; otherwise for ever.
    pub(crate) async fn answered(&mut self) {
        let Some(question) = &mut self.question else { return std::future::pending().await };
        let answer = question.await;
        self.question = None;
        match answer {
            Ok(ends) => self.known = Some(ends),
            Err(error) => {
                warn!(shard = self.shard.0, %error, "the end of order-states cannot be read; trying again");
                self.is_outdated = true;
            }
        }
    }

    /// The mark to store with a checkpoint at a position past our claim, whose marker is appended
    /// later, if every record below the position was applied and no newer claim that counts was
    /// among them.
    pub(crate) fn before_marker(&self, mark: StoreMark, position: u64) -> StoreMark {
        let known = self.end_at(position).filter(|(_, end)| *end > mark.states_offset);
        known.map_or(mark, |(_, end)| StoreMark { states_offset: end, ..mark })
    }

    /// The mark to store while no checkpoint is due. It stays as it is unless the end was asked for
    /// after the mark's marker was written: before that, the end may be on either side of it.
    pub(crate) fn after_marker(&self, mark: StoreMark) -> StoreMark {
        let known = self.end_at(mark.position).filter(|(ends, _)| ends.marker >= mark.position);
        let Some((ends, end)) = known.filter(|(_, end)| *end > mark.states_offset) else { return mark };
        // A state that cannot be read was there before the marker.
        let is_past_marker = end == ends.states;
        StoreMark { states_offset: end, marker_follows: mark.marker_follows && !is_past_marker, ..mark }
    }

    /// The end up to which a restore from the position may skip, with the answer that says so.
    fn end_at(&self, position: u64) -> Option<(Ends, u64)> {
        let ends = self.known.filter(|ends| !self.is_frozen && ends.orders <= position)?;
        Some((ends, self.first_unreadable.map_or(ends.states, |first| ends.states.min(first))))
    }
}

#[cfg(test)]
mod tests {
    use twqr_journal::Entry;
    use twqr_journal_sim::{Faults, Layout, Sim};

    use super::*;

    #[tokio::test]
    async fn a_marker_appended_while_the_end_is_asked_for_is_never_taken_to_follow_it() {
        let journal = Sim::new(Layout { shards: 1, task_partitions: 1 }, Faults::default(), 1).session("router");
        let states = Partition { topic: Topic::OrderStates, index: 0 };
        let append = || journal.append(states, vec![Entry { key: "marker".into(), value: Some("".into()) }]);
        append().await.unwrap();
        let mut end = StatesEnd::new(ShardId(0), journal.clone(), None);
        let earlier = StoreMark { position: 5, marker_follows: true, ..StoreMark::default() };
        end.ask_if_due(earlier.position);
        append().await.unwrap();
        end.answered().await;
        let newer = StoreMark { position: 9, ..earlier };
        let stored = end.after_marker(newer);
        assert!(!stored.marker_follows || stored.states_offset < 2, "{stored:?}");
    }
}
