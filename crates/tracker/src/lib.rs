//! The tracker: follows `order-states`, and when the next check time of an order in progress has come, writes a due record. It decides
//! nothing about an order: the machine ignores a due record that is early or no longer needed. What it knows it reads again from
//! `order-states` at each start.

mod alarms;

use std::{sync::Arc, time::Duration};

use futures::future::try_join_all;
use tokio::time::Instant;
use tracing::warn;
use twqr_journal::{Entry, Journal, JournalError, Partition, Topic};
use twqr_service::{Clock, Context};
use twqr_types::OrderKey;
use twqr_wire::convert::{StateBody, decode_state, due_record};

use alarms::Alarms;

/// How many states are taken at once.
const BATCH_RECORDS_MAX: usize = 1_024;
/// How many due records are written at once.
const BATCH_DUES_MAX: usize = 1_024;

/// Runs until `context.shutdown` fires, one follower for each shard.
pub async fn run(journal: Arc<dyn Journal>, context: Context) -> Result<(), JournalError> {
    metrics::describe_counter!("twqr_tracker_due_records_total", "Due records written");
    metrics::describe_gauge!("twqr_tracker_in_progress_orders", "Orders in progress, by shard");
    let follow = |index| follow(index, journal.clone(), context.clone());
    try_join_all((0..journal.partitions(Topic::OrderStates)).map(follow)).await.map(|_| ())
}

async fn follow(index: u32, journal: Arc<dyn Journal>, context: Context) -> Result<(), JournalError> {
    let part = context.health.part(format!("tracker/shard-{index}"));
    let states = Partition { topic: Topic::OrderStates, index };
    let mut reader = journal.reader(states, 0).await?;
    let mut alarms = Alarms::default();
    let in_progress = metrics::gauge!("twqr_tracker_in_progress_orders", "shard" => index.to_string());
    part.ready();
    loop {
        let wait = alarms.next().map(|at| Duration::from_millis(at.since(context.clock.now()).max(0).cast_unsigned()));
        tokio::select! {
            () = context.shutdown.cancelled() => return Ok(()),
            records = reader.next(BATCH_RECORDS_MAX) => {
                for record in records? {
                    let Some(value) = record.entry.value else { continue };
                    match decode_state(value).map(|entry| (entry.position, entry.body)) {
                        Ok((position, StateBody::Payment(payment))) => alarms.learn(&payment, position),
                        Ok((_, StateBody::Policies(_) | StateBody::Marker)) => {}
                        Err(fault) => warn!(shard = index, offset = record.offset, %fault, "a state cannot be read; passed over"),
                    }
                }
                in_progress.set(alarms.len() as f64);
            }
            () = tokio::time::sleep_until(Instant::now() + wait.unwrap_or_default()), if wait.is_some() => {
                let due = alarms.ring(context.clock.now(), BATCH_DUES_MAX);
                wake(index, &due, &*journal, &*context.clock).await?;
            }
        }
    }
}

async fn wake(shard: u32, due: &[OrderKey], journal: &dyn Journal, clock: &dyn Clock) -> Result<(), JournalError> {
    if due.is_empty() {
        return Ok(());
    }
    metrics::counter!("twqr_tracker_due_records_total").increment(due.len() as u64);
    let entries = due.iter().map(|key| Entry::plain(due_record(clock.now(), key))).collect();
    journal.append(Partition { topic: Topic::Orders, index: shard }, entries).await
}
