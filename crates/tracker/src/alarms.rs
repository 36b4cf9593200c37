//! The alarms of orders in progress: the time at which a due record must be written for each order.
//! Each issuer has its own queue of alarms, and its budget limits how many fire per second. This
//! module reads no clock; the caller passes the time.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use twqr_order::{Order, PolicyVersions};
use twqr_types::{Issuer, OrderKey, UnixMs};

use crate::budgets::{self, Budgets};

/// If no newer state follows a due record, the record is repeated after this time, in ms; the time
/// doubles up to the maximum.
const REPEAT_MS_MIN: i64 = 5_000;
const REPEAT_MS_MAX: i64 = 600_000;

/// The orders in progress and their alarms.
#[derive(Debug, Default)]
pub(crate) struct Alarms {
    orders: HashMap<OrderKey, Alarm>,
    /// The queues by issuer. Orders without an issuer share one.
    queues: BTreeMap<Option<Issuer>, Queue>,
    /// How many of the orders need an operator.
    attention: usize,
}

/// The alarm of one order.
#[derive(Debug)]
struct Alarm {
    position: u64,
    accepted_at: UnixMs,
    at: UnixMs,
    issuer: Option<Issuer>,
    /// How many inquiries a due record leads to at most, at least 1.
    inquiries: usize,
    needs_attention: bool,
    /// The time after which the alarm is repeated.
    repeat_ms: i64,
}

/// The alarms of one issuer's orders.
#[derive(Debug, Default)]
struct Queue {
    times: BTreeSet<(UnixMs, OrderKey)>,
    /// The used part of the issuer's budget: this number of inquiries since this time.
    reserved: Option<(UnixMs, usize)>,
}

impl Queue {
    /// When the next alarm fires. An alarm that is overdue waits for the budget.
    fn next(&self) -> Option<UnixMs> {
        let (first, _) = self.times.first()?;
        Some(self.reserved.map_or(*first, |(at, _)| at.max(*first)))
    }
}

impl Alarms {
    /// Sets or removes the alarm of an order, as its state requires. A state older than the last
    /// one is ignored.
    pub(crate) fn update(&mut self, order: &Order, position: u64) {
        let key = order.key();
        if self.orders.get(key).is_some_and(|known| known.position > position) {
            return;
        }
        self.remove(key);
        let Some(at) = order.wake_at() else { return };
        let issuer = order.as_payment().and_then(|payment| payment.issuer);
        let needs_attention = order.attention().is_some();
        let alarm = Alarm {
            position,
            accepted_at: order.accepted_at(),
            at,
            issuer,
            inquiries: order.movements_in_progress().max(1),
            needs_attention,
            repeat_ms: REPEAT_MS_MIN,
        };
        self.attention += usize::from(needs_attention);
        self.orders.insert(key.clone(), alarm);
        self.queues.entry(issuer).or_default().times.insert((at, key.clone()));
    }

    /// Removes the alarm of an order that is no longer in the state that set it.
    pub(crate) fn remove(&mut self, key: &OrderKey) {
        let Some(alarm) = self.orders.remove(key) else { return };
        self.attention -= usize::from(alarm.needs_attention);
        if let Some(queue) = self.queues.get_mut(&alarm.issuer) {
            queue.times.remove(&(alarm.at, key.clone()));
        }
    }

    /// The number of orders in progress that need an operator.
    pub(crate) fn attention(&self) -> usize {
        self.attention
    }

    /// When each order in progress was accepted, and its issuer, if it has one.
    pub(crate) fn accepted(&self) -> impl Iterator<Item = (UnixMs, Option<Issuer>)> {
        self.orders.values().map(|alarm| (alarm.accepted_at, alarm.issuer))
    }

    /// The time of the next alarm.
    pub(crate) fn next(&self) -> Option<UnixMs> {
        self.queues.values().filter_map(Queue::next).min()
    }

    /// Returns the orders that are due now and within their issuers' budgets, with the positions of
    /// their states. Each alarm is set again for later, until a newer state arrives.
    pub(crate) fn take_due(
        &mut self,
        now: UnixMs,
        max: usize,
        budgets: &Budgets,
        policies: Option<&PolicyVersions>,
    ) -> Vec<(OrderKey, u64)> {
        let mut due = Vec::new();
        for (issuer, queue) in &mut self.queues {
            let per_s = budgets::per_s(*issuer, policies);
            while due.len() < max && queue.next().is_some_and(|at| at <= now) {
                let Some((_, mut left)) = queue.reserved.take() else {
                    let inquiries = inquiries_due(&self.orders, queue, now, budgets::burst(per_s));
                    let at = budgets.reserve(*issuer, per_s, inquiries, now);
                    queue.reserved = Some((at, inquiries));
                    continue;
                };
                while left > 0
                    && let Some((_, key)) = queue.times.first().filter(|(at, _)| *at <= now).cloned()
                {
                    let Some(position) = ring(&mut self.orders, queue, &key, now, &mut left) else { break };
                    due.push((key, position));
                }
            }
        }
        due
    }
}

/// How many inquiries the first overdue alarms of a queue lead to: at most `burst`, or those of one
/// order if that has more.
fn inquiries_due(orders: &HashMap<OrderKey, Alarm>, queue: &Queue, now: UnixMs, burst: usize) -> usize {
    let overdue = queue.times.iter().take_while(|(at, _)| *at <= now);
    let mut inquiries = 0;
    for each in overdue.filter_map(|(_, key)| orders.get(key)).map(|alarm| alarm.inquiries) {
        if inquiries > 0 && inquiries + each > burst {
            break;
        }
        inquiries += each;
    }
    inquiries.max(1)
}

/// Rings the alarm of an order, sets it again for later, and subtracts its inquiries from `left`.
/// Returns the position of its state.
fn ring(
    orders: &mut HashMap<OrderKey, Alarm>,
    queue: &mut Queue,
    key: &OrderKey,
    now: UnixMs,
    left: &mut usize,
) -> Option<u64> {
    queue.times.pop_first();
    let alarm = orders.get_mut(key)?;
    alarm.at = now.plus(alarm.repeat_ms);
    alarm.repeat_ms = (alarm.repeat_ms * 2).min(REPEAT_MS_MAX);
    queue.times.insert((alarm.at, key.clone()));
    *left = left.saturating_sub(alarm.inquiries);
    Some(alarm.position)
}
