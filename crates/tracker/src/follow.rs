//! Follows one shard of `order-states`: sets an alarm for each order in progress, writes a due
//! record when the alarm fires, and feeds the writer of the read model. Only the start and a filter
//! of outdated states use the read model, and both work without it while it fails: a full disk of
//! the read model must not stop inquiries.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until, timeout};
use tracing::{error, warn};
use twqr_consumer::{BeginningsCheck, DeadLetters, KnownBeginnings};
use twqr_journal::{Entry, Journal, JournalError, Offset, Partition, Record, Topic};
use twqr_service::{Backoff, Context, Part, StallWatch, Stalled};
use twqr_types::OrderKey;
use twqr_wire::convert::{encode_due, with_hops};

use crate::{
    alarms::Alarms,
    budgets::Budgets,
    directory::TrackedDirectory,
    feed::Feed,
    metrics::Gauges,
    model::{ModelError, ReadModel, newest_states},
    policies::{Policies, ShardPolicies},
    states::StatesBatch,
};

/// How many states are read at once.
const BATCH_RECORDS_MAX: usize = 1_024;
/// How many due records are written at once.
const BATCH_DUES_MAX: usize = 1_024;
/// The shortest and the longest pause after a failure, in ms.
const PAUSE_MS_MIN: u64 = 50;
const PAUSE_MS_MAX: u64 = 5_000;
/// How long the start waits for the read model, in ms.
const SNAPSHOT_WAIT_MS: u64 = 5_000;
/// How long a due record waits for the read model, in ms.
const FILTER_WAIT_MS: u64 = 250;
/// After a failed question the read model is not asked again for this long, in ms.
const FILTER_PAUSE_MS: u64 = 10_000;
/// How long alarms wait at most while the follower catches up, in ms: until then the alarm may be
/// that of an outdated state.
const CATCH_UP_MS: u64 = 30_000;
/// The time between two updates of the gauges, in ms.
const GAUGES_MS: u64 = 1_000;

/// The reason why following was interrupted.
#[derive(Debug, thiserror::Error)]
enum FollowInterruption {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Stalled(#[from] Stalled),
}

/// The follower of one shard.
pub(crate) struct Follower {
    pub(crate) shard: u32,
    pub(crate) part: Part,
    pub(crate) model: Arc<dyn ReadModel>,
    pub(crate) policies: Arc<Policies>,
    pub(crate) directory: Arc<TrackedDirectory>,
    pub(crate) budgets: Arc<Budgets>,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) feed: Arc<Feed>,
    pub(crate) context: Context,
}

/// The progress of a follower. It survives interruptions.
struct FollowerState {
    /// The offset after the last state that was read.
    next: Offset,
    check: BeginningsCheck,
    alarms: Alarms,
    gauges: Gauges,
    /// The read model is not asked before this time, because it failed.
    filter_from: Instant,
}

impl Follower {
    /// Runs until shutdown.
    pub(crate) async fn run(self) {
        let part = self.part.clone();
        let watch = StallWatch::default();
        let mut backoff = Backoff::new(PAUSE_MS_MIN, PAUSE_MS_MAX);
        let mut progress = tokio::select! {
            () = self.context.shutdown.cancelled() => return,
            progress = self.start() => progress,
        };
        while let Err(interruption) = self.follow(&part, &watch, &mut progress, &mut backoff).await {
            part.not_ready(format!("{interruption}; trying again"));
            let pause = backoff.next_pause();
            warn!(shard = self.shard, %interruption, ?pause, "the tracker was interrupted; trying again");
            tokio::select! {
                () = self.context.shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Takes the alarms from the read model, and continues where it ends. If it cannot be read, or
    /// not all of it, the follower begins with the first record of `order-states`, which has every
    /// order.
    async fn start(&self) -> FollowerState {
        let check = BeginningsCheck::new(self.states(), 0, KnownBeginnings::default());
        let mut progress = FollowerState {
            next: 0,
            check,
            alarms: Alarms::default(),
            gauges: Gauges::of(self.shard),
            filter_from: Instant::now(),
        };
        let stored = async {
            let listings = self.model.listings(self.shard).await?;
            Ok::<_, ModelError>((self.model.snapshot(self.shard).await?, listings))
        };
        let reason = match timeout(Duration::from_millis(SNAPSHOT_WAIT_MS), stored).await {
            Ok(Ok((snapshot, listings))) if snapshot.unreadable.is_empty() => {
                self.directory.update(self.shard, &listings);
                if let Some((position, versions)) = snapshot.policies {
                    self.policies.update(self.shard, ShardPolicies { position, versions: Arc::new(versions) });
                }
                for stored in &snapshot.in_progress {
                    progress.alarms.update(&stored.order, stored.position);
                }
                progress.next = snapshot.next;
                progress.check = BeginningsCheck::new(self.states(), snapshot.next, snapshot.beginnings);
                return progress;
            }
            Ok(Ok((snapshot, _))) => snapshot.unreadable.join("; "),
            Ok(Err(failure)) => failure.to_string(),
            Err(_) => format!("it did not answer within {SNAPSHOT_WAIT_MS} ms"),
        };
        error!(shard = self.shard, %reason, "due times are taken from order-states, not from the read model");
        progress
    }

    fn states(&self) -> Partition {
        Partition { topic: Topic::OrderStates, index: self.shard }
    }

    async fn follow(
        &self,
        part: &Part,
        watch: &StallWatch,
        progress: &mut FollowerState,
        backoff: &mut Backoff,
    ) -> Result<(), FollowInterruption> {
        let states = self.states();
        let end_at_start = self.journal.end(states).await?;
        let mut reader = progress.check.open(&*self.journal, progress.next).await?;
        let mut gauges_at = Instant::now();
        let ring_from = Instant::now() + Duration::from_millis(CATCH_UP_MS);
        if progress.next >= end_at_start {
            part.ready();
        }
        let stalled = watch.until_stalled(part, || async { self.journal.end(states).await.ok() });
        tokio::pin!(stalled);
        loop {
            watch.set_applied(progress.next);
            let now = self.context.clock.now();
            // No alarm fires by a wrong clock: it would cause inquiries too early. The next tick of
            // the gauges looks at the clock again.
            let next_alarm = progress.alarms.next().filter(|_| !self.context.clock.is_skewed()).map(|at| {
                let rings_at = Instant::now() + Duration::from_millis(at.since(now).max(0).cast_unsigned());
                if progress.next < end_at_start { rings_at.max(ring_from) } else { rings_at }
            });
            tokio::select! {
                () = self.context.shutdown.cancelled() => return Ok(()),
                records = reader.next(BATCH_RECORDS_MAX) => {
                    self.take(records?, progress)?;
                    backoff.reset();
                    if progress.next >= end_at_start && !part.is_ready() {
                        part.ready();
                    }
                }
                stalled = &mut stalled => return Err(stalled.into()),
                () = sleep_until(next_alarm.unwrap_or_else(Instant::now)), if next_alarm.is_some() => {
                    self.ring(progress).await;
                }
                () = sleep_until(gauges_at) => {
                    let now = self.context.clock.now();
                    progress.gauges.set(progress.alarms.attention(), self.feed.unwritten());
                    progress.gauges.set_in_progress(progress.alarms.accepted(), &self.budgets.gauges, now);
                    self.budgets.show_delays(self.policies.of(self.shard).as_deref(), now);
                    gauges_at = Instant::now() + Duration::from_millis(GAUGES_MS);
                }
            }
        }
    }

    fn take(&self, records: Vec<Record>, progress: &mut FollowerState) -> Result<(), JournalError> {
        let mut batch = StatesBatch::decode(progress.next, records);
        progress.check.take_all(&batch.beginnings)?;
        progress.next = batch.next;
        for stored in newest_states(&batch.orders) {
            progress.alarms.update(&stored.order, stored.position);
        }
        if let Some(policies) = &batch.policies {
            self.policies.update(self.shard, policies.clone());
        }
        self.directory.update(self.shard, &batch.listings);
        for record in std::mem::take(&mut batch.faults) {
            self.dead_letters.write(self.states(), record.offset, &record.value, record.fault);
        }
        self.feed.push(batch);
        Ok(())
    }

    /// Writes the due records of the alarms that fire now.
    async fn ring(&self, progress: &mut FollowerState) {
        let policies = self.policies.of(self.shard);
        let now = self.context.clock.now();
        let due = progress.alarms.take_due(now, BATCH_DUES_MAX, &self.budgets, policies.as_deref());
        if due.is_empty() {
            return;
        }
        let superseded = self.superseded(&due, progress).await;
        for key in &superseded {
            progress.alarms.remove(key);
        }
        let due: Vec<OrderKey> = due.into_iter().map(|(key, _)| key).filter(|key| !superseded.contains(key)).collect();
        self.write_due_records(&due).await;
    }

    /// The orders of which the read model has a newer state: a router that lost its shard wrote an
    /// outdated one behind it. While the read model fails, none: a due record too many changes
    /// nothing.
    async fn superseded(&self, due: &[(OrderKey, u64)], progress: &mut FollowerState) -> HashSet<OrderKey> {
        if Instant::now() < progress.filter_from {
            return HashSet::new();
        }
        let question = self.model.superseded(self.shard, due.to_vec());
        let answer = timeout(Duration::from_millis(FILTER_WAIT_MS), question).await;
        // The writer of the read model logs why it fails.
        answer.ok().and_then(Result::ok).unwrap_or_else(|| {
            progress.filter_from = Instant::now() + Duration::from_millis(FILTER_PAUSE_MS);
            HashSet::new()
        })
    }

    /// Writes due records for these orders. A failure needs no retry here, because `take_due` has
    /// set the alarms again.
    async fn write_due_records(&self, due: &[OrderKey]) {
        if due.is_empty() {
            return;
        }
        let now = self.context.clock.now();
        let now_us = self.context.clock.now_us();
        let record = |key| {
            let record = encode_due(now, key);
            match twqr_telemetry::hops_without_call("tracker", "due", key, now_us) {
                Some(times) => with_hops(&record, &times),
                None => record,
            }
        };
        let entries: Vec<Entry> = due.iter().map(|key| Entry::plain(record(key))).collect();
        let count = entries.len();
        match self.journal.append(Partition { topic: Topic::Orders, index: self.shard }, entries).await {
            Ok(()) => Gauges::count_due_records(count),
            Err(error) => {
                warn!(shard = self.shard, %error, count, "due records may not have been written; they are written again later");
            }
        }
    }
}
