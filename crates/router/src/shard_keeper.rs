//! Keeps one shard owned for as long as it is assigned to this process: an owner that ends is
//! replaced by a new one, which claims the shard again.

use std::{convert::Infallible, time::Duration};

use tokio::time::Instant;
use tracing::{error, info, warn};
use twqr_consumer::order_record_mark;
use twqr_journal::{JournalError, Partition, Topic, read_whole};
use twqr_service::{Backoff, CancellationToken, Part, StallWatch};
use twqr_types::ShardId;

use crate::{
    Error, Links, Settings,
    owner::{Ended, Owner},
    restore::restore,
    store::ShardStore,
};

/// The first pause before a shard is claimed again, in ms; it doubles up to the maximum.
const CLAIM_PAUSE_MS_MIN: u64 = 50;
const CLAIM_PAUSE_MS_MAX: u64 = 5_000;
/// The shortest pause after another router's claim while the shard is still assigned to this one,
/// in ms: until the group has settled, the shard may be assigned to both.
const SUPERSEDED_PAUSE_MS: u64 = 400;

/// How long a router owns a reassigned shard if no other router claims it, in ms. Two owners at
/// once are harmless: their effects have the same identities (protocol rule P3).
const GRACE_MS: u64 = 3_000;

/// Owns the shard with this index until the grace period after `unassigned` is over, or another
/// router has claimed it.
pub(crate) async fn keep(index: u32, settings: Settings, links: Links, unassigned: CancellationToken) {
    let Ok(shard) = u16::try_from(index).map(ShardId) else {
        error!(index, "a shard's number is at most 65535; this one is not owned");
        return;
    };
    let stop = CancellationToken::new();
    let grace = Duration::from_millis(if links.journal.is_shared() { GRACE_MS } else { 0 });
    let keeper = ShardKeeper {
        shard,
        settings,
        part: links.context.health.part(format!("router/shard-{index}")),
        links,
        watch: StallWatch::default(),
        backoff: Backoff::new(CLAIM_PAUSE_MS_MIN, CLAIM_PAUSE_MS_MAX),
        stop: stop.clone(),
        unassigned: unassigned.clone(),
        is_refused: false,
    };
    let part = keeper.part.clone();
    tokio::select! {
        () = keeper.keep_owned() => part.remove(),
        never = cancel_after_grace(&unassigned, grace, &stop) => match never {},
    }
}

/// Fires `stop` once the grace period after `unassigned` is over. Never returns.
async fn cancel_after_grace(unassigned: &CancellationToken, grace: Duration, stop: &CancellationToken) -> Infallible {
    unassigned.cancelled().await;
    tokio::time::sleep(grace).await;
    stop.cancel();
    std::future::pending().await
}

struct ShardKeeper {
    shard: ShardId,
    settings: Settings,
    links: Links,
    part: Part,
    watch: StallWatch,
    backoff: Backoff,
    stop: CancellationToken,
    unassigned: CancellationToken,
    /// Whether the shard's log was refused.
    is_refused: bool,
}

impl ShardKeeper {
    async fn keep_owned(mut self) {
        loop {
            let began = Instant::now();
            let (part, watch) = (self.part.clone(), self.watch.clone());
            let owner = Owner::new(self.shard, &self.settings, self.links.clone(), part, watch);
            let owned_here = self.links.owned.add(self.shard);
            let ended = match self.check_refused_log().await {
                Ok(()) => owner.own(&self.stop).await,
                Err(error) => Err(error),
            };
            self.is_refused = false;
            drop(owned_here);
            if self.is_last(ended) || self.unassigned.is_cancelled() {
                return;
            }
            if !self.is_refused {
                self.part.not_ready("claiming the shard again");
            }
            if began.elapsed() > Duration::from_millis(CLAIM_PAUSE_MS_MAX) {
                self.backoff.reset();
            }
            tokio::select! {
                () = self.unassigned.cancelled() => return,
                () = tokio::time::sleep(self.backoff.next_pause()) => {}
            }
        }
    }

    /// After a refusal, compares the log again before another claim is written to it.
    async fn check_refused_log(&self) -> Result<(), Error> {
        if !self.is_refused {
            return Ok(());
        }
        let orders = Partition { topic: Topic::Orders, index: u32::from(self.shard.0) };
        let journal = &*self.links.journal;
        let (shard, _) =
            restore(self.shard, journal, ShardStore::new(self.shard.0, self.settings.store.clone())).await?;
        read_whole(journal, orders, shard.next, shard.witness, order_record_mark).await?;
        Ok(())
    }

    /// Logs how an owner ended; returns whether this process must not claim the shard again.
    fn is_last(&mut self, ended: Result<Ended, Error>) -> bool {
        let shard = self.shard.0;
        match ended {
            Ok(Ended::Stopped) => return true,
            Ok(Ended::Superseded { epoch, newer }) if self.unassigned.is_cancelled() => {
                info!(shard, epoch, newer, "another router took the shard over");
            }
            Ok(Ended::Superseded { epoch, newer }) => {
                warn!(shard, epoch, newer, "another router claimed the shard; claiming it again if still assigned");
                self.backoff.raise_to(SUPERSEDED_PAUSE_MS);
            }
            Ok(Ended::Overtaken { applied }) => {
                warn!(
                    shard,
                    applied,
                    "another router claimed the shard while it was restored here; claiming it again if still assigned"
                );
                self.backoff.raise_to(SUPERSEDED_PAUSE_MS);
            }
            Err(Error::Store(error)) => {
                // The shards must go to a router whose disk works.
                error!(shard, %error, "the local store cannot be used; this process ends");
                self.part.dead(&error.to_string());
                return true;
            }
            Err(Error::Journal(error @ JournalError::NotWhole { .. })) => {
                error!(shard, %error, "the shard is not owned");
                self.part.not_ready(error.to_string());
                self.backoff.raise_to(CLAIM_PAUSE_MS_MAX);
                self.is_refused = true;
            }
            Err(error) => warn!(shard, %error, "the owner stopped; claiming the shard again"),
        }
        false
    }
}
