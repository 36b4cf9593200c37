//! Admission control: decides whether a call may append a record now, or is refused before anything
//! is appended. gRPC calls, streams and the HTTP form all use [`Admission::admit`].
//!
//! Each shard has a limit on its undecided calls, which follows the delay from an append until the
//! router has decided the record. This delay does not contain the time of issuers, so a slow issuer
//! neither lowers a limit nor counts towards it. Each shard has its own limit, so that a stalled
//! shard causes no refusals at other shards.

mod delay_limit;
mod lane;
mod measurer;

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::mpsc, time::Instant};
use tracing::debug;
use twqr_types::{MerchantId, ShardCount, ShardId};

use crate::metrics;

pub use delay_limit::AdmissionSettings;
pub(crate) use lane::{Priority, ShedReason};
pub(crate) use measurer::Measurer;

use lane::Lane;

/// The undecided calls of this ingress, by shard.
pub(crate) struct Admission {
    lanes: Vec<Mutex<Lane>>,
    callers: RandomState,
    /// To the measurer: shards whose delay must be measured. Each is there at most once.
    to_measure: mpsc::Sender<ShardId>,
}

/// An admitted call. Dropping it does not make its place free: its record is in the log until a
/// reply shows that it was decided.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    shard: ShardId,
    number: u64,
}

impl Admission {
    /// The lanes of all shards, and the shards that a [`Measurer`] must measure.
    pub(crate) fn new(settings: AdmissionSettings, shards: ShardCount) -> (Arc<Self>, mpsc::Receiver<ShardId>) {
        let count = usize::from(shards.0.get());
        let lanes: Vec<_> = (0..count).map(|_| Mutex::new(Lane::new(settings))).collect();
        let (to_measure, shards) = mpsc::channel(count);
        let admission = Self { lanes, callers: RandomState::new(), to_measure };
        metrics::change_admission_limit(admission.limits() as f64);
        (Arc::new(admission), shards)
    }

    /// Admits a call whose record goes to this shard, or says why not. Callers are distinguished by
    /// MerchantID.
    pub(crate) fn admit(
        &self,
        shard: ShardId,
        merchant: &MerchantId,
        priority: Priority,
    ) -> Result<Ticket, ShedReason> {
        let caller = self.callers.hash_one(merchant.as_str());
        let now = Instant::now();
        let (number, needs_measurer) = {
            let mut lane = self.lane(shard);
            (lane.admit(caller, priority, now)?, lane.needs_measurer(now))
        };
        metrics::change_undecided(1);
        // There is a place for each shard.
        if needs_measurer && self.to_measure.try_send(shard).is_err() {
            debug!(shard = shard.0, "the shard is no longer measured: the ingress shuts down");
        }
        Ok(Ticket { shard, number })
    }

    /// Frees the place of a call: a reply shows that it was decided, or it was never appended. The
    /// second time does nothing.
    pub(crate) fn decide(&self, ticket: Ticket) {
        self.change(ticket.shard, |lane| lane.decide(ticket.number));
    }

    /// Changes a lane, and reports what that changed.
    fn change<T>(&self, shard: ShardId, change: impl FnOnce(&mut Lane) -> T) -> T {
        let mut lane = self.lane(shard);
        let (limit, undecided) = (lane.limit() as f64, lane.undecided());
        let result = change(&mut lane);
        let freed = undecided.saturating_sub(lane.undecided());
        let grown = lane.limit() as f64 - limit;
        drop(lane);
        if freed > 0 {
            metrics::change_undecided(-i32::try_from(freed).unwrap_or(i32::MAX));
        }
        if grown != 0.0 {
            metrics::change_admission_limit(grown);
        }
        result
    }

    fn limits(&self) -> usize {
        (0..self.lanes.len()).map(|shard| self.lane(ShardId(shard as u16)).limit()).sum()
    }

    /// The lane of a shard. A key's shard is below the number of shards.
    fn lane(&self, shard: ShardId) -> MutexGuard<'_, Lane> {
        self.lanes[usize::from(shard.0)].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
