//! Closes the books while a history runs, as the tracker does for an accounting day, and checks
//! that what was listed then stays the same: each movement counts on one day only, and on the same
//! one for good.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::future::join_all;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use twqr_journal::{Entry, Journal, Partition, Topic};
use twqr_journal_sim::Sim;
use twqr_order::{CancelStage, Command, Order, Record, RefundPhase};
use twqr_service::Clock;
use twqr_types::UnixMs;
use twqr_wire::convert::{StateBody, encode_record};

use crate::{
    log_reader::{Orders, state_entries, stored_orders},
    policies::newest_policy,
};

/// How often the books of one history are closed.
const CLOSINGS: usize = 6;
/// How long a bookkeeper waits for the markers before it gives up a closing, in virtual seconds.
const WAIT_S: u64 = 20;

/// When each movement counts, by its kind and its order's key.
type Listed = BTreeMap<String, UnixMs>;

/// The lists that were made, each with the time up to which the books were closed before.
#[derive(Clone, Default)]
pub struct ClosedBooks(Arc<Mutex<Vec<(UnixMs, Listed)>>>);

impl ClosedBooks {
    /// Begins to close the books now and then.
    pub fn start(sim: &Sim, clock: Arc<dyn Clock>, seed: u64, shards: u32) -> Self {
        let books = Self::default();
        let (closed, sim) = (books.clone(), sim.clone());
        let mut random = ChaCha8Rng::seed_from_u64(seed ^ 0xB00C);
        tokio::spawn(async move {
            let session = sim.session("bookkeeper");
            for _ in 0..CLOSINGS {
                tokio::time::sleep(Duration::from_millis(random.random_range(1_000..15_000))).await;
                let until = clock.now();
                if close(&sim, &*session, shards, until).await {
                    let listed = listed(&stored_orders(&sim, shards), until);
                    closed.0.lock().unwrap().push((until, listed));
                }
            }
        });
        books
    }

    /// Whether every list is still what the orders say at the end.
    pub fn check(&self, orders: &Orders, violations: &mut Vec<String>) {
        for (until, before) in &*self.0.lock().unwrap() {
            let now = listed(orders, *until);
            if now != *before {
                let changed = now.keys().chain(before.keys()).find(|key| now.get(*key) != before.get(*key));
                violations.push(format!("the books closed up to {until:?} changed: {changed:?}"));
            }
        }
    }
}

/// Appends a closing to every shard, and waits until the states that were decided before it are
/// stored. Returns false if that is not certain.
async fn close(sim: &Sim, journal: &dyn Journal, shards: u32, until: UnixMs) -> bool {
    // Only then do the rules know closings.
    if !(0..shards).all(|shard| newest_policy(sim, shard).is_some()) {
        return false;
    }
    let orders = |index| Partition { topic: Topic::Orders, index };
    let record =
        encode_record(&Record { at: until, signed_by: None, nonce: None, command: Command::CloseBooks(until) });
    let appends = (0..shards).map(|shard| journal.append(orders(shard), vec![Entry::plain(record.clone())]));
    if join_all(appends).await.iter().any(Result::is_err) {
        return false;
    }
    let ends: Vec<u64> =
        (0..shards).map(|shard| sim.records(orders(shard)).last().map_or(0, |last| last.offset + 1)).collect();
    let marker = |shard| {
        let markers = state_entries(sim, shard).filter(|entry| entry.body == StateBody::Marker);
        markers.map(|marker| marker.position).max().unwrap_or(0)
    };
    for _ in 0..WAIT_S {
        if (0..shards).zip(&ends).all(|(shard, end)| marker(shard) >= *end) {
            return true;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    false
}

/// The movements that count before `until`.
fn listed(orders: &Orders, until: UnixMs) -> Listed {
    let all = orders.values().flat_map(|order| {
        let entry = |kind: &str, at: UnixMs| Some((format!("{kind} {}", order.key()), at));
        match order {
            Order::Payment(payment) => {
                let paid = payment.charge.done().and_then(|_| entry("payment", payment.charge.booked_at()));
                let reversed = payment.cancel.as_ref().and_then(|cancel| match &cancel.stage {
                    CancelStage::Reversing(reversal) => {
                        reversal.done().and_then(|_| entry("cancel", reversal.booked_at()))
                    }
                    _ => None,
                });
                vec![paid, reversed]
            }
            Order::Refund(refund) => match refund.phase {
                RefundPhase::Succeeded(_) => vec![entry("refund", refund.booked_at())],
                _ => Vec::new(),
            },
            Order::EarlyCancel(_) => Vec::new(),
        }
    });
    all.flatten().filter(|(_, at)| *at < until).collect()
}
