//! Appends replies to the callers. No payment waits for a reply: a caller without one is answered
//! "in progress" at its deadline, and may query. So a failure is counted and reported as degraded,
//! and stops no shard.
//!
//! A broadcast to the ingresses is different: an ingress that missed it would repeat an invalid
//! answer from its cache. So if an append to a partition failed, `RulesChanged` is sent to that
//! partition until it is acknowledged; then its ingress asks the router again about every payment.
//! The same is done once at the start, since the previous process may have ended with a failed
//! broadcast.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::FutureExt;
use tracing::warn;
use twqr_journal::{Entry, Journal, JournalError, Partition, Topic};
use twqr_service::{Health, LogThrottle, Part};
use twqr_wire::convert::{ReplyContent, ReplyRecord, encode_reply_record};

use crate::metrics;

/// How much unacknowledged replies may take, in bytes: of one partition, and of all together.
/// Further replies are dropped: while a partition of `replies` fails, they would fill the queue to
/// the broker that tasks and outcomes share.
const PARTITION_BYTES_MAX: usize = 4 << 20;
const ALL_BYTES_MAX: usize = 64 << 20;

/// The time between two attempts to reach a failing partition, in ms.
const RETRY_MS: u64 = 1_000;
/// The time between two log lines about failures, in ms.
const LOG_MS: u64 = 10_000;

/// Appends the replies of all shards of this process.
pub(crate) struct ReplyAppends {
    journal: Arc<dyn Journal>,
    part: Part,
    partitions: Vec<RepliesPartition>,
    /// The size of all unacknowledged replies, in bytes.
    unacknowledged: AtomicUsize,
}

/// The state of one partition of `replies`.
#[derive(Default)]
struct RepliesPartition {
    unacknowledged: AtomicUsize,
    /// Whether its ingress may have missed a broadcast.
    must_reset: AtomicBool,
    is_failing: AtomicBool,
}

impl ReplyAppends {
    pub(crate) fn new(journal: Arc<dyn Journal>, health: &Health) -> Arc<Self> {
        let at_start = || RepliesPartition { must_reset: AtomicBool::new(true), ..RepliesPartition::default() };
        let partitions = (0..journal.partitions(Topic::Replies)).map(|_| at_start()).collect();
        Arc::new(Self {
            journal,
            part: health.side_part("router/replies"),
            partitions,
            unacknowledged: AtomicUsize::new(0),
        })
    }

    /// Appends entries to a partition of `replies`, which must exist, without waiting.
    pub(crate) fn append(self: &Arc<Self>, index: u32, entries: Vec<Entry>) {
        let Some(partition) = self.partitions.get(index as usize) else { return };
        let bytes: usize = entries.iter().map(Entry::byte_len).sum();
        let of_partition = partition.unacknowledged.fetch_add(bytes, Ordering::Relaxed);
        let of_all = self.unacknowledged.fetch_add(bytes, Ordering::Relaxed);
        if of_partition > PARTITION_BYTES_MAX || of_all > ALL_BYTES_MAX {
            self.forget_bytes(partition, bytes);
            return self.fail(partition, index, entries.len(), "too many replies wait to be written already");
        }
        let count = entries.len();
        let mut ack = self.journal.append(Partition { topic: Topic::Replies, index }, entries);
        // The embedded journal acknowledges replies at once.
        if let Some(written) = (&mut ack).now_or_never() {
            return self.finish(index, count, bytes, written);
        }
        let appends = self.clone();
        tokio::spawn(async move { appends.finish(index, count, bytes, ack.await) });
    }

    fn finish(&self, index: u32, count: usize, bytes: usize, written: Result<(), JournalError>) {
        let Some(partition) = self.partitions.get(index as usize) else { return };
        self.forget_bytes(partition, bytes);
        match written {
            Ok(()) => self.succeed(partition),
            Err(error) => self.fail(partition, index, count, &error.to_string()),
        }
    }

    fn forget_bytes(&self, partition: &RepliesPartition, bytes: usize) {
        partition.unacknowledged.fetch_sub(bytes, Ordering::Relaxed);
        self.unacknowledged.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn succeed(&self, partition: &RepliesPartition) {
        let was_failing = partition.is_failing.swap(false, Ordering::Relaxed);
        if was_failing && !self.partitions.iter().any(|other| other.is_failing.load(Ordering::Relaxed)) {
            self.part.ready();
        }
    }

    fn fail(&self, partition: &RepliesPartition, index: u32, count: usize, why: &str) {
        partition.is_failing.store(true, Ordering::Relaxed);
        partition.must_reset.store(true, Ordering::Relaxed);
        metrics::replies_lost(count);
        self.part.degraded(format!("replies/{index} cannot be written ({why}); its callers must query"));
    }

    /// Makes each ingress that may have missed a broadcast ask the router again. Never returns.
    pub(crate) async fn reset_ingresses(self: Arc<Self>) -> Infallible {
        let mut throttle = LogThrottle::every_ms(LOG_MS);
        loop {
            for (index, partition) in (0..).zip(&self.partitions) {
                if partition.must_reset.swap(false, Ordering::Relaxed) {
                    let reset = encode_reply_record(&ReplyRecord::broadcast(ReplyContent::RulesChanged));
                    self.append(index, vec![Entry::plain(reset)]);
                }
            }
            tokio::time::sleep(Duration::from_millis(RETRY_MS)).await;
            let failing = self.partitions.iter().filter(|partition| partition.is_failing.load(Ordering::Relaxed));
            let failing = failing.count();
            if failing > 0
                && let Some(suppressed) = throttle.permit()
            {
                warn!(failing, suppressed, "replies cannot be written to some partitions; payments proceed");
            }
        }
    }
}
