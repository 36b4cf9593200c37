//! When to wake which order: pure, no clock.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

use twqr_order::Order;
use twqr_types::{OrderKey, UnixMs};

/// If no newer state appears after a due record, the next one follows after this, in ms; doubles up
/// to the maximum.
const AGAIN_MS_MIN: i64 = 5_000;
const AGAIN_MS_MAX: i64 = 60_000;

/// The orders in progress and their times.
#[derive(Debug, Default)]
pub(crate) struct Alarms {
    orders: HashMap<OrderKey, Alarm>,
    times: BinaryHeap<Reverse<(UnixMs, OrderKey)>>,
}

/// When one order is due.
#[derive(Debug)]
struct Alarm {
    position: u64,
    accepted_at: UnixMs,
    at: UnixMs,
    again_ms: i64,
}

impl Alarms {
    /// Takes a state; an older one than is known changes nothing.
    pub(crate) fn learn(&mut self, order: &Order, position: u64) {
        let key = order.key();
        if self.orders.get(key).is_some_and(|known| known.position > position) {
            return;
        }
        match order.due_at() {
            Some(at) => {
                let accepted_at = order.accepted_at();
                self.orders.insert(key.clone(), Alarm { position, accepted_at, at, again_ms: AGAIN_MS_MIN });
                self.times.push(Reverse((at, key.clone())));
            }
            None => drop(self.orders.remove(key)),
        }
    }

    /// Whether the order is in progress as far as is known here.
    pub(crate) fn knows(&self, key: &OrderKey) -> bool {
        self.orders.contains_key(key)
    }

    /// How many orders are in progress.
    pub(crate) fn len(&self) -> usize {
        self.orders.len()
    }

    /// When the oldest of them was accepted.
    pub(crate) fn oldest(&self) -> Option<UnixMs> {
        self.orders.values().map(|alarm| alarm.accepted_at).min()
    }

    /// The next time at which somebody is due.
    pub(crate) fn next(&self) -> Option<UnixMs> {
        self.times.peek().map(|Reverse((at, _))| *at)
    }

    /// Who is due now; each comes again later unless a newer state is learnt.
    pub(crate) fn ring(&mut self, now: UnixMs, max: usize) -> Vec<OrderKey> {
        let mut due = Vec::new();
        while due.len() < max && self.next().is_some_and(|at| at <= now) {
            let Some(Reverse((at, key))) = self.times.pop() else { break };
            let Some(alarm) = self.orders.get_mut(&key).filter(|alarm| alarm.at == at) else { continue };
            alarm.at = now.plus(alarm.again_ms);
            alarm.again_ms = (alarm.again_ms * 2).min(AGAIN_MS_MAX);
            self.times.push(Reverse((alarm.at, key.clone())));
            due.push(key);
        }
        due
    }
}
