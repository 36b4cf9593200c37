//! Maintains the embedded journal while it runs: trims records that are no longer needed, and
//! reports the process as dead once the journal cannot write, since only a restart helps then.

use std::{convert::Infallible, sync::Arc, time::Duration};

use tokio::time::Instant;
use tracing::warn;
use twqr_journal::{JournalError, Topic, embedded::EmbeddedJournal};
use twqr_service::{Clock as _, Health, SystemClock};

use crate::retention;

/// How often the journal is trimmed.
const TRIM_EVERY: Duration = Duration::from_mins(10);
/// How often trimmed records are removed from the disk at most. It rewrites what is kept.
const COMPACT_EVERY: Duration = Duration::from_hours(24);

/// Runs until it is dropped; `orders_kept_ms` is how long records of `orders` are kept.
pub(super) async fn take_care(journal: Arc<EmbeddedJournal>, health: Health, orders_kept_ms: i64) -> Infallible {
    tokio::select! {
        why = journal.failed() => {
            health.part("journal").dead(&why);
            std::future::pending().await
        }
        never = trim_for_ever(&journal, orders_kept_ms) => never,
    }
}

async fn trim_for_ever(journal: &EmbeddedJournal, orders_kept_ms: i64) -> Infallible {
    let (mut to_compact, mut compact_at) = (Vec::new(), Instant::now());
    loop {
        tokio::time::sleep(TRIM_EVERY).await;
        match retention::trim(journal, SystemClock.now(), orders_kept_ms).await {
            Ok(trimmed) => to_compact.extend(trimmed),
            Err(error) => warn!(%error, "the journal was not trimmed; trying again later"),
        }
        if !to_compact.is_empty() && Instant::now() >= compact_at {
            compact_at = Instant::now() + COMPACT_EVERY;
            if let Err(error) = compact(journal, std::mem::take(&mut to_compact)).await {
                warn!(%error, "trimmed records were not removed from the disk; trying again later");
            }
        }
    }
}

async fn compact(journal: &EmbeddedJournal, mut topics: Vec<Topic>) -> Result<(), JournalError> {
    topics.sort_unstable();
    topics.dedup();
    for topic in topics {
        journal.compact(topic).await?;
    }
    Ok(())
}
