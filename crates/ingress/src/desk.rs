//! Where calls wait for their answers: the correlation table, and the one task that reads this instance's partition of `replies`.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use dashmap::DashMap;
use prost::Message;
use rand::Rng;
use tokio::sync::mpsc;
use tracing::{error, warn};
use twqr_journal::{Ack, Entry, Journal, JournalError, Partition, RepliesHold, Topic};
use twqr_order::ReplyTo;
use twqr_service::CancellationToken;
use twqr_types::{OrderKey, ShardCount, UnixMs};
use twqr_wire::bus::ReplyRecord;

use crate::Settings;

/// How many replies are taken at once.
const BATCH_RECORDS_MAX: usize = 1_024;

pub(crate) struct Desk {
    journal: Arc<dyn Journal>,
    shards: ShardCount,
    hold: RepliesHold,
    waiting: DashMap<u64, mpsc::UnboundedSender<ReplyRecord>>,
    /// Begins at random, so that replies to an earlier process meet nobody.
    next: AtomicU64,
    calls: AtomicUsize,
    calls_max: usize,
}

/// A call that waits; it leaves the table when this is dropped.
pub(crate) struct Waiting {
    desk: Arc<Desk>,
    pub(crate) reply_to: ReplyTo,
    pub(crate) replies: mpsc::UnboundedReceiver<ReplyRecord>,
}

impl Desk {
    pub(crate) async fn open(
        journal: Arc<dyn Journal>,
        shards: ShardCount,
        settings: &Settings,
    ) -> Result<Arc<Self>, JournalError> {
        let hold = journal.hold_replies(&settings.member).await?;
        Ok(Arc::new(Self {
            journal,
            shards,
            hold,
            waiting: DashMap::new(),
            next: AtomicU64::new(rand::rng().random()),
            calls: AtomicUsize::new(0),
            calls_max: settings.calls_max,
        }))
    }

    /// A place in the table until `until`; none if too many calls wait already.
    pub(crate) fn wait(self: &Arc<Self>, until: UnixMs) -> Option<Waiting> {
        if self.calls.fetch_add(1, Ordering::AcqRel) >= self.calls_max {
            self.calls.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        let correlation = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, replies) = mpsc::unbounded_channel();
        self.waiting.insert(correlation, sender);
        let reply_to = ReplyTo { partition: self.hold.partition.index, correlation, until };
        Some(Waiting { desk: self.clone(), reply_to, replies })
    }

    /// Writes a record to the order's shard.
    pub(crate) fn append(&self, key: &OrderKey, record: bytes::Bytes) -> Ack {
        let shard = Partition { topic: Topic::Orders, index: u32::from(key.shard(self.shards).0) };
        self.journal.append(shard, vec![Entry::plain(record)])
    }

    /// Hands replies to who waits, until shutdown.
    pub(crate) async fn read_replies(self: Arc<Self>, shutdown: CancellationToken) {
        let opened = async {
            let end = self.journal.end(self.hold.partition).await?;
            self.journal.reader(self.hold.partition, end).await
        };
        let mut reader = match opened.await {
            Ok(reader) => reader,
            Err(error) => {
                error!(%error, "replies cannot be read; calls will end at their deadlines");
                return;
            }
        };
        loop {
            let records = match reader.next(BATCH_RECORDS_MAX).await {
                Ok(records) => records,
                Err(error) => {
                    if !shutdown.is_cancelled() {
                        error!(%error, "replies cannot be read; calls will end at their deadlines");
                    }
                    return;
                }
            };
            for record in records {
                let Ok(reply) = ReplyRecord::decode(record.entry.value.unwrap_or_default()) else {
                    warn!(offset = record.offset, "a reply cannot be read; passed over");
                    continue;
                };
                if let Some(waiting) = self.waiting.get(&reply.correlation) {
                    drop(waiting.send(reply));
                }
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.desk.waiting.remove(&self.reply_to.correlation);
        self.desk.calls.fetch_sub(1, Ordering::AcqRel);
    }
}
