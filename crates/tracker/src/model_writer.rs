//! Writes one shard of `order-states` into the read model. It takes states from the follower's
//! feed, and reads states that the feed has dropped from the log. After a failure it starts again
//! with a growing pause, from the offset that the read model has stored. A failing read model is
//! reported as degraded, and stops neither the process nor the alarms.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::{Instant, sleep, sleep_until};
use tracing::{error, warn};
use twqr_consumer::BeginningsCheck;
use twqr_journal::{Journal, JournalError, Offset, Partition, Reader, Topic};
use twqr_order::{ListingChange, ListingKey, Order};
use twqr_service::{Backoff, Context, LogThrottle, Part};
use twqr_types::{OrderKey, UnixMs};

use crate::{
    feed::Feed,
    metrics::Gauges,
    model::{ModelError, ReadModel, ShardSnapshot, StoredOrder, Watermark},
    policies::ShardPolicies,
    states::StatesBatch,
};

/// How many states are read from the log at once.
const BATCH_RECORDS_MAX: usize = 1_024;
/// How long states are collected before they are written, in ms. This may be long, because no
/// payment and no alarm waits for the read model.
const COLLECT_MS: u64 = 1_000;
/// How many states are collected at most.
const COLLECTED_MAX: usize = 8_192;
/// The shortest and the longest pause after a failure, in ms.
const PAUSE_MS_MIN: u64 = 50;
const PAUSE_MS_MAX: u64 = 5_000;
/// After this time without an answer the read model counts as degraded, in ms.
const SLOW_MS: u64 = 5_000;
/// How long the last write may take at shutdown, in ms.
const LAST_WRITE_MS: u64 = 2_000;
/// The time between two log lines about failures, in ms.
const LOG_MS: u64 = 10_000;

/// The reason why writing was interrupted.
#[derive(Debug, thiserror::Error)]
enum WriteInterruption {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// Whether this state can be both the first and the last one of its order: it is final, no inquiry
/// was made, and the payment has no refund, cancel or contradiction.
fn can_be_only_state(order: &Order) -> bool {
    let untouched = order
        .as_payment()
        .is_none_or(|payment| payment.charge.inquiries == 0 && payment.refunds.is_empty() && payment.cancel.is_none());
    order.is_at_rest() && untouched && order.contradiction().is_none()
}

/// The next multiple of [`COLLECT_MS`] on the clock: all shards write at the same time, so that one
/// transaction takes all their writes.
fn next_write(now: UnixMs) -> Instant {
    let collect_ms = COLLECT_MS.cast_signed();
    Instant::now() + Duration::from_millis((collect_ms - now.0.rem_euclid(collect_ms)).cast_unsigned())
}

/// The writer of one shard.
pub(crate) struct ModelWriter {
    pub(crate) shard: u32,
    pub(crate) model: Arc<dyn ReadModel>,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) feed: Arc<Feed>,
    pub(crate) context: Context,
}

/// The state of a writer since its last start.
struct WriterState {
    /// The offset after the last state that was collected or written.
    next: Offset,
    check: BeginningsCheck,
    /// The highest marker.
    marker: u64,
    /// The offset of the first unreadable state. The watermark stays there, so that a newer build
    /// reads the state again, and until then no later day counts as complete.
    unreadable: Option<Offset>,
    /// The orders in progress.
    unfinished: HashSet<OrderKey>,
    /// The states that are not written yet.
    collected: Vec<StoredOrder>,
    /// The versions of the policy that are not written yet.
    policies: Option<ShardPolicies>,
    /// The entries of the directory of merchants that are not written yet.
    listings: Vec<Arc<ListingChange>>,
    /// When the collected states must be written.
    write_at: Option<Instant>,
    /// Reads what the feed does not have; its next record is `next`.
    reader: Option<Box<dyn Reader>>,
}

impl WriterState {
    fn new(states: Partition, snapshot: ShardSnapshot) -> Self {
        Self {
            next: snapshot.next,
            check: BeginningsCheck::new(states, snapshot.next, snapshot.beginnings),
            marker: 0,
            unreadable: None,
            unfinished: snapshot.in_progress.into_iter().map(|stored| stored.order.key().clone()).collect(),
            collected: Vec::new(),
            policies: None,
            listings: Vec::new(),
            write_at: None,
            reader: None,
        }
    }

    /// Whether so much is collected that nothing more is read until it is written.
    fn is_full(&self) -> bool {
        self.collected.len() + self.listings.len() >= COLLECTED_MAX
    }

    fn collect(&mut self, batch: StatesBatch, now: UnixMs) -> Result<(), JournalError> {
        self.check.take_all(&batch.beginnings)?;
        self.next = batch.next;
        self.marker = self.marker.max(batch.marker);
        self.unreadable = self.unreadable.or(batch.unreadable);
        if let Some(newer) = batch.policies
            && self.policies.as_ref().is_none_or(|known| known.position <= newer.position)
        {
            self.policies = Some(newer);
        }
        self.listings.extend(batch.listings);
        for mut stored in batch.orders {
            stored.is_only_state = can_be_only_state(&stored.order) && !self.unfinished.contains(stored.order.key());
            if stored.order.is_at_rest() {
                self.unfinished.remove(stored.order.key());
            } else {
                self.unfinished.insert(stored.order.key().clone());
            }
            self.collected.push(stored);
        }
        let write_at = self.write_at.unwrap_or_else(|| next_write(now));
        self.write_at = Some(if self.is_full() { Instant::now() } else { write_at });
        Ok(())
    }
}

/// The newest version of each entry.
fn newest(listings: Vec<Arc<ListingChange>>) -> Vec<Arc<ListingChange>> {
    let mut newest: HashMap<ListingKey, Arc<ListingChange>> = HashMap::with_capacity(listings.len());
    for change in listings {
        let known = newest.entry(change.key.clone()).or_insert_with(|| change.clone());
        if known.version < change.version {
            *known = change;
        }
    }
    newest.into_values().collect()
}

impl ModelWriter {
    /// Runs until shutdown.
    pub(crate) async fn run(self) {
        let part = self.context.health.part(format!("tracker/read-model-{}", self.shard));
        part.degraded("starting");
        let overdue = async {
            self.context.shutdown.cancelled().await;
            sleep(Duration::from_millis(LAST_WRITE_MS)).await;
        };
        tokio::select! {
            () = self.retry(&part) => {}
            () = overdue => warn!(shard = self.shard, "the last write to the read model did not finish; it is repeated after the start"),
        }
    }

    /// Writes until shutdown, again after each failure.
    async fn retry(&self, part: &Part) {
        let mut backoff = Backoff::new(PAUSE_MS_MIN, PAUSE_MS_MAX);
        let mut throttle = LogThrottle::every_ms(LOG_MS);
        while let Err(interruption) = self.write_all(part, &mut backoff).await {
            part.degraded(format!("{interruption}; trying again"));
            Gauges::count_model_failure();
            if let Some(suppressed) = throttle.permit() {
                warn!(shard = self.shard, %interruption, suppressed, "the read model falls behind; trying again");
            }
            tokio::select! {
                () = self.context.shutdown.cancelled() => return,
                () = sleep(backoff.next_pause()) => {}
            }
        }
    }

    async fn write_all(&self, part: &Part, backoff: &mut Backoff) -> Result<(), WriteInterruption> {
        let snapshot = warn_if_slow(part, self.model.snapshot(self.shard)).await?;
        for unreadable in &snapshot.unreadable {
            error!(shard = self.shard, "{unreadable}");
        }
        let states = Partition { topic: Topic::OrderStates, index: self.shard };
        let mut progress = WriterState::new(states, snapshot);
        self.feed.set_written(progress.next);
        progress.check.verify(&*self.journal, progress.next).await?;
        let end_at_start = self.journal.end(states).await?;
        if progress.next >= end_at_start {
            part.ready();
        }
        loop {
            let write_at = progress.write_at;
            let (next, is_full) = (progress.next, progress.is_full());
            tokio::select! {
                () = self.context.shutdown.cancelled() => return self.write(part, &mut progress).await,
                batch = self.next_batch(next, &mut progress.reader), if !is_full => {
                    progress.collect(batch?, self.context.clock.now())?;
                }
                () = sleep_until(write_at.unwrap_or_else(Instant::now)), if write_at.is_some() => {
                    self.write(part, &mut progress).await?;
                    backoff.reset();
                    if progress.next >= end_at_start {
                        part.ready();
                    } else {
                        part.degraded(format!("catching up: {} of {end_at_start} records are written", progress.next));
                    }
                }
            }
        }
    }

    /// The states from `next` on, from the feed if it has them, otherwise from the log. The call
    /// may be cancelled.
    async fn next_batch(
        &self,
        next: Offset,
        reader: &mut Option<Box<dyn Reader>>,
    ) -> Result<StatesBatch, JournalError> {
        self.feed.wait_beyond(next).await;
        if let Some(batch) = self.feed.take(next) {
            *reader = None;
            return Ok(batch);
        }
        if reader.is_none() {
            let states = Partition { topic: Topic::OrderStates, index: self.shard };
            *reader = Some(self.journal.follower(states, next).await?);
        }
        let Some(reader) = reader else { return Ok(StatesBatch::decode(next, Vec::new())) };
        Ok(StatesBatch::decode(next, reader.next(BATCH_RECORDS_MAX).await?))
    }

    /// Writes what was collected.
    async fn write(&self, part: &Part, progress: &mut WriterState) -> Result<(), WriteInterruption> {
        progress.write_at = None;
        let watermark = Watermark {
            next: progress.unreadable.unwrap_or(progress.next),
            marker: progress.marker,
            beginnings: progress.check.known(),
        };
        let states = Arc::new(std::mem::take(&mut progress.collected));
        Gauges::count_states(states.len());
        if let Some(ShardPolicies { position, versions }) = progress.policies.take() {
            warn_if_slow(part, self.model.store_policies(self.shard, position, versions)).await?;
        }
        let listings = std::mem::take(&mut progress.listings);
        if !listings.is_empty() {
            warn_if_slow(part, self.model.store_listings(self.shard, Arc::new(newest(listings)))).await?;
        }
        warn_if_slow(part, self.model.apply(self.shard, watermark, states)).await?;
        self.feed.set_written(watermark.next);
        Ok(())
    }
}

/// Waits for the read model, and reports it as degraded if that takes long.
async fn warn_if_slow<T>(part: &Part, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    tokio::select! {
        biased;
        done = &mut work => return done,
        () = sleep(Duration::from_millis(SLOW_MS)) => {
            part.degraded(format!("the read model has not answered for {SLOW_MS} ms"));
        }
    }
    work.await
}
