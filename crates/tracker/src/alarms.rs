//! When to wake which order: pure, no clock.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

use twqr_order::{ASKING_MS_MAX, Payment, Phase};
use twqr_types::{OrderKey, UnixMs};

/// If no newer state appears after a due record, the next one follows after this, in ms; doubles up to the maximum.
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
    /// Takes a state; an older one than is known changes nothing. An order with its inquiry out is due when no outcome can come any more.
    pub(crate) fn learn(&mut self, payment: &Payment, position: u64) {
        if self.orders.get(&payment.key).is_some_and(|known| known.position > position) {
            return;
        }
        let at = match &payment.phase {
            Phase::Paying { .. } => Some(payment.absent_after.plus(1)),
            Phase::Unresolved { next_check } => Some(*next_check),
            Phase::Asking { .. } => Some(payment.changed_at.plus(ASKING_MS_MAX)),
            Phase::Paid(_) | Phase::Failed(_) => None,
        };
        match at {
            Some(at) => {
                self.orders.insert(
                    payment.key.clone(),
                    Alarm { position, accepted_at: payment.accepted_at, at, again_ms: AGAIN_MS_MIN },
                );
                self.times.push(Reverse((at, payment.key.clone())));
            }
            None => drop(self.orders.remove(&payment.key)),
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
