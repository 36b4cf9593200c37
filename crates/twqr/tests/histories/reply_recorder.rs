//! Records every reply to the callers of a history, with what the checks must know of each call.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use twqr_journal::{Journal, Partition, Topic};
use twqr_journal_sim::SimSession;
use twqr_order::{Order, Payment};
use twqr_service::Clock;
use twqr_types::{OrderKey, TradeNo, UnixMs};
use twqr_wire::convert::{ReplyContent, ReplyRecord, decode_reply};

/// The partitions of `replies` of the ingresses through which the callers call.
pub const INGRESSES: std::ops::Range<u32> = 0..3;

/// All replies, and what the checks need to know about the calls.
#[derive(Clone, Default)]
pub struct RecordedReplies {
    /// The replies to each correlation, in the order of arrival.
    pub by_correlation: BTreeMap<u64, Vec<ReplyRecord>>,
    /// The order that each call was about, by correlation.
    pub order_of_call: BTreeMap<u64, OrderKey>,
    /// The queries that were sent after a request was acknowledged: they must find its order.
    pub must_be_found: BTreeSet<u64>,
    /// The correlations of the payment requests.
    pub pays: BTreeSet<u64>,
    /// The answers that ingresses may remember, by their partitions: those to payment requests, of
    /// payments with a result and without a cancel.
    pub remembered: BTreeSet<(u32, OrderKey)>,
    /// The answers that ingresses were asked to forget (`ReplyContent::Forget`).
    pub forgotten: BTreeSet<(u32, OrderKey)>,
    /// When each ingress was last asked to forget all answers.
    pub all_forgotten_at: BTreeMap<u32, UnixMs>,
    /// How many unreadable records were appended to `orders`.
    pub unreadable_count: usize,
    /// Each payment that a reply named: its TradeNo, and whether a reply said that it is paid.
    pub payments: BTreeMap<OrderKey, (TradeNo, bool)>,
    /// The protocol version that each shard's replies have named.
    pub protocol_of_shard: BTreeMap<u32, u32>,
}

impl RecordedReplies {
    fn record(&mut self, ingress: u32, reply: ReplyRecord, now: UnixMs) {
        if let Some(id) = reply.id {
            let version = self.protocol_of_shard.entry(u32::from(id.shard.0)).or_default();
            *version = reply.protocol_version.max(*version);
        }
        match &reply.content {
            ReplyContent::RulesChanged => {
                self.all_forgotten_at.insert(ingress, now);
                return;
            }
            ReplyContent::Forget(key) => {
                self.forgotten.insert((ingress, key.clone()));
                return;
            }
            ReplyContent::Order(order) => {
                if self.pays.contains(&reply.correlation) && order.has_result() && !order.has_cancel() {
                    self.remembered.insert((ingress, order.key().clone()));
                }
                if let Order::Payment(payment) = &**order {
                    self.record_payment(payment);
                }
            }
            // By which a process measures its clock.
            ReplyContent::Empty => return,
            ReplyContent::NotFound
            | ReplyContent::Conflict(_)
            | ReplyContent::TooManyWatchers
            | ReplyContent::KeyRefused
            | ReplyContent::Replayed => {}
        }
        self.by_correlation.entry(reply.correlation).or_default().push(reply);
    }

    fn record_payment(&mut self, payment: &Payment) {
        let paid = payment.is_paid();
        let known = self.payments.entry(payment.key.clone()).or_insert((payment.trade_no, paid));
        known.1 |= paid;
    }

    /// Returns the payment's TradeNo and whether a reply said that it is paid, once any reply named
    /// the payment.
    pub fn payment(&self, key: &OrderKey) -> Option<(TradeNo, bool)> {
        self.payments.get(key).copied()
    }
}

/// Records all replies to one ingress, and never returns.
pub async fn record_replies(
    ingress: u32,
    session: Arc<SimSession>,
    clock: Arc<dyn Clock>,
    recorded: Arc<Mutex<RecordedReplies>>,
) {
    let partition = Partition { topic: Topic::Replies, index: ingress };
    let mut next = 0;
    loop {
        let Ok(mut reader) = session.reader(partition, next).await else { continue };
        while let Ok(records) = reader.next(100).await {
            for record in records {
                next = record.offset + 1;
                let reply = decode_reply(record.entry.value.unwrap()).unwrap();
                recorded.lock().unwrap().record(ingress, reply, clock.now());
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
