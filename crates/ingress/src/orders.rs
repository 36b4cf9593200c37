//! What the ingress writes to `orders`, and how it waits for the acknowledgement without ever taking silence for failure.

use std::{num::NonZeroU16, sync::Arc};

use bytes::Bytes;
use metrics::Counter;
use tokio::time::Instant;
use twqr_journal::{Ack, Entry, Journal, JournalError, Partition, Topic};
use twqr_order::ReplyTo;
use twqr_service::Clock;
use twqr_types::{OrderKey, PayForm, ShardCount, UnixMs};
use twqr_wire::convert;

use crate::{Error, refusal::Refusal};

/// The way to the routers.
pub(crate) struct Orders {
    journal: Arc<dyn Journal>,
    clock: Arc<dyn Clock>,
    shards: ShardCount,
    /// The partition of `replies` that this process holds.
    replies: u32,
    failed: Counter,
}

/// An append under way.
pub(crate) struct Sent {
    /// None once it has come.
    ack: Option<Ack>,
    failed: Counter,
}

impl Orders {
    pub(crate) fn new(
        journal: Arc<dyn Journal>,
        clock: Arc<dyn Clock>,
        replies: u32,
        failed: Counter,
    ) -> Result<Self, Error> {
        let count = journal.partitions(Topic::Orders);
        let shards = u16::try_from(count).ok().and_then(NonZeroU16::new).ok_or(Error::Shards(count))?;
        Ok(Self { journal, clock, shards: ShardCount(shards), replies, failed })
    }

    /// Asks for a payment; the answers come under `correlation`.
    pub(crate) fn pay(&self, form: &PayForm, correlation: u64, until: Instant) -> Sent {
        let at = self.clock.now();
        self.append(&form.key, convert::pay_record(at, form, Some(self.reply_to(at, correlation, until))))
    }

    /// Asks how an order is; with `watch` also for every change.
    pub(crate) fn query(&self, key: &OrderKey, correlation: u64, until: Instant, watch: bool) -> Sent {
        let at = self.clock.now();
        self.append(key, convert::query_record(at, key, self.reply_to(at, correlation, until), watch))
    }

    fn reply_to(&self, at: UnixMs, correlation: u64, until: Instant) -> ReplyTo {
        let wait_ms = i64::try_from((until - Instant::now()).as_millis()).unwrap_or(i64::MAX);
        ReplyTo { partition: self.replies, correlation, until: at.plus(wait_ms) }
    }

    fn append(&self, key: &OrderKey, record: Bytes) -> Sent {
        let partition = Partition { topic: Topic::Orders, index: u32::from(key.shard(self.shards).0) };
        let ack = self.journal.append(partition, vec![Entry::plain(record)]);
        Sent { ack: Some(ack), failed: self.failed.clone() }
    }
}

impl Sent {
    /// Ends, with a refusal, only when it is certain that nothing was or will be written; otherwise it waits for ever. May be
    /// cancelled and called again.
    pub(crate) async fn refused(&mut self, key: &OrderKey) -> Refusal {
        if let Some(ack) = &mut self.ack {
            let result = ack.await;
            self.ack = None;
            if let Err(error) = result {
                self.failed.increment(1);
                if is_certain(key, &error) {
                    return Refusal::LogRefused;
                }
            }
        }
        std::future::pending().await
    }
}

/// Whether the error proves that the record is not in the log and never will be.
fn is_certain(key: &OrderKey, error: &JournalError) -> bool {
    let OrderKey { merchant_id, merchant_trade_no } = key;
    match error {
        JournalError::AppendRefused { .. } | JournalError::NoPartition(_) => {
            tracing::warn!(%merchant_id, %merchant_trade_no, %error, "the order log refused a record");
            true
        }
        JournalError::AppendUnknown { .. } | JournalError::Read { .. } | JournalError::Unusable(_) => {
            tracing::warn!(%merchant_id, %merchant_trade_no, %error, "no acknowledgement, the answer is awaited");
            false
        }
    }
}
