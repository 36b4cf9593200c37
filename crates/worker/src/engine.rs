//! Runs a worker: holds task partitions of its topic.

use std::{sync::Arc, time::Duration};

use tracing::{info, warn};
use twqr_consumer::{Held, HoldEnd, TopicMember, hold_partitions};
use twqr_journal::{Journal, Partition};
use twqr_service::Context;

use crate::{
    error::Error,
    metrics,
    partition::{Ended, Holder},
    settings::Settings,
};

/// How long a holder that was asked to stop keeps working, if no other worker asks for the
/// partition, in ms.
const GRACE_MS: u64 = 3_000;

/// Runs until `context.shutdown` fires. Then it leaves the group, keeps working until other workers
/// ask for its partitions, and releases them. Fails if another living worker of the topic has the
/// same member name.
pub async fn run(settings: Settings, journal: Arc<dyn Journal>, context: Context) -> Result<(), Error> {
    metrics::register();
    let (topic, member) = (settings.topic, settings.member.clone());
    let part = move |index| format!("{}/{index}", topic.name());
    let hold = {
        let (journal, context) = (journal.clone(), context.clone());
        move |held| hold_partition(held, settings.clone(), journal.clone(), context.clone())
    };
    let check = {
        let journal = journal.clone();
        move |index| Holder::check_log(journal.clone(), Partition { topic, index })
    };
    hold_partitions(TopicMember { journal, topic, member }, &context, part, check, hold).await?;
    Ok(())
}

/// Holds one partition by one claim.
async fn hold_partition(held: Held, settings: Settings, journal: Arc<dyn Journal>, context: Context) -> HoldEnd {
    let grace = Duration::from_millis(if journal.is_shared() { GRACE_MS } else { 0 });
    let (partition, claim, part) = (held.partition, held.claim, held.part.clone());
    let ended = match Holder::begin(held, &settings, journal, &context).await {
        Ok(Some(holder)) => {
            part.ready();
            holder.work(grace).await
        }
        Ok(None) => return HoldEnd::Void { newest: None },
        Err(error) => Err(error),
    };
    match ended {
        Ok(Ended::Released) => info!(%partition, claim, "the partition was released to another worker"),
        Ok(Ended::Superseded) => warn!(%partition, claim, "another worker claimed the partition"),
        Err(error) => {
            warn!(%partition, claim, %error, "the holder stopped; claiming the partition again");
            return HoldEnd::Failed;
        }
    }
    HoldEnd::Lost
}
