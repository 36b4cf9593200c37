//! Follows one shard of `order-states`: writes states into the read model, and sets an alarm for
//! each order in progress. After a failure the follower starts again from the offset that the read
//! model has stored; the pause grows with each failure.

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
    model::{ModelError, ReadModel, StoredOrder, Watermark},
    policies::{Policies, ShardPolicies},
};

/// How many states are read at once.
const BATCH_RECORDS_MAX: usize = 1_024;
/// How many due records are written at once.
const BATCH_DUES_MAX: usize = 1_024;
/// How long states are collected before they are written, in ms. This may be long, because no
/// payment waits for the read model.
const COLLECT_MS: u64 = 1_000;
/// How long states are collected if an order is due soon, in ms. This is shorter, because an alarm
/// is set only when the state of its order is written.
const COLLECT_URGENT_MS: u64 = 100;
/// An order is urgent if its next check is less than this after its last change, in ms.
const URGENT_WITHIN_MS: i64 = 5_000;
/// How many states are collected at most.
const COLLECTED_MAX: usize = 16_384;
/// The shortest and the longest pause after a failure, in ms.
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

/// Whether this state can be both the first and the last one of its order: it is final, no inquiry
/// was made, and the payment has no refund, cancel or contradiction.
fn can_be_only_state(order: &Order) -> bool {
    let untouched = order
        .as_payment()
        .is_none_or(|payment| payment.charge.inquiries == 0 && payment.refunds.is_empty() && payment.cancel.is_none());
    order.is_at_rest() && untouched && order.contradiction().is_none()
}

/// The newest state of each changed order. This need not be the last one in the log: a router that
/// lost its shard while it was stalled may still write older states.
fn newest_states<'a>(states: &'a [StoredOrder], changed: &HashSet<OrderKey>) -> impl Iterator<Item = &'a StoredOrder> {
    let mut newest: HashMap<&OrderKey, &StoredOrder> = HashMap::new();
    for state in states.iter().filter(|state| changed.contains(state.order.key())) {
        let known = newest.entry(state.order.key()).or_insert(state);
        if known.position <= state.position {
            *known = state;
        }
    }
    newest.into_values()
}

/// The follower of one shard.
pub(crate) struct Follower {
    pub(crate) shard: u32,
    pub(crate) model: Arc<dyn ReadModel>,
    pub(crate) policies: Arc<Policies>,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) context: Context,
}

/// The state of a follower since its last start.
struct Progress {
    /// The offset after the last state that was read.
    next: u64,
    /// The highest marker that was read. Every state that comes from records of `orders` below it
    /// has been read, too.
    marker: u64,
    /// The offset of the first unreadable state. The watermark stays there, so that a newer build
    /// reads the state again, and until then no later day counts as complete.
    unreadable: Option<u64>,
    /// The states that are not written yet.
    collected: Vec<StoredOrder>,
    /// The versions of the policy that are not written yet.
    policies: Option<ShardPolicies>,
    alarms: Alarms,
    /// When the collected states must be written.
    write_at: Option<Instant>,
    /// The end of the partition at the start; the follower is ready once it has written everything
    /// before it.
    end_at_start: u64,
}

/// The next multiple of [`COLLECT_MS`] on the clock: all shards write at the same time, so that one
/// transaction takes all their writes.
fn next_write(now: UnixMs) -> Instant {
    let collect_ms = COLLECT_MS.cast_signed();
    Instant::now() + Duration::from_millis((collect_ms - now.0.rem_euclid(collect_ms)).cast_unsigned())
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
        let snapshot = self.model.snapshot(self.shard).await?;
        let end_at_start = self.journal.end(states).await?;
        let mut reader = self.journal.reader(states, snapshot.next).await?;
        let mut progress = Progress {
            next: snapshot.next,
            marker: 0,
            unreadable: None,
            collected: Vec::new(),
            policies: None,
            alarms: Alarms::default(),
            write_at: None,
            end_at_start,
        };
        if let Some((position, versions)) = snapshot.policies {
            self.policies.update(self.shard, ShardPolicies { position, versions: Arc::new(versions) });
        }
        for stored in &snapshot.in_progress {
            progress.alarms.update(&stored.order, stored.position);
        }
        let gauges = Gauges::of(self.shard);
        if progress.next >= end_at_start {
            part.ready();
        }
        let stalled = watch.until_stalled(part, || async { self.journal.end(states).await.ok() });
        tokio::pin!(stalled);
        loop {
            watch.set_applied(progress.next);
            watch.set_paused(progress.collected.len() >= COLLECTED_MAX);
            let now = self.context.clock.now();
            let next_alarm = progress
                .alarms
                .next()
                .map(|at| Instant::now() + Duration::from_millis(at.since(now).max(0).cast_unsigned()));
            let write_at = progress.write_at;
            tokio::select! {
                () = self.context.shutdown.cancelled() => {
                    self.write(&mut progress).await?;
                    return Ok(());
                }
                records = reader.next(BATCH_RECORDS_MAX), if progress.collected.len() < COLLECTED_MAX => {
                    self.collect(records?, &mut progress);
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
                () = tokio::time::sleep_until(next_alarm.unwrap_or_else(Instant::now)), if next_alarm.is_some() => {
                    let due = progress.alarms.take_due(self.context.clock.now(), BATCH_DUES_MAX);
                    self.write_due_records(&due).await;
                    gauges.set(&progress.alarms, self.context.clock.now());
                }
            }
        }
    }

    fn collect(&self, records: Vec<Record>, progress: &mut Progress) {
        let mut urgent = false;
        for record in records {
            progress.next = record.offset + 1;
            let (offset, Some(value)) = (record.offset, record.entry.value) else { continue };
            match decode_state(value.clone()).map(|entry| (entry.position, entry.body)) {
                Ok((position, StateBody::Order(order))) => {
                    let is_only_state = can_be_only_state(&order) && !progress.alarms.contains(order.key());
                    // Orders with an open task are due long after their last change; those that
                    // wait for their next inquiry are due soon.
                    urgent |= order.due_at().is_some_and(|at| at.since(order.changed_at()) < URGENT_WITHIN_MS);
                    progress.collected.push(StoredOrder { order: *order, position, is_only_state });
                }
                Ok((position, StateBody::Policies(versions))) => {
                    let newer = ShardPolicies { position, versions: Arc::new(versions) };
                    self.policies.update(self.shard, newer.clone());
                    if progress.policies.as_ref().is_none_or(|known| known.position <= position) {
                        progress.policies = Some(newer);
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
        if progress.collected.len() >= COLLECTED_MAX {
            *write_at = Instant::now();
        } else if urgent {
            *write_at = (*write_at).min(Instant::now() + Duration::from_millis(COLLECT_URGENT_MS));
        }
    }

    /// Writes what was collected. Only states that the model stored set an alarm, since the others
    /// are older than a stored one.
    async fn write(&self, progress: &mut Progress) -> Result<(), Interruption> {
        progress.write_at = None;
        let watermark = Watermark { next: progress.unreadable.unwrap_or(progress.next), marker: progress.marker };
        let states = Arc::new(std::mem::take(&mut progress.collected));
        Gauges::count_states(states.len());
        if let Some(ShardPolicies { position, versions }) = progress.policies.take() {
            self.model.store_policies(self.shard, position, versions).await?;
        }
        let changed = self.model.apply(self.shard, watermark, states.clone()).await?;
        for StoredOrder { order, position, .. } in newest_states(&states, &changed) {
            progress.alarms.update(order, *position);
        }
        Ok(())
    }

    /// Writes due records for these orders. A failure needs no retry here, because `take_due` has
    /// set the alarms again.
    async fn write_due_records(&self, due: &[OrderKey]) {
        if due.is_empty() {
            return;
        }
        let now = self.context.clock.now();
        let entries: Vec<Entry> = due.iter().map(|key| Entry::plain(encode_due(now, key))).collect();
        let count = entries.len();
        match self.journal.append(Partition { topic: Topic::Orders, index: self.shard }, entries).await {
            Ok(()) => Gauges::count_due_records(count),
            Err(error) => {
                warn!(shard = self.shard, %error, count, "due records may not have been written; they are written again later");
            }
        }
    }
}
