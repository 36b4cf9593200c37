//! Limits the calls to each issuer, so that a slow issuer delays no other. Each issuer has a lane:
//! a limit on its calls in flight, a bounded queue, a circuit breaker, and a budget of inquiries.
//! The limits come with each task, from the policy that decided it, so that a change of the policy
//! takes effect without a restart. The partitions of a worker share its lanes.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicI64, AtomicU32, AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwap;
use tokio::{sync::Notify, time::Instant};
use twqr_order::Limits;
use twqr_types::{Issuer, UnixMs};

use crate::{metrics::LaneMetrics, obstacle::Obstacle};

/// The limits of one issuer, and what is in use of them.
#[derive(Debug)]
pub(crate) struct Lane {
    limits: ArcSwap<Limits>,
    in_flight: AtomicUsize,
    queued: AtomicUsize,
    /// The number of consecutive calls without an answer that decides something.
    failures: AtomicU32,
    /// Unix ms until which the circuit is open; 0 while it is closed.
    open_until: AtomicI64,
    /// Unix µs at which the whole budget of inquiries is available again.
    inquiries_unused_at: AtomicI64,
    freed: Arc<Notify>,
    metrics: Arc<LaneMetrics>,
}

/// The lanes of a worker.
#[derive(Debug)]
pub struct Lanes {
    by: LanesBy,
    freed: Arc<Notify>,
}

#[derive(Debug)]
enum LanesBy {
    Worker(Arc<Lane>),
    Issuer(RwLock<BTreeMap<Issuer, Arc<Lane>>>),
}

/// A slot among the issuer's calls in flight, freed when this is dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<Lane>);

/// A slot in the queue, freed when this is dropped.
#[derive(Debug)]
pub(crate) struct QueuePlace {
    lane: Arc<Lane>,
    /// When the wait began.
    since: Instant,
}

/// The decision whether a transfer may be sent.
#[derive(Debug)]
pub(crate) enum Admission {
    /// It may be sent.
    Send(Place),
    /// It must wait for a slot in flight.
    Wait(QueuePlace),
    /// It must not be sent, for this reason.
    Refused(Obstacle),
}

impl Lanes {
    /// Makes one lane for all issuers.
    pub fn single() -> Self {
        let freed = Arc::new(Notify::new());
        Self { by: LanesBy::Worker(Arc::new(Lane::new(Issuer::Wallet, Limits::default(), freed.clone()))), freed }
    }

    /// Makes a lane for each institution, when it is first asked for.
    pub fn by_institution() -> Self {
        Self { by: LanesBy::Issuer(RwLock::default()), freed: Arc::default() }
    }

    /// Returns the lane of this issuer, and applies these limits to it.
    pub(crate) fn of(&self, issuer: Issuer, limits: Limits) -> Arc<Lane> {
        let lane = match &self.by {
            LanesBy::Worker(lane) => lane.clone(),
            LanesBy::Issuer(lanes) => {
                let known = lanes.read().unwrap_or_else(PoisonError::into_inner).get(&issuer).cloned();
                known.unwrap_or_else(|| {
                    let mut lanes = lanes.write().unwrap_or_else(PoisonError::into_inner);
                    let new = || Arc::new(Lane::new(issuer, limits, self.freed.clone()));
                    lanes.entry(issuer).or_insert_with(new).clone()
                })
            }
        };
        if **lane.limits.load() != limits {
            lane.limits.store(Arc::new(limits));
            lane.metrics.set_limits(limits);
        }
        lane
    }

    /// Notified when a slot in flight is freed, or a circuit closes, while transfers wait.
    pub(crate) fn freed(&self) -> Arc<Notify> {
        self.freed.clone()
    }
}

/// The time in µs for which an issuer's budget of inquiries may be used in advance, so that some
/// can be made at once.
const INQUIRY_BURST_US: i64 = 100_000;

impl Lane {
    fn new(issuer: Issuer, limits: Limits, freed: Arc<Notify>) -> Self {
        let metrics = LaneMetrics::of(issuer);
        metrics.set_limits(limits);
        Self {
            limits: ArcSwap::from_pointee(limits),
            in_flight: AtomicUsize::new(0),
            queued: AtomicUsize::new(0),
            failures: AtomicU32::new(0),
            open_until: AtomicI64::new(0),
            inquiries_unused_at: AtomicI64::new(0),
            freed,
            metrics,
        }
    }

    /// The metrics of the lane's issuer.
    pub(crate) fn metrics(&self) -> &LaneMetrics {
        &self.metrics
    }

    /// Decides about a new transfer.
    pub(crate) fn admit(self: &Arc<Self>, now: UnixMs) -> Admission {
        match self.take_place(now) {
            Ok(Some(place)) => Admission::Send(place),
            Ok(None) => self.take_queue_place().map_or(Admission::Refused(Obstacle::LaneFull), Admission::Wait),
            Err(why) => Admission::Refused(why),
        }
    }

    /// Takes a slot in the queue if one is free.
    pub(crate) fn take_queue_place(self: &Arc<Self>) -> Option<QueuePlace> {
        if self.queued.fetch_add(1, Ordering::AcqRel) < self.limits.load().queue_max as usize {
            self.metrics.queued.increment(1.0);
            return Some(QueuePlace { lane: self.clone(), since: Instant::now() });
        }
        self.queued.fetch_sub(1, Ordering::AcqRel);
        None
    }

    /// Takes a slot in flight if one is free. An error is the reason why the issuer gets no calls
    /// at present.
    pub(crate) fn take_place(self: &Arc<Self>, now: UnixMs) -> Result<Option<Place>, Obstacle> {
        let limits = self.limits.load();
        let open_until = self.open_until.load(Ordering::Acquire);
        if open_until > 0 {
            // Once the circuit has been open for `open_ms`, one trial call is admitted. The others
            // are refused until it is answered, or until `open_ms` has passed again.
            let retry_at = now.plus(limits.open_ms.into()).0;
            let is_trial = now.0 >= open_until
                && self.open_until.compare_exchange(open_until, retry_at, Ordering::AcqRel, Ordering::Acquire).is_ok();
            if !is_trial {
                return Err(Obstacle::CircuitOpen);
            }
        }
        if self.in_flight.fetch_add(1, Ordering::AcqRel) >= limits.in_flight_max as usize {
            self.in_flight.fetch_sub(1, Ordering::AcqRel);
            return Ok(None);
        }
        self.metrics.in_flight.increment(1.0);
        Ok(Some(Place(self.clone())))
    }

    /// Takes one inquiry from the budget; fails if the budget is used up for now.
    pub(crate) fn take_inquiry(&self, now: UnixMs) -> Result<(), Obstacle> {
        let now_us = now.0.saturating_mul(1_000);
        let each_us = 1_000_000 / i64::from(self.limits.load().inquiries_per_s.max(1));
        let take = |unused_at: i64| {
            let next = unused_at.max(now_us).saturating_add(each_us);
            (next <= now_us.saturating_add(INQUIRY_BURST_US.max(each_us))).then_some(next)
        };
        let taken = self.inquiries_unused_at.fetch_update(Ordering::AcqRel, Ordering::Acquire, take);
        taken.map(|_| ()).map_err(|_| Obstacle::BudgetUsedUp)
    }

    /// Closes the circuit, since the issuer answered a call. A refusal counts, too; an answer that
    /// decides nothing does not.
    pub(crate) fn answered(&self) {
        self.failures.store(0, Ordering::Release);
        let was_open = self.open_until.swap(0, Ordering::AcqRel) > 0;
        if was_open {
            self.metrics.circuit_open.set(0.0);
        }
        if was_open && self.queued.load(Ordering::Acquire) > 0 {
            self.freed.notify_waiters();
        }
    }

    /// When the open circuit admits its next trial call; `None` while the circuit is closed.
    pub(crate) fn next_trial(&self) -> Option<UnixMs> {
        let open_until = self.open_until.load(Ordering::Acquire);
        (open_until > 0).then_some(UnixMs(open_until))
    }

    /// Counts a call that the issuer did not answer in time, or without deciding anything. Too many
    /// in a row open the circuit.
    pub(crate) fn failed(&self, now: UnixMs) {
        let limits = self.limits.load();
        if self.failures.fetch_add(1, Ordering::AcqRel) + 1 >= limits.failures_to_open {
            let was_open = self.open_until.swap(now.plus(limits.open_ms.into()).0, Ordering::AcqRel) > 0;
            if !was_open {
                self.metrics.circuit_open.set(1.0);
                self.metrics.circuit_opened.increment(1);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
        self.0.metrics.in_flight.decrement(1.0);
        if self.0.queued.load(Ordering::Acquire) > 0 {
            self.0.freed.notify_waiters();
        }
    }
}

impl Drop for QueuePlace {
    fn drop(&mut self) {
        self.lane.queued.fetch_sub(1, Ordering::AcqRel);
        self.lane.metrics.queued.decrement(1.0);
        self.lane.metrics.queue_wait.record(self.since.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use twqr_types::InstitutionCode;

    use super::*;

    fn issuer(code: &str) -> Issuer {
        Issuer::Institution(InstitutionCode::parse(code).unwrap())
    }

    fn lane(limits: Limits) -> Arc<Lane> {
        Lanes::by_institution().of(issuer("004"), limits)
    }

    const SMALL: Limits =
        Limits { in_flight_max: 2, queue_max: 1, failures_to_open: 3, open_ms: 100, inquiries_per_s: 10 };

    fn name(admission: &Admission) -> &'static str {
        match admission {
            Admission::Refused(why) => why.text(),
            Admission::Send(_) => "send",
            Admission::Wait(_) => "wait",
        }
    }

    #[test]
    fn a_full_lane_queues_and_then_refuses() {
        let lane = lane(SMALL);
        let at = UnixMs(1);
        let (Admission::Send(first), Admission::Send(_second)) = (lane.admit(at), lane.admit(at)) else {
            unreachable!()
        };
        let Admission::Wait(third) = lane.admit(at) else { unreachable!("the queue has one place") };
        assert!(name(&lane.admit(at)).contains("queue is full"));
        assert!(lane.take_place(at).unwrap().is_none(), "no place was given back");
        drop(first);
        assert!(lane.take_place(at).unwrap().is_some());
        drop(third);
        assert!(lane.take_queue_place().is_some(), "its place in the queue was given back");
    }

    #[test]
    fn an_open_circuit_admits_one_trial_call_after_its_time() {
        let lane = lane(SMALL);
        for _ in 0..3 {
            lane.failed(UnixMs(10));
        }
        assert!(name(&lane.admit(UnixMs(109))).contains("circuit"));
        assert_eq!(name(&lane.admit(UnixMs(110))), "send", "a trial call is admitted");
        assert!(name(&lane.admit(UnixMs(111))).contains("circuit"), "a second trial is refused");
        lane.answered();
        assert_eq!(name(&lane.admit(UnixMs(112))), "send");
    }

    #[test]
    fn limits_change_while_calls_are_in_flight() {
        let lanes = Lanes::by_institution();
        let lane = |limits| lanes.of(issuer("004"), limits);
        let at = UnixMs(1);
        let (Admission::Send(_first), Admission::Send(_second)) = (lane(SMALL).admit(at), lane(SMALL).admit(at)) else {
            unreachable!()
        };
        assert_eq!(name(&lane(SMALL).admit(at)), "wait");
        let wider = Limits { in_flight_max: 3, ..SMALL };
        assert_eq!(name(&lane(wider).admit(at)), "send");
    }

    #[test]
    fn institutions_have_separate_lanes_unless_there_is_a_single_one() {
        let at = UnixMs(1);
        for (lanes, other) in [(Lanes::by_institution(), "send"), (Lanes::single(), "wait")] {
            let full = lanes.of(issuer("004"), SMALL);
            let _places = [full.admit(at), full.admit(at)];
            assert_eq!(name(&lanes.of(issuer("004"), SMALL).admit(at)), "wait");
            assert_eq!(name(&lanes.of(issuer("812"), SMALL).admit(at)), other, "{lanes:?}");
        }
    }

    #[test]
    fn inquiries_stay_within_their_budget_per_second() {
        let lane = lane(SMALL);
        let inquiries = (0..5_000).filter(|ms| lane.take_inquiry(UnixMs(1_000_000 + ms)).is_ok()).count();
        assert!((49..=52).contains(&inquiries), "10 a second over 5 s: {inquiries}");
    }
}
