//! What other rules would make of the payments in the log. Read from the end of each shard
//! backwards, window by window, until enough are there; the codes in the records are compared and
//! dropped, and never leave.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::Semaphore;
use tonic::Status;
use twqr_journal::{Journal, JournalError, Partition, Topic};
use twqr_order::{Policy, Replay, Replayed};
use twqr_types::ShardId;
use twqr_wire::{
    convert::decode_record,
    ops::{ReplayPolicyRequest, ReplayPolicyResponse, RoutingChange, RoutingCount},
};

use super::{
    invalid,
    policy::{checked, deciding},
};
use crate::policies::Policies;

/// How many payments are replayed where nothing is said, and at the most.
const ORDERS_DEFAULT: u64 = 100_000;
const ORDERS_MAX: u64 = 1_000_000;
/// How many changes are shown.
const CHANGES_MAX: usize = 100;
/// How many records a window has.
const WINDOW_MIN: u64 = 256;
const WINDOW_MAX: u64 = 16_384;
/// A payment makes some four records: itself, an outcome, questions, claims.
const RECORDS_A_PAYMENT: u64 = 4;
/// How many records are taken at once.
const BATCH_RECORDS_MAX: usize = 256;
/// How long records that are there may take to come.
const READ_WAIT: Duration = Duration::from_secs(20);

/// Replays, one at a time: each reads from the disk that payments are written to.
pub(super) struct Replays {
    policies: Arc<Policies>,
    journal: Arc<dyn Journal>,
    place: Semaphore,
}

impl Replays {
    pub(super) fn new(policies: Arc<Policies>, journal: Arc<dyn Journal>) -> Self {
        Self { policies, journal, place: Semaphore::new(1) }
    }

    /// Compares the newest payments of each shard.
    pub(super) async fn replay(&self, request: ReplayPolicyRequest) -> Result<ReplayPolicyResponse, Status> {
        if request.orders_max > ORDERS_MAX {
            return Err(invalid("orders_max", "must be 0 (which means 100000) to 1000000"));
        }
        let orders_max = if request.orders_max == 0 { ORDERS_DEFAULT } else { request.orders_max };
        let policy = checked(request.policy, Vec::new())?;
        deciding(&self.policies)?;
        let busy = |_| Status::resource_exhausted("another replay is under way; try again when it is done");
        let _place = self.place.try_acquire().map_err(busy)?;
        let shards = u64::from(self.journal.partitions(Topic::Orders)).max(1);
        let mut payments = Vec::new();
        for shard in 0..shards {
            let left = orders_max.saturating_sub(payments.len() as u64);
            // What one shard does not have, the others may.
            let quota = left.div_ceil(shards - shard);
            payments.extend(self.replay_shard(shard as u16, quota, &policy).await?);
        }
        Ok(response(payments))
    }

    async fn replay_shard(&self, shard: u16, quota: u64, policy: &Policy) -> Result<Vec<Replayed>, Status> {
        let unavailable = |error: JournalError| Status::unavailable(format!("the log cannot be read: {error}"));
        let partition = Partition { topic: Topic::Orders, index: u32::from(shard) };
        let versions = self.policies.of(partition.index).map_or_else(Default::default, |versions| (*versions).clone());
        let mut replay = Replay::new(ShardId(shard), versions, policy);
        let size = (quota * RECORDS_A_PAYMENT).clamp(WINDOW_MIN, WINDOW_MAX);
        let mut to = self.journal.end(partition).await.map_err(unavailable)?;
        while (replay.payments() as u64) < quota {
            let start = self.journal.start(partition).await.map_err(unavailable)?;
            let from = to.saturating_sub(size).max(start);
            if from >= to {
                break;
            }
            self.read(partition, (from, to), &mut replay).await.map_err(unavailable)?;
            to = from;
        }
        Ok(replay.finish(quota as usize))
    }

    /// Reads the records of a window. Those that cannot be decoded were dead letters, and decided
    /// nothing.
    async fn read(
        &self,
        partition: Partition,
        (from, to): (u64, u64),
        replay: &mut Replay<'_>,
    ) -> Result<(), JournalError> {
        let mut reader = self.journal.reader(partition, from).await?;
        let mut next = from;
        while next < to {
            let read = tokio::time::timeout(READ_WAIT, reader.next(BATCH_RECORDS_MAX)).await;
            let stalled = |_| JournalError::Read { partition, reason: format!("nothing comes from {next} on").into() };
            for record in read.map_err(stalled)?? {
                next = record.offset + 1;
                let value = record.entry.value.filter(|_| record.offset < to);
                if let Some(Ok(decoded)) = value.map(decode_record) {
                    replay.take(record.offset, decoded);
                }
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

/// Counts what goes elsewhere, and shows the newest.
fn response(mut payments: Vec<Replayed>) -> ReplayPolicyResponse {
    payments.sort_by_key(|payment| Reverse(payment.at));
    let (mut replayed, mut not_comparable) = (0, 0);
    let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut changes = Vec::new();
    for Replayed { key, before, after, .. } in payments {
        let Some(before) = before else {
            not_comparable += 1;
            continue;
        };
        replayed += 1;
        if before == after {
            continue;
        }
        let (before, after) = (before.to_string(), after.to_string());
        *counts.entry((before.clone(), after.clone())).or_default() += 1;
        if changes.len() < CHANGES_MAX {
            changes.push(RoutingChange {
                merchant_id: key.merchant_id.as_str().to_owned(),
                merchant_trade_no: key.merchant_trade_no.as_str().to_owned(),
                before,
                after,
            });
        }
    }
    let count = |((before, after), payments)| RoutingCount { before, after, payments };
    let mut counts: Vec<RoutingCount> = counts.into_iter().map(count).collect();
    counts.sort_by_key(|count| Reverse(count.payments));
    ReplayPolicyResponse { replayed, not_comparable, counts, changes }
}
