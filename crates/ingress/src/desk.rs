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
use twqr_types::{OrderKey, ShardCount, StatusCode, UnixMs};
use twqr_wire::bus::ReplyRecord;

use crate::metrics;

pub(crate) struct Desk {
    journal: Arc<dyn Journal>,
    shards: ShardCount,
    replies: Partition,
    waiting: DashMap<u64, mpsc::UnboundedSender<ReplyRecord>>,
    /// Begins at random, so that replies to an earlier process meet nobody.
    next: AtomicU64,
    calls: Places,
    watches: Places,
    /// The StatusCode for what is in progress, by the rules that hold: the routers' replies say it.
    in_progress_code: ArcSwap<StatusCode>,
}

/// What waits. Watches have places of their own, so that they never take a payment's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Call,
    Watch,
}

/// Places of one kind.
struct Places {
    taken: AtomicUsize,
    max: usize,
}

impl Places {
    const fn new(max: usize) -> Self {
        Self { taken: AtomicUsize::new(0), max }
    }

    fn take(&self) -> bool {
        let is_free = self.taken.fetch_add(1, Ordering::AcqRel) < self.max;
        if !is_free {
            self.give_back();
        }
        is_free
    }

    fn give_back(&self) {
        self.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A call that waits; it leaves the table when this is dropped.
pub(crate) struct Waiting {
    desk: Arc<Desk>,
    kind: Kind,
    pub(crate) reply_to: ReplyTo,
    pub(crate) replies: mpsc::UnboundedReceiver<ReplyRecord>,
}

impl Desk {
    /// Watches have a quarter as many places as calls, and one at the least. `in_progress_code`
    /// holds until a reply says another one.
    pub(crate) fn new(
        journal: Arc<dyn Journal>,
        shards: ShardCount,
        replies: Partition,
        calls_max: usize,
        in_progress_code: StatusCode,
    ) -> Arc<Self> {
        let next = AtomicU64::new(rand::rng().random());
        Arc::new(Self {
            journal,
            shards,
            replies,
            waiting: DashMap::new(),
            next,
            calls: Places::new(calls_max),
            watches: Places::new((calls_max / 4).max(1)),
            in_progress_code: ArcSwap::from_pointee(in_progress_code),
        })
    }

    /// The StatusCode of an answer that is not known yet.
    pub(crate) fn in_progress_code(&self) -> StatusCode {
        **self.in_progress_code.load()
    }

    /// How many shards there are.
    pub(crate) fn shards(&self) -> ShardCount {
        self.shards
    }

    /// A place in the table until `until`; none if too many of this kind wait already.
    pub(crate) fn wait(self: &Arc<Self>, kind: Kind, until: UnixMs) -> Option<Waiting> {
        if !self.places(kind).take() {
            metrics::shed(kind);
            return None;
        }
        metrics::waiting(kind, 1.0);
        let correlation = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, replies) = mpsc::unbounded_channel();
        self.waiting.insert(correlation, sender);
        let reply_to = ReplyTo { partition: self.replies.index, correlation, until };
        Some(Waiting { desk: self.clone(), kind, reply_to, replies })
    }

    fn places(&self, kind: Kind) -> &Places {
        match kind {
            Kind::Call => &self.calls,
            Kind::Watch => &self.watches,
        }
    }

    /// Writes a record to the order's shard.
    pub(crate) fn append(&self, key: &OrderKey, record: bytes::Bytes) -> Ack {
        let shard = Partition { topic: Topic::Orders, index: u32::from(key.shard(self.shards).0) };
        self.journal.append(shard, vec![Entry::plain(record)])
    }

    /// Hands a reply to whoever waits for it; nobody may do so any more.
    pub(crate) fn deliver(&self, reply: ReplyRecord) {
        if let Ok(code) = StatusCode::parse(&reply.in_progress_code)
            && code != self.in_progress_code()
        {
            self.in_progress_code.store(Arc::new(code));
        }
        if let Some(waiting) = self.waiting.get(&reply.correlation) {
            drop(waiting.send(reply));
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.desk.waiting.remove(&self.reply_to.correlation);
        self.desk.places(self.kind).give_back();
        metrics::waiting(self.kind, -1.0);
    }
}
