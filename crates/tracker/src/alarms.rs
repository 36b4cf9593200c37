//! The alarms of orders in progress: the time at which a due record must be written for each order.
//! This module reads no clock; the caller passes the time.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

use twqr_order::Order;
use twqr_types::{OrderKey, UnixMs};

/// If no newer state follows a due record, the record is repeated after this time, in ms; the time
/// doubles up to the maximum.
const REPEAT_MS_MIN: i64 = 5_000;
const REPEAT_MS_MAX: i64 = 60_000;

/// The orders in progress and their alarms.
#[derive(Debug, Default)]
pub(crate) struct Alarms {
    orders: HashMap<OrderKey, Alarm>,
    /// The alarm times. An entry counts only if the order's alarm still has this time.
    times: BinaryHeap<Reverse<(UnixMs, OrderKey)>>,
}

/// The alarm of one order.
#[derive(Debug)]
struct Alarm {
    position: u64,
    accepted_at: UnixMs,
    at: UnixMs,
    /// The time after which the alarm is repeated.
    repeat_ms: i64,
}

impl Alarms {
    /// Sets or removes the alarm of an order, as its state requires. A state older than the last
    /// one is ignored.
    pub(crate) fn update(&mut self, order: &Order, position: u64) {
        let key = order.key();
        if self.orders.get(key).is_some_and(|known| known.position > position) {
            return;
        }
        match order.due_at() {
            Some(at) => {
                let accepted_at = order.accepted_at();
                self.orders.insert(key.clone(), Alarm { position, accepted_at, at, repeat_ms: REPEAT_MS_MIN });
                self.times.push(Reverse((at, key.clone())));
            }
            None => drop(self.orders.remove(key)),
        }
    }

    /// Removes the alarm of an order that is no longer in the state that set it.
    pub(crate) fn remove(&mut self, key: &OrderKey) {
        self.orders.remove(key);
    }

    /// The number of orders in progress.
    pub(crate) fn len(&self) -> usize {
        self.orders.len()
    }

    /// When the oldest order in progress was accepted.
    pub(crate) fn oldest(&self) -> Option<UnixMs> {
        self.orders.values().map(|alarm| alarm.accepted_at).min()
    }

    /// The time of the next alarm.
    pub(crate) fn next(&self) -> Option<UnixMs> {
        self.times.peek().map(|Reverse((at, _))| *at)
    }

    /// Returns the orders that are due now, with the positions of their states. Each alarm is set
    /// again for later, until a newer state arrives.
    pub(crate) fn take_due(&mut self, now: UnixMs, max: usize) -> Vec<(OrderKey, u64)> {
        let mut due = Vec::new();
        while due.len() < max && self.next().is_some_and(|at| at <= now) {
            let Some(Reverse((at, key))) = self.times.pop() else { break };
            let Some(alarm) = self.orders.get_mut(&key).filter(|alarm| alarm.at == at) else { continue };
            alarm.at = now.plus(alarm.repeat_ms);
            alarm.repeat_ms = (alarm.repeat_ms * 2).min(REPEAT_MS_MAX);
            self.times.push(Reverse((alarm.at, key.clone())));
            due.push((key, alarm.position));
        }
        due
    }
}
