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

/// The partition of `replies` that all callers share.
pub const REPLIES: Partition = Partition { topic: Topic::Replies, index: 0 };

/// All replies, and what the checks need to know about the calls.
#[derive(Clone, Default)]
pub struct RecordedReplies {
    /// The replies to each correlation, in the order of arrival.
    pub by_correlation: BTreeMap<u64, Vec<ReplyRecord>>,
    /// The order that each call was about, by correlation.
    pub order_of_call: BTreeMap<u64, OrderKey>,
    /// The queries that were sent after a request was acknowledged: they must find its order.
    pub must_be_found: BTreeSet<u64>,
    /// The payments whose remembered answers every ingress must drop (`ReplyContent::Forget`).
    pub forgotten: BTreeSet<OrderKey>,
    /// When every ingress was last told to ask the router again about all payments.
    pub all_forgotten_at: Option<UnixMs>,
    /// How many unreadable records were appended to `orders`.
    pub unreadable_count: usize,
    /// Each payment that a reply named: its TradeNo, and whether a reply said that it is paid.
    pub payments: BTreeMap<OrderKey, (TradeNo, bool)>,
}

impl RecordedReplies {
    fn record(&mut self, reply: ReplyRecord, now: UnixMs) {
        match &reply.content {
            ReplyContent::RulesChanged => {
                self.all_forgotten_at = Some(now);
                return;
            }
            ReplyContent::Forget(key) => {
                self.forgotten.insert(key.clone());
                return;
            }
            ReplyContent::Order(order) => {
                if let Order::Payment(payment) = &**order {
                    self.record_payment(payment);
                }
            }
            // By which a process measures its clock.
            ReplyContent::Empty => return,
            ReplyContent::NotFound
            | ReplyContent::Conflict(_)
            | ReplyContent::TooManyWatchers
            | ReplyContent::KeyRefused => {}
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

/// Records all replies, and never returns.
pub async fn record_replies(session: Arc<SimSession>, clock: Arc<dyn Clock>, recorded: Arc<Mutex<RecordedReplies>>) {
    let mut next = 0;
    loop {
        let Ok(mut reader) = session.reader(REPLIES, next).await else { continue };
        while let Ok(records) = reader.next(100).await {
            for record in records {
                next = record.offset + 1;
                let reply = decode_reply(record.entry.value.unwrap()).unwrap();
                recorded.lock().unwrap().record(reply, clock.now());
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
