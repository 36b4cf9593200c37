//! The undecided calls of one shard, without a clock: which calls may enter, and when the shard's
//! delay must be measured.
//!
//! A call is undecided from its admission until a reply shows that a router has read its record.
//! That may be its own reply, or that of a probe which was appended behind it: a shard is read in
//! order. So the time that an issuer takes never counts.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use tokio::time::Instant;

use super::delay_limit::{AdmissionSettings, DelayLimit};

/// One part in this many of the limit is reserved for calls about accepted orders.
const RESERVED_PART: usize = 8;
/// Up to this many undecided calls need no measurement. It is below each `limit_min`, so that a
/// limit never binds without one.
const UNMEASURED_MAX: usize = 3;
/// A call that has been undecided for this long is measured even alone: its reply was lost, or its
/// caller left.
const OLD_AFTER: Duration = Duration::from_secs(2);

/// Which calls go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Priority {
    /// It is about an order that was accepted: an inquiry, a refund, a cancel or a repeat.
    Accepted,
    /// It asks for a new payment.
    New,
}

/// The reason why a call is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShedReason {
    /// As many calls of its shard are undecided as may be.
    Limit,
    /// The places left are reserved for calls about accepted orders.
    Reserved,
    /// Places are scarce, and its caller has its fair share of them.
    Share,
}

/// Stands for one caller: a hash of its MerchantID.
pub(super) type CallerHash = u64;

#[derive(Clone, Copy, Debug)]
struct UndecidedCall {
    caller: CallerHash,
    since: Instant,
}

/// The measurement to start: the calls before `mark` are decided when its probe is answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measurement {
    mark: u64,
    began: Instant,
}

/// The undecided calls of one shard.
#[derive(Debug)]
pub(super) struct Lane {
    limit: DelayLimit,
    undecided: BTreeMap<u64, UndecidedCall>,
    /// How many undecided calls each caller has, without zeros: never more entries than calls.
    by_caller: HashMap<CallerHash, usize>,
    next: u64,
    /// The most undecided calls since the last measurement.
    used_max: usize,
    /// Whether a measurer works on this lane.
    is_measured: bool,
}

impl Lane {
    pub(super) fn new(settings: AdmissionSettings) -> Self {
        Self {
            limit: DelayLimit::new(settings),
            undecided: BTreeMap::new(),
            by_caller: HashMap::new(),
            next: 0,
            used_max: 0,
            is_measured: false,
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit.current()
    }

    pub(super) fn undecided(&self) -> usize {
        self.undecided.len()
    }

    /// Admits a call; the number names it until it is decided.
    pub(super) fn admit(&mut self, caller: CallerHash, priority: Priority, now: Instant) -> Result<u64, ShedReason> {
        self.check(caller, priority)?;
        let number = self.next;
        self.next += 1;
        self.undecided.insert(number, UndecidedCall { caller, since: now });
        *self.by_caller.entry(caller).or_default() += 1;
        self.used_max = self.used_max.max(self.undecided.len());
        Ok(number)
    }

    fn check(&self, caller: CallerHash, priority: Priority) -> Result<(), ShedReason> {
        let (limit, used) = (self.limit.current(), self.undecided.len());
        let for_new = limit - limit.div_ceil(RESERVED_PART);
        if used >= limit {
            return Err(ShedReason::Limit);
        }
        let (places, scarce_from) = match priority {
            Priority::Accepted => (limit, usize::midpoint(for_new, limit)),
            Priority::New if used >= for_new => return Err(ShedReason::Reserved),
            Priority::New => (for_new, for_new * 3 / 4),
        };
        let has = self.by_caller.get(&caller).copied().unwrap_or_default();
        let callers = self.by_caller.len() + usize::from(has == 0);
        // A caller without any undecided call always has less than its share.
        if used >= scarce_from && has > 0 && has >= places / callers {
            return Err(ShedReason::Share);
        }
        Ok(())
    }

    /// A reply shows that the call was decided, or it was never appended.
    pub(super) fn decide(&mut self, number: u64) {
        if let Some(call) = self.undecided.remove(&number) {
            self.release(call.caller);
        }
    }

    fn release(&mut self, caller: CallerHash) {
        if let Some(count) = self.by_caller.get_mut(&caller) {
            *count -= 1;
            if *count == 0 {
                self.by_caller.remove(&caller);
            }
        }
    }

    /// Whether a measurer must begin to work on this lane; it works until [`Lane::measure`] returns
    /// `None`.
    pub(super) fn needs_measurer(&mut self, now: Instant) -> bool {
        let begins = !self.is_measured && self.needs_measurement(now);
        self.is_measured |= begins;
        begins
    }

    fn needs_measurement(&self, now: Instant) -> bool {
        let is_old = |call: &UndecidedCall| now.saturating_duration_since(call.since) >= OLD_AFTER;
        self.undecided.len() > UNMEASURED_MAX || self.undecided.values().next().is_some_and(is_old)
    }

    /// Begins a measurement: a probe must be appended now. `None` if the lane needs no further one;
    /// its measurer ends.
    pub(super) fn measure(&mut self, now: Instant) -> Option<Measurement> {
        self.is_measured = self.needs_measurement(now);
        self.is_measured.then_some(Measurement { mark: self.next, began: now })
    }

    /// The probe was answered: every call before it is decided. Returns the delay.
    pub(super) fn answered(&mut self, measurement: Measurement, now: Instant) -> Duration {
        let later = self.undecided.split_off(&measurement.mark);
        for call in std::mem::replace(&mut self.undecided, later).into_values() {
            self.release(call.caller);
        }
        self.observe(measurement, now)
    }

    /// The probe was not answered in time. Returns how long it waited, as the delay.
    pub(super) fn unanswered(&mut self, measurement: Measurement, now: Instant) -> Duration {
        self.observe(measurement, now)
    }

    fn observe(&mut self, measurement: Measurement, now: Instant) -> Duration {
        let delay = now.saturating_duration_since(measurement.began);
        self.limit.observe(delay, self.used_max);
        self.used_max = self.undecided.len();
        delay
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
