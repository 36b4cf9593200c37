//! Follows one shard of `order-states`: into the read model, and for orders in progress onto the
//! alarm clock. Whatever fails is tried again with a growing pause; the model remembers how far it
//! is.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;
use tracing::warn;
use twqr_consumer::DeadLetters;
use twqr_journal::{Entry, Journal, JournalError, Partition, Record, Topic};
use twqr_order::Order;
use twqr_service::{Backoff, Context, Part, StallWatch, Stalled};
use twqr_types::{OrderKey, UnixMs};
use twqr_wire::convert::{StateBody, UnreadableState, decode_state, encode_due, unreadable_state};

use crate::{
    alarms::Alarms,
    metrics::Gauges,
    model::{ModelError, ReadModel, Seen, Upto},
    policies::{Kept, Policies},
};

/// How many states are taken at once.
const BATCH_RECORDS_MAX: usize = 1_024;
/// How many due records are written at once.
const BATCH_DUES_MAX: usize = 1_024;
/// How long states may gather before they are written, in ms: nobody waits for the read model.
const GATHER_MS: u64 = 1_000;
/// The same where an order waits for its next check, whose alarm is set only then, in ms.
const URGENT_MS: u64 = 100;
/// How many states gather at the most.
const GATHERED_MAX: usize = 16_384;
/// The pause after a failure, in ms; doubles up to the maximum.
const PAUSE_MS_MIN: u64 = 50;
const PAUSE_MS_MAX: u64 = 5_000;

/// Why following was interrupted.
#[derive(Debug, thiserror::Error)]
enum Interruption {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Stalled(#[from] Stalled),
}

/// An order that is due so soon after its last change is written quickly, in ms.
const SOON_MS: i64 = 5_000;

/// Whether this state can be both the first and the last of its order: one that was never asked
/// about, nor touched after it was paid.
fn is_first_and_last(order: &Order) -> bool {
    let untouched = order
        .as_payment()
        .is_none_or(|payment| payment.charge.inquiries == 0 && payment.refunds.is_empty() && payment.cancel.is_none());
    order.is_at_rest() && untouched && order.contradiction().is_none()
}

/// Of each order that was taken its newest state: a router that stood still may write an older one
/// behind it, in the same batch.
fn newest<'a>(seen: &'a [Seen], taken: &HashSet<OrderKey>) -> impl Iterator<Item = &'a Seen> {
    let mut newest: HashMap<&OrderKey, &Seen> = HashMap::new();
    for seen in seen.iter().filter(|seen| taken.contains(seen.order.key())) {
        let known = newest.entry(seen.order.key()).or_insert(seen);
        if known.position <= seen.position {
            *known = seen;
        }
    }
    newest.into_values()
}

/// One shard's follower.
pub(crate) struct Follower {
    pub(crate) shard: u32,
    pub(crate) model: Arc<dyn ReadModel>,
    pub(crate) policies: Arc<Policies>,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) context: Context,
}

/// What a follower has in memory.
struct Progress {
    next: u64,
    /// The newest marker: every state of records below this position stands before it.
    marker: u64,
    /// The first state that cannot be read: the model is not beyond it, so that the next build
    /// reads from there, and no day is complete before.
    unreadable: Option<u64>,
    seen: Vec<Seen>,
    /// Versions of the rules that are not in the model yet.
    policies: Option<Kept>,
    alarms: Alarms,
    /// When what has gathered must be written.
    write_at: Option<Instant>,
    /// Ready once this is reached.
    end_at_start: u64,
}

/// The next whole [`GATHER_MS`] of the clock: all shards write at the same time, so that one
/// transaction takes them all.
fn next_write(now: UnixMs) -> Instant {
    let gather_ms = GATHER_MS.cast_signed();
    Instant::now() + Duration::from_millis((gather_ms - now.0.rem_euclid(gather_ms)).cast_unsigned())
}

impl Follower {
    /// Runs until shutdown.
    pub(crate) async fn run(self) {
        let part = self.context.health.part(format!("tracker/shard-{}", self.shard));
        let watch = StallWatch::default();
        let mut backoff = Backoff::new(PAUSE_MS_MIN, PAUSE_MS_MAX);
        while let Err(interruption) = self.follow(&part, &watch, &mut backoff).await {
            part.not_ready(format!("{interruption}; trying again"));
            let pause = backoff.next_pause();
            warn!(shard = self.shard, %interruption, ?pause, "the tracker was interrupted; trying again");
            tokio::select! {
                () = self.context.shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn follow(&self, part: &Part, watch: &StallWatch, backoff: &mut Backoff) -> Result<(), Interruption> {
        let states = Partition { topic: Topic::OrderStates, index: self.shard };
        let known = self.model.begin(self.shard).await?;
        let end_at_start = self.journal.end(states).await?;
        let mut reader = self.journal.reader(states, known.next).await?;
        let mut progress = Progress {
            next: known.next,
            marker: 0,
            unreadable: None,
            seen: Vec::new(),
            policies: None,
            alarms: Alarms::default(),
            write_at: None,
            end_at_start,
        };
        if let Some((position, versions)) = known.policies {
            self.policies.learn(self.shard, Kept { position, versions: Arc::new(versions) });
        }
        for seen in &known.in_progress {
            progress.alarms.learn(&seen.order, seen.position);
        }
        let gauges = Gauges::of(self.shard);
        if progress.next >= end_at_start {
            part.ready();
        }
        let stalled = watch.until_stalled(part, || async { self.journal.end(states).await.ok() });
        tokio::pin!(stalled);
        loop {
            watch.set_applied(progress.next);
            watch.set_paused(progress.seen.len() >= GATHERED_MAX);
            let now = self.context.clock.now();
            let ring = progress
                .alarms
                .next()
                .map(|at| Instant::now() + Duration::from_millis(at.since(now).max(0).cast_unsigned()));
            let write_at = progress.write_at;
            tokio::select! {
                () = self.context.shutdown.cancelled() => {
                    self.write(&mut progress).await?;
                    return Ok(());
                }
                records = reader.next(BATCH_RECORDS_MAX), if progress.seen.len() < GATHERED_MAX => {
                    self.take(records?, &mut progress);
                }
                stalled = &mut stalled => return Err(stalled.into()),
                () = tokio::time::sleep_until(write_at.unwrap_or_else(Instant::now)), if write_at.is_some() => {
                    self.write(&mut progress).await?;
                    backoff.reset();
                    if progress.next >= progress.end_at_start {
                        part.ready();
                    }
                    gauges.set(&progress.alarms, self.context.clock.now());
                }
                () = tokio::time::sleep_until(ring.unwrap_or_else(Instant::now)), if ring.is_some() => {
                    let due = progress.alarms.ring(self.context.clock.now(), BATCH_DUES_MAX);
                    self.wake(&due).await;
                    gauges.set(&progress.alarms, self.context.clock.now());
                }
            }
        }
    }

    fn take(&self, records: Vec<Record>, progress: &mut Progress) {
        let mut urgent = false;
        for record in records {
            progress.next = record.offset + 1;
            let (offset, Some(value)) = (record.offset, record.entry.value) else { continue };
            match decode_state(value.clone()).map(|entry| (entry.position, entry.body)) {
                Ok((position, StateBody::Order(order))) => {
                    let is_whole = is_first_and_last(&order) && !progress.alarms.knows(order.key());
                    // Whoever waits for a time of its own, not for a task that is out.
                    urgent |= order.due_at().is_some_and(|at| at.since(order.changed_at()) < SOON_MS);
                    progress.seen.push(Seen { order: *order, position, is_whole });
                }
                Ok((position, StateBody::Policies(versions))) => {
                    let kept = Kept { position, versions: Arc::new(versions) };
                    self.policies.learn(self.shard, kept.clone());
                    if progress.policies.as_ref().is_none_or(|known| known.position <= position) {
                        progress.policies = Some(kept);
                    }
                }
                Ok((position, StateBody::Marker)) => progress.marker = progress.marker.max(position),
                Err(fault) => {
                    match unreadable_state(&record.entry.key, value.clone()) {
                        UnreadableState::Order { .. } | UnreadableState::Policies => {
                            progress.unreadable.get_or_insert(offset);
                        }
                        UnreadableState::Other => {}
                    }
                    let states = Partition { topic: Topic::OrderStates, index: self.shard };
                    drop(self.dead_letters.write(states, offset, &value, fault));
                }
            }
        }
        let write_at = progress.write_at.get_or_insert_with(|| next_write(self.context.clock.now()));
        if progress.seen.len() >= GATHERED_MAX {
            *write_at = Instant::now();
        } else if urgent {
            *write_at = (*write_at).min(Instant::now() + Duration::from_millis(URGENT_MS));
        }
    }

    /// Writes what has gathered; only what is not older than what was known sets an alarm.
    async fn write(&self, progress: &mut Progress) -> Result<(), Interruption> {
        progress.write_at = None;
        let upto = Upto { next: progress.unreadable.unwrap_or(progress.next), marker: progress.marker };
        let seen = Arc::new(std::mem::take(&mut progress.seen));
        Gauges::applied(seen.len());
        if let Some(Kept { position, versions }) = progress.policies.take() {
            self.model.keep_policies(self.shard, position, versions).await?;
        }
        let taken = self.model.apply(self.shard, upto, seen.clone()).await?;
        for Seen { order, position, .. } in newest(&seen, &taken) {
            progress.alarms.learn(order, *position);
        }
        Ok(())
    }

    /// One that is not written now is due again in a while.
    async fn wake(&self, due: &[OrderKey]) {
        if due.is_empty() {
            return;
        }
        let now = self.context.clock.now();
        let entries: Vec<Entry> = due.iter().map(|key| Entry::plain(encode_due(now, key))).collect();
        let count = entries.len();
        match self.journal.append(Partition { topic: Topic::Orders, index: self.shard }, entries).await {
            Ok(()) => Gauges::woke(count),
            Err(error) => {
                warn!(shard = self.shard, %error, count, "due records may not have been written; they follow again");
            }
        }
    }
}
