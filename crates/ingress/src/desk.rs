//! Where calls wait for their answers: the correlation table.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use rand::Rng;
use tokio::sync::mpsc;
use twqr_journal::{Ack, Entry, Journal, Partition, Topic};
use twqr_order::ReplyTo;
use twqr_types::{OrderKey, ShardCount, UnixMs};
use twqr_wire::bus::ReplyRecord;

use crate::metrics;

pub(crate) struct Desk {
    journal: Arc<dyn Journal>,
    shards: ShardCount,
    replies: Partition,
    waiting: DashMap<u64, mpsc::UnboundedSender<ReplyRecord>>,
    /// Begins at random, so that replies to an earlier process meet nobody.
    next: AtomicU64,
    calls: AtomicUsize,
    calls_max: usize,
    /// The StatusCode for what is in progress, by the rules that hold: the routers' replies say it.
    in_progress_code: ArcSwap<String>,
}

/// A call that waits; it leaves the table when this is dropped.
pub(crate) struct Waiting {
    desk: Arc<Desk>,
    pub(crate) reply_to: ReplyTo,
    pub(crate) replies: mpsc::UnboundedReceiver<ReplyRecord>,
}

impl Desk {
    /// `in_progress_code` holds until a reply says another one.
    pub(crate) fn new(
        journal: Arc<dyn Journal>,
        shards: ShardCount,
        replies: Partition,
        calls_max: usize,
        in_progress_code: String,
    ) -> Arc<Self> {
        let next = AtomicU64::new(rand::rng().random());
        Arc::new(Self {
            journal,
            shards,
            replies,
            waiting: DashMap::new(),
            next,
            calls: AtomicUsize::new(0),
            calls_max,
            in_progress_code: ArcSwap::from_pointee(in_progress_code),
        })
    }

    /// The StatusCode of an answer that is not known yet.
    pub(crate) fn in_progress_code(&self) -> Arc<String> {
        self.in_progress_code.load_full()
    }

    /// How many shards there are.
    pub(crate) fn shards(&self) -> ShardCount {
        self.shards
    }

    /// A place in the table until `until`; none if too many calls wait already.
    pub(crate) fn wait(self: &Arc<Self>, until: UnixMs) -> Option<Waiting> {
        if self.calls.fetch_add(1, Ordering::AcqRel) >= self.calls_max {
            self.calls.fetch_sub(1, Ordering::AcqRel);
            metrics::shed();
            return None;
        }
        metrics::waiting(1.0);
        let correlation = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, replies) = mpsc::unbounded_channel();
        self.waiting.insert(correlation, sender);
        let reply_to = ReplyTo { partition: self.replies.index, correlation, until };
        Some(Waiting { desk: self.clone(), reply_to, replies })
    }

    /// Writes a record to the order's shard.
    pub(crate) fn append(&self, key: &OrderKey, record: bytes::Bytes) -> Ack {
        let shard = Partition { topic: Topic::Orders, index: u32::from(key.shard(self.shards).0) };
        self.journal.append(shard, vec![Entry::plain(record)])
    }

    /// Hands a reply to whoever waits for it; nobody may do so any more.
    pub(crate) fn deliver(&self, reply: ReplyRecord) {
        if !reply.in_progress_code.is_empty() && reply.in_progress_code != **self.in_progress_code.load() {
            self.in_progress_code.store(Arc::new(reply.in_progress_code.clone()));
        }
        if let Some(waiting) = self.waiting.get(&reply.correlation) {
            drop(waiting.send(reply));
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.desk.waiting.remove(&self.reply_to.correlation);
        self.desk.calls.fetch_sub(1, Ordering::AcqRel);
        metrics::waiting(-1.0);
    }
}
