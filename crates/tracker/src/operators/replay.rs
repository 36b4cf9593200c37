//! `ReplayPolicy` reports which payments in the log another policy would route differently. Each
//! shard is read backwards from its end, window by window, until enough payments are found. The
//! policy of the request is compared with no more of a payment code than a record shows from
//! protocol version 3 on, whatever version the policy and the record have. Records are decided on a
//! thread for blocking work, since a large policy takes long.

use std::{cmp::Reverse, collections::BTreeMap, ops::Range, sync::Arc, time::Duration};

use tokio::sync::Semaphore;
use tonic::Status;
use tracing::error;
use twqr_consumer::order_record_mark;
use twqr_journal::{Journal, JournalError, Partition, Topic, read_whole};
use twqr_order::{Directory, Policy, PolicyFault, Replay, ReplayedPayment};
use twqr_types::ShardId;
use twqr_wire::{
    convert::{decode_record, policy_checked},
    ops::{OperatorRefusalReason, ReplayPolicyRequest, ReplayPolicyResponse, RoutingChange, RoutingCount},
};

use super::{
    no_journal,
    policy::{checked, deciding},
    refusal::{invalid, refuse},
};
use crate::{directory::TrackedDirectory, policies::Policies};

/// How many payments are replayed by default, and at most.
const ORDERS_DEFAULT: u64 = 100_000;
const ORDERS_MAX: u64 = 1_000_000;
/// How many changes are listed in the answer.
const CHANGES_MAX: usize = 100;
/// The size of a window, in records.
const WINDOW_MIN: u64 = 256;
const WINDOW_MAX: u64 = 16_384;
/// About how many records there are for each payment: the payment, its outcome, inquiries, claims.
const RECORDS_PER_PAYMENT: u64 = 4;
/// How many records are read at once.
const BATCH_RECORDS_MAX: usize = 256;
/// How long reading records that exist may take.
const READ_WAIT: Duration = Duration::from_secs(20);

/// Runs one replay at a time, because a replay reads from the disk to which payments are written.
pub(super) struct Replays {
    policies: Arc<Policies>,
    directory: Arc<TrackedDirectory>,
    journal: Arc<dyn Journal>,
    permit: Semaphore,
}

impl Replays {
    pub(super) fn new(policies: Arc<Policies>, directory: Arc<TrackedDirectory>, journal: Arc<dyn Journal>) -> Self {
        Self { policies, directory, journal, permit: Semaphore::new(1) }
    }

    /// Replays the newest payments of each shard.
    pub(super) async fn replay(&self, request: ReplayPolicyRequest) -> Result<ReplayPolicyResponse, Status> {
        if request.orders_max > ORDERS_MAX {
            return Err(invalid("orders_max", "must be 0 (which means 100000) to 1000000"));
        }
        let orders_max = if request.orders_max == 0 { ORDERS_DEFAULT } else { request.orders_max };
        let policy = request.policy.map(|policy| policy_checked(policy).and_then(within_shown));
        let policy = Arc::new(checked(policy, Vec::new())?);
        deciding(&self.policies)?;
        let busy = "another replay is running; try again when it has finished";
        let busy = |_| refuse(OperatorRefusalReason::ReplayRunning, busy);
        let _permit = self.permit.try_acquire().map_err(busy)?;
        let shards = u64::from(self.journal.partitions(Topic::Orders)).max(1);
        let directory = Arc::new(self.directory.now());
        let mut payments = Vec::new();
        for shard in 0..shards {
            let left = orders_max.saturating_sub(payments.len() as u64);
            // If a shard has fewer payments than its share, the shards after it get the rest.
            let quota = left.div_ceil(shards - shard);
            payments.extend(self.replay_shard(shard as u16, quota, policy.clone(), directory.clone()).await?);
        }
        apart(move || response(payments)).await
    }

    async fn replay_shard(
        &self,
        shard: u16,
        quota: u64,
        policy: Arc<Policy>,
        directory: Arc<Directory>,
    ) -> Result<Vec<ReplayedPayment>, Status> {
        let partition = Partition { topic: Topic::Orders, index: u32::from(shard) };
        let versions = self.policies.of(partition.index).map_or_else(Default::default, |versions| (*versions).clone());
        let mut replay = Replay::new(ShardId(shard), versions, policy).with_directory(directory);
        let size = (quota * RECORDS_PER_PAYMENT).clamp(WINDOW_MIN, WINDOW_MAX);
        let mut to = self.journal.end(partition).await.map_err(unavailable)?;
        while (replay.payments() as u64) < quota {
            let start = self.journal.start(partition).await.map_err(unavailable)?;
            let from = to.saturating_sub(size).max(start);
            if from >= to {
                break;
            }
            replay = self.read(partition, from..to, replay).await?;
            to = from;
        }
        apart(move || replay.finish(quota as usize)).await
    }

    /// Reads the records of a window. Unreadable records are skipped, because routers, too, only
    /// wrote them to `dead-letters`.
    async fn read(&self, partition: Partition, window: Range<u64>, mut replay: Replay) -> Result<Replay, Status> {
        let opened = read_whole(&*self.journal, partition, window.start, None, order_record_mark).await;
        let mut reader = opened.map_err(unavailable)?;
        let (mut next, end) = (window.start, window.end);
        while next < end {
            let read = tokio::time::timeout(READ_WAIT, reader.next(BATCH_RECORDS_MAX)).await;
            let stalled =
                || JournalError::Read { partition, reason: format!("nothing was read from offset {next} on").into() };
            let records = read.unwrap_or_else(|_| Err(stalled())).map_err(unavailable)?;
            next = records.last().map_or(next, |record| record.offset + 1);
            replay = apart(move || {
                for record in records.into_iter().filter(|record| record.offset < end) {
                    if let Some(Ok(decoded)) = record.entry.value.map(decode_record) {
                        replay.take(record.offset, decoded);
                    }
                }
                replay
            })
            .await?;
        }
        Ok(replay)
    }
}

#[allow(clippy::needless_pass_by_value, reason = "used as a function in map_err")]
fn unavailable(error: JournalError) -> Status {
    no_journal("the log cannot be read now", &error)
}

/// Runs work that takes long on a thread for blocking work, so that other tasks continue.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
    tokio::task::spawn_blocking(work).await.map_err(|failure| {
        error!(%failure, "a replay has failed");
        let text = "the replay has failed; see the log of the tracker for the reason";
        refuse(OperatorRefusalReason::InternalError, text)
    })
}

/// Refuses routes with a longer prefix than a record shows of payment codes today. Earlier records
/// have the codes in the clear, and no sender of policies may find out more of them.
fn within_shown(policy: Policy) -> Result<Policy, Vec<PolicyFault>> {
    let faults = policy.prefixes_beyond_shown();
    if faults.is_empty() { Ok(policy) } else { Err(faults) }
}

/// Counts the payments that are routed differently, and lists the newest of them.
fn response(mut payments: Vec<ReplayedPayment>) -> ReplayPolicyResponse {
    payments.sort_by_key(|payment| Reverse(payment.at));
    let (mut replayed, mut not_comparable) = (0, 0);
    let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut changes = Vec::new();
    for ReplayedPayment { key, before, after, .. } in payments {
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
