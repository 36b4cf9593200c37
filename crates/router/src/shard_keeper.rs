//! Owns one shard by one claim, and reports how that ended.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use tracing::{error, info, warn};
use twqr_consumer::{Held, HoldEnd, order_record_mark};
use twqr_journal::{JournalError, Partition, Topic, check_end, read_whole};
use twqr_types::ShardId;

use crate::{
    Error, Links, Settings,
    owner::{Ended, Owner},
    restore::restore,
    store::ShardStore,
};

/// Owns the shard whose claim is in the log, until another router takes it over, this one is asked
/// to stop, or something fails.
pub(crate) async fn keep(held: Held, settings: Settings, links: Links) -> HoldEnd {
    let (index, part) = (held.partition.index, held.part.clone());
    let Ok(shard) = u16::try_from(index).map(ShardId) else {
        error!(index, "the number of a shard is at most 65535; this router does not own this shard");
        return HoldEnd::Final;
    };
    let refused = links.refused.clone();
    let _owned_here = links.owned.add(shard);
    let ended = Owner::new(shard, &settings, links, &held).own(held).await;
    let shard = shard.0;
    match ended {
        Ok(Ended::Stopped) => info!(shard, "the shard was released"),
        Ok(Ended::Superseded { epoch, newer }) => info!(shard, epoch, newer, "another router took the shard over"),
        Ok(Ended::Void { newest }) => {
            info!(shard, newest, "our claim does not count; watching the shard again");
            return HoldEnd::Void { newest };
        }
        Ok(Ended::Overtaken { applied }) => {
            warn!(shard, applied, "another router claimed the shard while it was restored here");
        }
        Err(Error::Store(error)) => {
            // The shards must go to a router whose disk works.
            error!(shard, %error, "the local store cannot be used; this process ends");
            part.dead(&error.to_string());
            return HoldEnd::Final;
        }
        Err(Error::Journal(error @ JournalError::NotWhole { .. })) => {
            error!(shard, %error, "the shard is not owned");
            part.not_ready(error.to_string());
            refused.set(shard, true);
            return HoldEnd::Failed;
        }
        Err(error) => {
            warn!(shard, %error, "the owner stopped; claiming the shard again");
            return HoldEnd::Failed;
        }
    }
    HoldEnd::Lost
}

/// The shards whose log was refused because it is not whole.
#[derive(Debug, Default)]
pub(crate) struct RefusedLogs(Mutex<BTreeSet<u16>>);

impl RefusedLogs {
    fn set(&self, shard: u16, is_refused: bool) {
        let mut shards = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if is_refused {
            shards.insert(shard)
        } else {
            shards.remove(&shard)
        };
    }

    fn has(&self, shard: u16) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&shard)
    }
}

/// Compares the shard's log with what is stored, before this router may claim the shard: a claim in
/// another log would be the first step of making it ours. After a refusal it compares everything.
pub(crate) async fn check_log(index: u32, settings: Settings, links: Links) -> Result<(), Error> {
    let shard = ShardId(u16::try_from(index).unwrap_or(u16::MAX));
    let orders = Partition { topic: Topic::Orders, index };
    let (journal, store) = (&*links.journal, ShardStore::new(shard.0, settings.store.clone()));
    check_end(journal, orders, store.mark().await?.position).await?;
    if links.refused.has(shard.0) {
        let (restored, _) = restore(shard, journal, store, None).await?;
        read_whole(journal, orders, restored.next, restored.witness, order_record_mark).await?;
        links.refused.set(shard.0, false);
    }
    Ok(())
}
