//! Follows `order-states` of shards that this process does not own into its local store, so that a
//! take-over reads only the newest states.
//!
//! A standby reads no record of `orders` and emits nothing. The position that it stores is that of
//! the highest marker, as in a restore (protocol rule P5): every effect before it is acknowledged.
//! So a take-over is an ordinary restore, which emits every effect after the marker again. A
//! position of its own would lose the effects that the earlier owner could not append.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tracing::{error, info};
use twqr_journal::{Journal, JournalError, Topic};
use twqr_service::{Backoff, Health, Part, Stalled};
use twqr_types::ShardId;

use crate::{
    Error, metrics,
    restore::{Scan, mark_to_scan_from, register_stored_issuers, states_of},
    store::{ShardStore, StateStore},
};

/// How many states are read at once: decoding them must not delay payments on the same thread.
const BATCH_RECORDS_MAX: usize = 256;
/// The pause after a full batch, and after one that reached the end, in ms.
const PAUSE_MS: u64 = 20;
const PAUSE_AT_END_MS: u64 = 200;
/// A pause is at least so many times as long as the work before it.
const PAUSE_SHARE: u32 = 4;
/// How long a shard must be without an owner here before it is followed, in ms.
const SETTLED_MS: u64 = 2_000;
/// How long a reader may be silent before it is opened again.
const SILENCE_MAX: Duration = Duration::from_mins(1);
/// The first pause after a failure, in ms; it doubles up to the maximum.
const RETRY_MS_MIN: u64 = 500;
const RETRY_MS_MAX: u64 = 60_000;

/// The shards that this process owns or claims, each with the number of its owners.
#[derive(Debug, Default)]
pub(crate) struct OwnedShards(watch::Sender<BTreeMap<u16, u32>>);

/// Keeps a shard from being followed until it is dropped.
pub(crate) struct OwnedHere {
    shard: ShardId,
    shards: Arc<OwnedShards>,
}

impl OwnedShards {
    /// Notes that an owner of the shard runs in this process.
    pub(crate) fn add(self: &Arc<Self>, shard: ShardId) -> OwnedHere {
        self.0.send_modify(|owners| *owners.entry(shard.0).or_default() += 1);
        OwnedHere { shard, shards: self.clone() }
    }

    async fn wait(&self, shard: ShardId, is_owned: bool) {
        let mut owners = self.0.subscribe();
        // The sender lives as long as `self`.
        let _never_closed = owners.wait_for(|owners| owners.contains_key(&shard.0) == is_owned).await.map(drop);
    }
}

impl Drop for OwnedHere {
    fn drop(&mut self) {
        self.shards.0.send_modify(|owners| {
            if let Some(count) = owners.get_mut(&self.shard.0) {
                *count -= 1;
            }
            owners.retain(|_, count| *count > 0);
        });
    }
}

/// Follows every shard while this process does not own it. Never returns. A local store that fails
/// makes the process dead, as under an owner: another process is the better standby.
pub(crate) async fn follow_others(
    journal: Arc<dyn Journal>,
    store: Arc<dyn StateStore>,
    owned: Arc<OwnedShards>,
    health: Health,
) -> Infallible {
    let mut tasks = JoinSet::new();
    for shard in (0..journal.partitions(Topic::OrderStates)).filter_map(|index| u16::try_from(index).ok()) {
        let store = ShardStore::new(shard, store.clone());
        let (journal, health) = (journal.clone(), health.clone());
        let standby = Standby { shard: ShardId(shard), journal, store, health };
        tasks.spawn(standby.run(owned.clone()));
    }
    while let Some(Err(panic)) = tasks.join_next().await {
        error!(%panic, "a standby has ended; a take-over of its shard would read more states");
    }
    std::future::pending().await
}

/// The standby of one shard.
struct Standby {
    shard: ShardId,
    journal: Arc<dyn Journal>,
    store: ShardStore,
    health: Health,
}

impl Standby {
    async fn run(self, owned: Arc<OwnedShards>) -> Infallible {
        let mut backoff = Backoff::new(RETRY_MS_MIN, RETRY_MS_MAX);
        loop {
            owned.wait(self.shard, false).await;
            tokio::select! {
                biased;
                // The owner reports about the shard now.
                () = owned.wait(self.shard, true) => self.part().remove(),
                never = self.follow_and_retry(&mut backoff) => match never {},
            }
        }
    }

    fn part(&self) -> Part {
        self.health.side_part(format!("router/standby-{}", self.shard.0))
    }

    async fn follow_and_retry(&self, backoff: &mut Backoff) -> Infallible {
        sleep(Duration::from_millis(SETTLED_MS)).await;
        loop {
            let began = Instant::now();
            let Err(error) = self.follow().await;
            self.report(&error);
            if began.elapsed() > Duration::from_millis(RETRY_MS_MAX) {
                backoff.reset();
            }
            let pause = backoff.next_pause();
            info!(shard = self.shard.0, %error, ?pause, "the standby was interrupted; trying again");
            sleep(pause).await;
        }
    }

    fn report(&self, error: &Error) {
        if let Error::Store(failure) = error {
            self.part().dead(&failure.to_string());
        }
        if let Error::Journal(JournalError::NotWhole { .. }) = error {
            error!(shard = self.shard.0, %error, "the standby cannot follow the shard");
            self.part().degraded(error.to_string());
        }
    }

    async fn follow(&self) -> Result<Infallible, Error> {
        let partition = states_of(self.shard);
        let mut scan = Scan::begin(self.shard, mark_to_scan_from(&self.store).await?);
        // A take-over may be followed at once by the first outcome of an issuer.
        register_stored_issuers(&self.store).await;
        let mut reader = scan.check.open(&*self.journal, scan.next).await?;
        self.part().ready();
        loop {
            let Ok(records) = timeout(SILENCE_MAX, reader.next(BATCH_RECORDS_MAX)).await else {
                if self.journal.end(partition).await? > scan.next {
                    return Err(Stalled { next: scan.next }.into());
                }
                continue;
            };
            let (began, records) = (Instant::now(), records?);
            let pause_ms = if records.len() < BATCH_RECORDS_MAX { PAUSE_AT_END_MS } else { PAUSE_MS };
            metrics::states_read("standby", records.len());
            for record in records {
                scan.take(record)?;
            }
            let (states, mark) = scan.batch();
            // Only an owner deletes what is superseded.
            self.store.put(states, mark).await?;
            sleep(Duration::from_millis(pause_ms).max(began.elapsed() * PAUSE_SHARE)).await;
        }
    }
}
