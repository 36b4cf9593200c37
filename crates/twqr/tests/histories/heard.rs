//! What the callers of a history heard, and what they must not hear.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use twqr_journal::{Journal, Partition, Topic};
use twqr_journal_sim::SimSession;
use twqr_order::{Order, Payment};
use twqr_types::{OrderKey, TradeNo};
use twqr_wire::convert::{ReplyContent, ReplyRecord, decode_reply};

/// The partition of `replies` that all callers share.
pub const REPLIES: Partition = Partition { topic: Topic::Replies, index: 0 };

/// Everything heard.
#[derive(Clone, Default)]
pub struct Heard {
    /// By correlation, in the order of arrival.
    pub replies: BTreeMap<u64, Vec<ReplyRecord>>,
    /// Which order a call was about.
    pub about: BTreeMap<u64, OrderKey>,
    /// Questions asked after a request was acknowledged: the order must be found.
    pub must_be_found: BTreeSet<u64>,
    /// The orders whose answers an ingress must no longer give from memory.
    pub forgotten: BTreeSet<OrderKey>,
    /// Records that nobody can read, on `orders`.
    pub unreadable: usize,
    /// The numbers of the payments, as they were told: merchant, number, and whether it was told
    /// paid.
    pub payments: BTreeMap<OrderKey, (TradeNo, bool)>,
}

impl Heard {
    fn hear(&mut self, reply: ReplyRecord) {
        match &reply.content {
            ReplyContent::RulesChanged => return,
            ReplyContent::Forget(key) => {
                self.forgotten.insert(key.clone());
                return;
            }
            ReplyContent::Order(order) => {
                if let Order::Payment(payment) = &**order {
                    self.hear_payment(payment);
                }
            }
            ReplyContent::NotFound
            | ReplyContent::Conflict(_)
            | ReplyContent::TooManyWatchers
            | ReplyContent::KeyRefused
            | ReplyContent::Empty => {}
        }
        self.replies.entry(reply.correlation).or_default().push(reply);
    }

    fn hear_payment(&mut self, payment: &Payment) {
        let paid = payment.is_paid();
        let known = self.payments.entry(payment.key.clone()).or_insert((payment.trade_no, paid));
        known.1 |= paid;
    }

    /// The payment's number, if it was told, and whether it was told paid.
    pub fn payment(&self, key: &OrderKey) -> Option<(TradeNo, bool)> {
        self.payments.get(key).copied()
    }
}

/// Hears everything, for good.
pub async fn listen(session: Arc<SimSession>, heard: Arc<Mutex<Heard>>) {
    let mut next = 0;
    loop {
        let Ok(mut reader) = session.reader(REPLIES, next).await else { continue };
        while let Ok(records) = reader.next(100).await {
            for record in records {
                next = record.offset + 1;
                heard.lock().unwrap().hear(decode_reply(record.entry.value.unwrap()).unwrap());
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
