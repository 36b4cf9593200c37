//! The worker: follows the assignment hints, and holds each assigned task partition.

use std::{sync::Arc, time::Duration};

use tracing::{info, warn};
use twqr_consumer::hold_assigned;
use twqr_journal::{Journal, JournalError, Topic};
use twqr_service::{Backoff, CancellationToken, Context, StallWatch, Stalled};

use crate::{
    Backend,
    lane::Lanes,
    partition::{self, Holder},
};

/// What a worker needs to know.
#[derive(Clone)]
pub struct Settings {
    /// Its task topic.
    pub topic: Topic,
    /// This process among the workers of the topic: unique, and stable over restarts.
    pub member: String,
    /// The wallet, or FISC.
    pub backend: Arc<dyn Backend>,
    /// How long a call may take before its outcome is unknown, in ms: 10 to 60,000.
    pub call_timeout_ms: u64,
    /// Limits by issuer.
    pub lanes: Arc<Lanes>,
}

/// Why a worker, or one partition of it, had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The journal failed; the partition is claimed anew.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Tasks came and were not read; the partition is claimed anew.
    #[error(transparent)]
    Stalled(#[from] Stalled),
    /// The backend's address is none.
    #[error("backend address: {0}; use a form such as http://127.0.0.1:50061")]
    Address(String),
}

/// The pause before a partition is claimed anew, in ms.
const CLAIM_PAUSE_MS: u64 = 500;
/// How long a partition that is no longer ours is worked on until somebody asks for it, in ms.
const GRACE_MS: u64 = 3_000;

/// Runs until `context.shutdown` fires; then leaves the group, works on until others ask for its
/// partitions, and releases them.
pub async fn run(settings: Settings, journal: Arc<dyn Journal>, context: Context) -> Result<(), Error> {
    let hold = |index, unwanted| keep(index, settings.clone(), journal.clone(), context.clone(), unwanted);
    hold_assigned(&*journal, settings.topic, &settings.member, &context.shutdown, hold).await?;
    Ok(())
}

/// Holds one partition for as long as it is wanted; claims it anew after every failure.
async fn keep(
    index: u32,
    settings: Settings,
    journal: Arc<dyn Journal>,
    context: Context,
    unwanted: CancellationToken,
) {
    let part = context.health.part(format!("{}/{index}", settings.topic.name()));
    let grace = Duration::from_millis(if journal.is_shared() { GRACE_MS } else { 0 });
    let topic = settings.topic.name();
    let watch = StallWatch::default();
    let mut backoff = Backoff::new(CLAIM_PAUSE_MS, CLAIM_PAUSE_MS);
    while !unwanted.is_cancelled() {
        let claiming = Holder::claim(index, &settings, journal.clone(), context.clock.clone(), &unwanted);
        let Some(holder) = claiming.await.transpose() else { break };
        let ended = match holder {
            Ok(holder) => {
                part.ready();
                holder.work(&unwanted, grace, (&part, &watch)).await
            }
            Err(error) => Err(error),
        };
        if unwanted.is_cancelled() {
            break;
        }
        part.not_ready("claiming the partition anew");
        match ended {
            Ok(partition::Ended::Released) => info!(topic, index, "released to another worker"),
            Ok(partition::Ended::Superseded) => warn!(topic, index, "another worker claimed the partition"),
            Err(error) => warn!(topic, index, %error, "the partition stopped; claiming it anew"),
        }
        tokio::select! {
            () = unwanted.cancelled() => {}
            () = tokio::time::sleep(backoff.next_pause()) => {}
        }
    }
    part.remove();
}
