//! The worker: follows the assignment hints, and holds each assigned task partition.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rand::Rng;
use tokio::task::JoinHandle;
use tracing::warn;
use twqr_journal::{Journal, JournalError, Topic};
use twqr_service::{CancellationToken, Context};

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
    /// The backend's address is none.
    #[error("backend address: {0}; use a form such as http://127.0.0.1:50061")]
    Address(String),
}

/// The pause before a partition is claimed anew, in ms.
const CLAIM_PAUSE_MS: u64 = 500;

/// Runs until `context.shutdown` fires; then finishes the calls in flight and releases its partitions.
pub async fn run(settings: Settings, journal: Arc<dyn Journal>, context: Context) -> Result<(), Error> {
    let mut assignments = journal.assignments(settings.topic, &settings.member).await?;
    let mut held: BTreeMap<u32, (CancellationToken, JoinHandle<()>)> = BTreeMap::new();
    loop {
        let wanted = tokio::select! {
            () = context.shutdown.cancelled() => break,
            changed = assignments.changed() => changed?,
        };
        for (_, (stop, _)) in held.extract_if(.., |index, _| !wanted.contains(index)) {
            stop.cancel();
        }
        for index in wanted {
            held.entry(index).or_insert_with(|| {
                let stop = context.shutdown.child_token();
                let keep = keep(index, settings.clone(), journal.clone(), context.clone(), stop.clone());
                (stop, tokio::spawn(keep))
            });
        }
    }
    for (_, (stop, task)) in held {
        stop.cancel();
        drop(task.await);
    }
    Ok(())
}

/// Holds one partition for as long as it is assigned; claims it anew after every failure.
async fn keep(index: u32, settings: Settings, journal: Arc<dyn Journal>, context: Context, stop: CancellationToken) {
    let part = context.health.part(format!("{}/{index}", settings.topic.name()));
    while !stop.is_cancelled() {
        let holder = Holder::claim(index, &settings, journal.clone(), context.clock.clone()).await;
        let ended = match holder {
            Ok(holder) => {
                part.ready();
                holder.work(&stop).await
            }
            Err(error) => Err(error),
        };
        part.not_ready("claiming the partition anew");
        match ended {
            Ok(partition::Ended::Released) => break,
            Ok(partition::Ended::Superseded) => {
                warn!(topic = settings.topic.name(), index, "another worker claimed the partition");
            }
            Err(error) => {
                warn!(topic = settings.topic.name(), index, %error, "the partition stopped; claiming it anew");
            }
        }
        let pause = CLAIM_PAUSE_MS + rand::rng().random_range(0..CLAIM_PAUSE_MS);
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(Duration::from_millis(pause)) => {}
        }
    }
    part.remove();
}
