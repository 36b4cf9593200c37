//! The router: for each shard that it claims, applies the records of `orders` in batches, emits the
//! effects, and checkpoints behind the hot path. All decisions are the order machine's; here are
//! only reading, appending and remembering.

mod batch;
mod checkpoint;
#[cfg(test)]
mod golden_replay;
mod metrics;
mod owner;
mod restore;
mod shard;
mod store;

use std::{sync::Arc, time::Duration};

use tracing::{error, info, warn};
use twqr_consumer::hold_assigned;
use twqr_journal::{Journal, JournalError, Topic};
use twqr_order::Policy;
use twqr_service::{Backoff, CancellationToken, Context, StallWatch, Stalled};
use twqr_types::ShardId;
use twqr_wire::convert::RecordFault;

pub use store::{DiskStore, MemoryStore, StateStore, StoreError};

/// What the router needs to know.
#[derive(Clone)]
pub struct Settings {
    /// This process among the routers: unique, and stable over restarts.
    pub member: String,
    /// The rules where there have never been any; later ones come by records.
    pub policy: Policy,
    /// How long changed states may wait before they are written to `order-states`, in ms: 10 to
    /// 10,000.
    pub checkpoint_interval_ms: u64,
    /// Where states are kept locally.
    pub store: Arc<dyn StateStore>,
}

/// Why the router, or one shard of it, had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The journal failed; the shard is claimed anew.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The local store failed; the process ends.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Records came and were not read; the shard is claimed anew.
    #[error(transparent)]
    Stalled(#[from] Stalled),
    /// The rules of the shard cannot be read, so that nothing can be decided: a build that reads
    /// them must take it.
    #[error(
        "the rules of the shard, as they stand in order-states, cannot be read by this build ({0}); run one that reads them"
    )]
    UnreadableRules(RecordFault),
}

/// The first pause before a shard is claimed anew, in ms; doubles up to the maximum.
const CLAIM_PAUSE_MS_MIN: u64 = 50;
const CLAIM_PAUSE_MS_MAX: u64 = 5_000;
/// The pause after another router's claim while the shard is still assigned here, in ms: both were
/// told to claim it.
const SUPERSEDED_PAUSE_MS: u64 = 400;

/// How long a shard that is no longer ours is owned until another router claims it, in ms. Two
/// owners at once are harmless.
const GRACE_MS: u64 = 3_000;

/// Runs until `context.shutdown` fires: follows the assignment hints and owns each assigned shard.
/// At the end it leaves the group first, and goes on until others have claimed its shards, so that
/// no payment waits in between.
pub async fn run(settings: Settings, journal: Arc<dyn Journal>, context: Context) -> Result<(), Error> {
    metrics::describe();
    let hold = |index, unwanted| keep_shard(index, settings.clone(), journal.clone(), context.clone(), unwanted);
    hold_assigned(&*journal, Topic::Orders, &settings.member, &context.shutdown, hold).await?;
    Ok(())
}

/// Fires when a shard that is not wanted any more has had its grace.
fn stop_after_grace(unwanted: CancellationToken, is_shared: bool) -> CancellationToken {
    let stop = CancellationToken::new();
    let fires = stop.clone();
    tokio::spawn(async move {
        unwanted.cancelled().await;
        if is_shared {
            tokio::time::sleep(Duration::from_millis(GRACE_MS)).await;
        }
        fires.cancel();
    });
    stop
}

/// Owns one shard for as long as it is wanted: claims it, and claims it anew after every failure.
async fn keep_shard(
    index: u32,
    settings: Settings,
    journal: Arc<dyn Journal>,
    context: Context,
    unwanted: CancellationToken,
) {
    let part = context.health.part(format!("router/shard-{index}"));
    let stop = stop_after_grace(unwanted.clone(), journal.is_shared());
    let watch = StallWatch::default();
    let mut backoff = Backoff::new(CLAIM_PAUSE_MS_MIN, CLAIM_PAUSE_MS_MAX);
    while let Ok(shard) = u16::try_from(index) {
        let began = tokio::time::Instant::now();
        let (journal, clock) = (journal.clone(), context.clock.clone());
        let owner = owner::Owner::new(ShardId(shard), &settings, journal, clock, part.clone(), watch.clone());
        match owner.own(&stop).await {
            Ok(owner::Ended::Stopped) => break,
            Ok(owner::Ended::Superseded { epoch, newer }) if unwanted.is_cancelled() => {
                info!(shard, epoch, newer, "another router took the shard over");
            }
            Ok(owner::Ended::Superseded { epoch, newer }) => {
                warn!(
                    shard,
                    epoch, newer, "another router claimed the shard; stopping, and claiming it only if still assigned"
                );
                backoff.raise_to(SUPERSEDED_PAUSE_MS);
            }
            Ok(owner::Ended::Overtaken { applied }) => {
                warn!(
                    shard,
                    applied,
                    "another router claimed the shard before it was restored here; claiming it only if still assigned"
                );
                backoff.raise_to(SUPERSEDED_PAUSE_MS);
            }
            Err(Error::Store(error)) => {
                // Another router, with a disk that works, must have the shards.
                error!(shard, %error, "the local store cannot be used; this process ends");
                part.dead(&error.to_string());
                break;
            }
            Err(error) => warn!(shard, %error, "the shard stopped; claiming it anew"),
        }
        if unwanted.is_cancelled() {
            break;
        }
        part.not_ready("claiming the shard anew");
        if began.elapsed() > Duration::from_millis(CLAIM_PAUSE_MS_MAX) {
            backoff.reset();
        }
        tokio::select! {
            () = unwanted.cancelled() => break,
            () = tokio::time::sleep(backoff.next_pause()) => {}
        }
    }
    part.remove();
}
