//! The latest payments of a sending thread, for repeats, conflicts, inquiries, refunds and cancels.
//! Both lists are bounded; the oldest payment gives way.

use rand::Rng;
use twqr_wire::pos::PayRequest;

/// The number of payments that each list remembers.
const REMEMBERED_MAX: usize = 512;

/// A payment that was sent, answered or not.
#[derive(Clone, Debug)]
pub struct SentPayment {
    /// The merchant's index.
    pub merchant: u32,
    /// The order's number.
    pub order: u64,
    /// Whether its code is one that the simulator declines.
    pub is_declined: bool,
    /// The request as it was sent.
    pub request: PayRequest,
}

/// A payment that was answered as paid.
#[derive(Clone, Debug)]
pub struct PaidPayment {
    /// The merchant's index.
    pub merchant: u32,
    /// The order's number.
    pub order: u64,
    /// The TradeNo of the answer.
    pub trade_no: String,
    /// The request as it was sent.
    pub request: PayRequest,
}

/// The latest payments.
#[derive(Debug, Default)]
pub struct RecentPayments {
    sent: Vec<SentPayment>,
    paid: Vec<PaidPayment>,
    oldest_sent: usize,
    oldest_paid: usize,
}

impl RecentPayments {
    /// Remembers a payment that is being sent.
    pub fn remember_sent(&mut self, payment: SentPayment) {
        put(&mut self.sent, &mut self.oldest_sent, payment);
    }

    /// Remembers a payment that was answered as paid.
    pub fn remember_paid(&mut self, payment: PaidPayment) {
        put(&mut self.paid, &mut self.oldest_paid, payment);
    }

    /// One of the payments that were sent.
    pub fn sent(&self, random: &mut impl Rng) -> Option<&SentPayment> {
        (!self.sent.is_empty()).then(|| &self.sent[random.random_range(0..self.sent.len())])
    }

    /// One of the paid payments.
    pub fn paid(&self, random: &mut impl Rng) -> Option<&PaidPayment> {
        (!self.paid.is_empty()).then(|| &self.paid[random.random_range(0..self.paid.len())])
    }

    /// Removes one of the paid payments, so that it is refunded or cancelled only once. It is not
    /// repeated any more either.
    pub fn take_paid(&mut self, random: &mut impl Rng) -> Option<PaidPayment> {
        if self.paid.is_empty() {
            return None;
        }
        let paid = self.paid.swap_remove(random.random_range(0..self.paid.len()));
        self.sent.retain(|sent| sent.order != paid.order);
        Some(paid)
    }
}

fn put<T>(list: &mut Vec<T>, oldest: &mut usize, item: T) {
    if list.len() < REMEMBERED_MAX {
        list.push(item);
    } else {
        *oldest = (*oldest + 1) % list.len();
        list[*oldest] = item;
    }
}
