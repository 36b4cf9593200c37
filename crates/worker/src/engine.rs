//! Runs a worker: holds task partitions of its topic.

use std::{convert::Infallible, sync::Arc, time::Duration};

use tracing::{error, info, warn};
use twqr_card_keys::Hour;
use twqr_consumer::{Held, HoldEnd, TopicMember, hold_partitions};
use twqr_journal::{Journal, Partition};
use twqr_service::Context;

use crate::{
    error::Error,
    metrics,
    partition::{Ended, Holder},
    sealed_tokens,
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
        let (settings, journal, context) = (settings.clone(), journal.clone(), context.clone());
        move |held| hold_partition(held, settings.clone(), journal.clone(), context.clone())
    };
    let check = {
        let (journal, keys, clock) = (journal.clone(), settings.card_keys.clone(), context.clock.clone());
        move |index| {
            let (journal, keys, now) = (journal.clone(), keys.clone(), clock.now());
            async move {
                let partition = Partition { topic, index };
                if keys.present().lacks_sealing(Hour::of(now)).is_some() {
                    sealed_tokens::note_need(&*journal, partition, &keys).await?;
                }
                Holder::check_log(journal, partition).await
            }
        }
    };
    let yields = {
        let (keys, clock) = (settings.card_keys.clone(), context.clock.clone());
        Arc::new(move || keys.cannot_open(clock.now()))
    };
    let member = TopicMember { yields, ..TopicMember::new(journal, topic, member) };
    tokio::select! {
        ended = hold_partitions(member, &context, part, check, hold) => Ok(ended?),
        never = wake_with_keys(&settings) => match never {},
    }
}

/// Lets the transfers that wait look whether their card keys have arrived, whenever there are new
/// keys.
async fn wake_with_keys(settings: &Settings) -> Infallible {
    let (mut replaced, waiting) = (settings.card_keys.replaced(), settings.lanes.freed());
    while replaced.changed().await.is_ok() {
        waiting.notify_waiters();
    }
    std::future::pending().await
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
        Err(error @ Error::NewerProtocol(_)) => {
            error!(%partition, claim, %error, "this worker does not claim the partition; other workers may");
            part.not_ready(error.to_string());
            return HoldEnd::Final;
        }
        Err(error) => {
            warn!(%partition, claim, %error, "the holder stopped; claiming the partition again");
            return HoldEnd::Failed;
        }
    }
    HoldEnd::Lost
}
