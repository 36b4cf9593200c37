//! The router: for each shard that it claims, applies the records of `orders` in batches, emits the effects, and checkpoints
//! behind the hot path. All decisions are the order machine's; here are only reading, appending and remembering.

mod batch;
mod checkpoint;
mod metrics;
mod owner;
mod restore;
mod shard;
mod store;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rand::Rng;
use tokio::task::JoinHandle;
use tracing::warn;
use twqr_journal::{Journal, JournalError, Topic};
use twqr_order::Policy;
use twqr_service::{CancellationToken, Context};
use twqr_types::ShardId;

pub use store::{DiskStore, MemoryStore, StateStore, StoreError};

/// What the router needs to know.
#[derive(Clone)]
pub struct Settings {
    /// This process among the routers: unique, and stable over restarts.
    pub member: String,
    /// The policy that this deployment is configured with; written into each shard's log where another one holds.
    pub policy: Policy,
    /// How long changed states may wait before they are written to `order-states`, in ms: 10 to 10,000.
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
    /// The local store failed; the shard is claimed anew.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The first pause before a shard is claimed anew, in ms; doubles up to the maximum.
const CLAIM_PAUSE_MS_MIN: u64 = 50;
const CLAIM_PAUSE_MS_MAX: u64 = 5_000;

/// Runs until `context.shutdown` fires: follows the assignment hints and owns each assigned shard.
pub async fn run(settings: Settings, journal: Arc<dyn Journal>, context: Context) -> Result<(), Error> {
    metrics::describe();
    let mut assignments = journal.assignments(Topic::Orders, &settings.member).await?;
    let mut owned: BTreeMap<u32, (CancellationToken, JoinHandle<()>)> = BTreeMap::new();
    loop {
        let wanted = tokio::select! {
            () = context.shutdown.cancelled() => break,
            changed = assignments.changed() => changed?,
        };
        for (_, (stop, _)) in owned.extract_if(.., |index, _| !wanted.contains(index)) {
            stop.cancel();
        }
        for index in wanted {
            owned.entry(index).or_insert_with(|| {
                let stop = context.shutdown.child_token();
                let keep = keep_shard(index, settings.clone(), journal.clone(), context.clone(), stop.clone());
                (stop, tokio::spawn(keep))
            });
        }
    }
    for (_, (stop, task)) in owned {
        stop.cancel();
        drop(task.await);
    }
    Ok(())
}

/// Owns one shard for as long as it is assigned: claims it, and claims it anew after every failure.
async fn keep_shard(
    index: u32,
    settings: Settings,
    journal: Arc<dyn Journal>,
    context: Context,
    stop: CancellationToken,
) {
    let part = context.health.part(format!("router/shard-{index}"));
    let mut pause = CLAIM_PAUSE_MS_MIN;
    while let Ok(shard) = u16::try_from(index) {
        let owner = owner::Owner::new(ShardId(shard), &settings, journal.clone(), context.clock.clone(), part.clone());
        match owner.own(&stop).await {
            Ok(owner::Ended::Stopped) => break,
            Ok(owner::Ended::Superseded { epoch, newer }) => {
                warn!(
                    shard,
                    epoch, newer, "another router claimed the shard; stopping, and claiming it only if still assigned"
                );
                pause = CLAIM_PAUSE_MS_MAX;
            }
            Err(error) => warn!(shard, %error, pause_ms = pause, "the shard stopped; claiming it anew"),
        }
        part.not_ready("claiming the shard anew");
        let jitter = rand::rng().random_range(0..=pause / 2);
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(Duration::from_millis(pause + jitter)) => pause = (pause * 2).min(CLAIM_PAUSE_MS_MAX),
        }
    }
    part.remove();
}
