//! The correlation table: who waits for which answer. A locked part of it is never held longer than one look.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use dashmap::DashMap;
use tokio::sync::{mpsc, oneshot};

use crate::reply::{Answer, Reply};

/// Answers that one watch may have unread; what does not fit comes again when the watch is renewed.
const WATCH_QUEUE_LEN_MAX: usize = 16;

/// Every call of this process that waits on its replies partition.
pub(crate) struct Table {
    waiting: DashMap<u64, Waiter>,
    next: AtomicU64,
}

enum Waiter {
    /// A payment waits for what ends it; meanwhile the newest other answer is kept.
    Final { done: oneshot::Sender<Reply>, interim: Option<Reply> },
    /// The first answer is the answer.
    First(oneshot::Sender<Reply>),
    /// Every answer counts.
    Every(mpsc::Sender<Reply>),
}

/// A place in the table, given up when it is dropped.
pub(crate) struct Ticket {
    table: Arc<Table>,
    correlation: u64,
}

impl Table {
    /// Starts at a random number, so that answers to an earlier process on the same partition meet nobody.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { waiting: DashMap::new(), next: AtomicU64::new(rand::random()) })
    }

    /// A number that nobody else in this process has.
    pub(crate) fn next_correlation(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Waits for the answer that ends a payment.
    pub(crate) fn await_final(self: &Arc<Self>, correlation: u64) -> (Ticket, oneshot::Receiver<Reply>) {
        let (done, answer) = oneshot::channel();
        (self.enter(correlation, Waiter::Final { done, interim: None }), answer)
    }

    /// Waits for any answer.
    pub(crate) fn await_first(self: &Arc<Self>) -> (Ticket, oneshot::Receiver<Reply>) {
        let (done, answer) = oneshot::channel();
        (self.enter(self.next_correlation(), Waiter::First(done)), answer)
    }

    /// Waits for one answer after the other.
    pub(crate) fn await_every(self: &Arc<Self>) -> (Ticket, mpsc::Receiver<Reply>) {
        let (each, answers) = mpsc::channel(WATCH_QUEUE_LEN_MAX);
        (self.enter(self.next_correlation(), Waiter::Every(each)), answers)
    }

    fn enter(self: &Arc<Self>, correlation: u64, waiter: Waiter) -> Ticket {
        self.waiting.insert(correlation, waiter);
        Ticket { table: Arc::clone(self), correlation }
    }

    /// Hands an answer to whoever waits for it. Nobody does when the call is over.
    pub(crate) fn deliver(&self, correlation: u64, reply: Reply) {
        let ended = self.waiting.remove_if(&correlation, |_, waiter| waiter.ends_with(&reply));
        match ended {
            Some((_, Waiter::Final { done, .. } | Waiter::First(done))) => drop(done.send(reply)),
            Some((_, Waiter::Every(_))) => {}
            None => self.keep(correlation, reply),
        }
    }

    fn keep(&self, correlation: u64, reply: Reply) {
        match self.waiting.get_mut(&correlation).as_deref_mut() {
            Some(Waiter::Final { interim, .. }) if matches!(reply.answer, Answer::Order(_)) => {
                if interim.as_ref().is_none_or(|known| known.at < reply.at) {
                    *interim = Some(reply);
                }
            }
            Some(Waiter::Every(each)) => drop(each.try_send(reply)),
            Some(Waiter::Final { .. } | Waiter::First(_)) | None => {}
        }
    }

    /// What is known so far of the payment that waits under this number, through `look`.
    pub(crate) fn interim<T>(&self, correlation: u64, look: impl FnOnce(&Reply) -> T) -> Option<T> {
        match self.waiting.get(&correlation).as_deref() {
            Some(Waiter::Final { interim, .. }) => interim.as_ref().map(look),
            Some(Waiter::First(_) | Waiter::Every(_)) | None => None,
        }
    }
}

impl Waiter {
    fn ends_with(&self, reply: &Reply) -> bool {
        match self {
            Self::Final { .. } => reply.settles_payment(),
            Self::First(_) => true,
            Self::Every(_) => false,
        }
    }
}

impl Ticket {
    /// Tells the answers to this call from others.
    pub(crate) fn correlation(&self) -> u64 {
        self.correlation
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.table.waiting.remove(&self.correlation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_progress(offset: u64) -> Reply {
        Reply { at: (offset, 0), repeat: false, answer: Answer::Order(Box::default()) }
    }

    fn conflict() -> Reply {
        Reply { at: (9, 0), repeat: true, answer: Answer::Conflict(vec![]) }
    }

    #[test]
    fn a_payment_keeps_the_newest_interim_answer_and_ends_with_a_final_one() {
        let table = Table::new();
        let correlation = table.next_correlation();
        let (_ticket, mut done) = table.await_final(correlation);
        for offset in [3, 7, 5] {
            table.deliver(correlation, in_progress(offset));
        }
        table.deliver(correlation, Reply { answer: Answer::NotFound, ..in_progress(8) });
        assert_eq!(table.interim(correlation, |reply| reply.at), Some((7, 0)));
        assert!(done.try_recv().is_err());
        table.deliver(correlation, conflict());
        assert_eq!(done.try_recv().unwrap().at, (9, 0));
        assert!(table.waiting.is_empty());
    }

    #[test]
    fn nothing_stays_behind_when_the_caller_goes() {
        let table = Table::new();
        let (first, answer) = table.await_first();
        let (every, answers) = table.await_every();
        drop((first, answer, every, answers));
        assert!(table.waiting.is_empty());
        table.deliver(1, conflict());
    }

    #[test]
    fn a_watch_that_does_not_read_holds_a_bounded_number() {
        let table = Table::new();
        let (ticket, mut answers) = table.await_every();
        for offset in 0..1_000 {
            table.deliver(ticket.correlation(), in_progress(offset));
        }
        let read = std::iter::from_fn(|| answers.try_recv().ok()).count();
        assert_eq!(read, WATCH_QUEUE_LEN_MAX);
    }
}
