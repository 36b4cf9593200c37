//! Runs a worker: holds each task partition that the group assigns to this process.

use std::{sync::Arc, time::Duration};

use tracing::{info, warn};
use twqr_consumer::hold_assigned;
use twqr_journal::{Journal, JournalError};
use twqr_service::{Backoff, CancellationToken, Context, StallWatch};

use crate::{
    error::Error,
    partition::{Ended, Holder},
    settings::Settings,
};

/// The pause before a partition is claimed again, in ms.
const CLAIM_PAUSE_MS: u64 = 500;
/// The pause before a log that is not whole is compared again, in ms.
const NOT_WHOLE_PAUSE_MS: u64 = 5_000;
/// How long a holder keeps working after its partition was reassigned, if no other worker asks for
/// it, in ms.
const GRACE_MS: u64 = 3_000;

/// Runs until `context.shutdown` fires. Then it leaves the group, keeps working until other workers
/// ask for its partitions, and releases them.
pub async fn run(settings: Settings, journal: Arc<dyn Journal>, context: Context) -> Result<(), Error> {
    let hold =
        |index, unassigned| hold_partition(index, settings.clone(), journal.clone(), context.clone(), unassigned);
    hold_assigned(&*journal, settings.topic, &settings.member, &context, hold).await?;
    Ok(())
}

/// Holds one partition until `unassigned` fires; claims it again after every failure.
async fn hold_partition(
    index: u32,
    settings: Settings,
    journal: Arc<dyn Journal>,
    context: Context,
    unassigned: CancellationToken,
) {
    let part = context.health.part(format!("{}/{index}", settings.topic.name()));
    let grace = Duration::from_millis(if journal.is_shared() { GRACE_MS } else { 0 });
    let topic = settings.topic.name();
    let watch = StallWatch::default();
    let mut backoff = Backoff::new(CLAIM_PAUSE_MS, CLAIM_PAUSE_MS);
    while !unassigned.is_cancelled() {
        let claiming = Holder::claim(index, &settings, journal.clone(), &context, &unassigned);
        let Some(holder) = claiming.await.transpose() else { break };
        let ended = match holder {
            Ok(holder) => {
                part.ready();
                holder.work(&unassigned, grace, &part, &watch).await
            }
            Err(error) => Err(error),
        };
        if unassigned.is_cancelled() {
            break;
        }
        let mut pause = backoff.next_pause();
        match &ended {
            Err(Error::Journal(error @ JournalError::NotWhole { .. })) => {
                part.not_ready(error.to_string());
                pause = Duration::from_millis(NOT_WHOLE_PAUSE_MS);
            }
            Ok(_) | Err(_) => part.not_ready("claiming the partition again"),
        }
        match ended {
            Ok(Ended::Released) => info!(topic, index, "the partition was released to another worker"),
            Ok(Ended::Superseded) => warn!(topic, index, "another worker claimed the partition"),
            Err(error) => warn!(topic, index, %error, "the holder stopped; claiming the partition again"),
        }
        tokio::select! {
            () = unassigned.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
    part.remove();
}
