//! One lane for each issuer, so that a slow one stops nobody else: a bound on calls in flight, a
//! bounded queue before it, a circuit breaker, and a budget of inquiries. The limits come with each
//! task, from the policy that decided it, so that they change without a restart. Lanes are shared
//! by the partitions of a worker.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicI64, AtomicU32, AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use twqr_order::Limits;
use twqr_types::UnixMs;

/// A lane.
#[derive(Debug)]
pub(crate) struct Lane {
    limits: ArcSwap<Limits>,
    in_flight: AtomicUsize,
    queued: AtomicUsize,
    failures: AtomicU32,
    /// Unix ms until which the circuit is open; 0 while it is closed.
    open_until: AtomicI64,
    /// Unix µs at which the budget of inquiries is whole again.
    inquiries_whole_at: AtomicI64,
    freed: Arc<Notify>,
}

/// The lanes of a worker, by institution code; the empty code is the wallet.
#[derive(Debug, Default)]
pub struct Lanes {
    by_institution: RwLock<BTreeMap<String, Arc<Lane>>>,
    freed: Arc<Notify>,
}

/// A place in flight, given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<Lane>);

/// A place in the queue, given back when this is dropped.
#[derive(Debug)]
pub(crate) struct QueuePlace(Arc<Lane>);

/// Whether a transfer may go.
#[derive(Debug)]
pub(crate) enum Admission {
    /// It has a place in flight.
    Go(Place),
    /// It waits for one.
    Wait(QueuePlace),
    /// It is not sent, for this reason.
    Refused(&'static str),
}

impl Lanes {
    /// The lane of an institution, under these limits from now on.
    pub(crate) fn of(&self, institution: &str, limits: Limits) -> Arc<Lane> {
        let known = self.by_institution.read().unwrap_or_else(PoisonError::into_inner).get(institution).cloned();
        let lane = known.unwrap_or_else(|| {
            let mut lanes = self.by_institution.write().unwrap_or_else(PoisonError::into_inner);
            let new = || Arc::new(Lane::new(limits, self.freed.clone()));
            lanes.entry(institution.to_owned()).or_insert_with(new).clone()
        });
        if **lane.limits.load() != limits {
            lane.limits.store(Arc::new(limits));
        }
        lane
    }

    /// Fires when a place in flight is given back while transfers wait.
    pub(crate) fn freed(&self) -> Arc<Notify> {
        self.freed.clone()
    }
}

/// How many inquiries may be asked at once before the budget spaces them, as a share of a second.
const INQUIRY_BURST_US: i64 = 100_000;

impl Lane {
    fn new(limits: Limits, freed: Arc<Notify>) -> Self {
        Self {
            limits: ArcSwap::from_pointee(limits),
            in_flight: AtomicUsize::new(0),
            queued: AtomicUsize::new(0),
            failures: AtomicU32::new(0),
            open_until: AtomicI64::new(0),
            inquiries_whole_at: AtomicI64::new(0),
            freed,
        }
    }

    /// A fresh transfer comes: it goes, waits, or is not sent.
    pub(crate) fn admit(self: &Arc<Self>, now: UnixMs) -> Admission {
        match self.go(now) {
            Ok(Some(place)) => Admission::Go(place),
            Ok(None) if self.queued.fetch_add(1, Ordering::AcqRel) < self.limits.load().queue_max as usize => {
                Admission::Wait(QueuePlace(self.clone()))
            }
            Ok(None) => {
                self.queued.fetch_sub(1, Ordering::AcqRel);
                Admission::Refused("too many calls to the issuer are in flight, and its queue is full")
            }
            Err(why) => Admission::Refused(why),
        }
    }

    /// The same for a transfer that waits; it keeps its place in the queue while it waits on.
    pub(crate) fn readmit(self: &Arc<Self>, waiting: QueuePlace, now: UnixMs) -> Admission {
        match self.go(now) {
            Ok(Some(place)) => Admission::Go(place),
            Ok(None) => Admission::Wait(waiting),
            Err(why) => Admission::Refused(why),
        }
    }

    fn go(self: &Arc<Self>, now: UnixMs) -> Result<Option<Place>, &'static str> {
        let limits = self.limits.load();
        let open_until = self.open_until.load(Ordering::Acquire);
        if open_until > 0 {
            let retry_at = now.plus(limits.open_ms.into()).0;
            let one_tries = now.0 >= open_until
                && self.open_until.compare_exchange(open_until, retry_at, Ordering::AcqRel, Ordering::Acquire).is_ok();
            if !one_tries {
                return Err("the issuer has not answered lately; its circuit is open");
            }
        }
        if self.in_flight.fetch_add(1, Ordering::AcqRel) >= limits.in_flight_max as usize {
            self.in_flight.fetch_sub(1, Ordering::AcqRel);
            return Ok(None);
        }
        Ok(Some(Place(self.clone())))
    }

    /// Takes one inquiry from the budget, or says why there is none.
    pub(crate) fn may_inquire(&self, now: UnixMs) -> Result<(), &'static str> {
        let now_us = now.0.saturating_mul(1_000);
        let each_us = 1_000_000 / i64::from(self.limits.load().inquiries_per_s.max(1));
        let take = |whole_at: i64| {
            let next = whole_at.max(now_us).saturating_add(each_us);
            (next <= now_us.saturating_add(INQUIRY_BURST_US.max(each_us))).then_some(next)
        };
        let taken = self.inquiries_whole_at.fetch_update(Ordering::AcqRel, Ordering::Acquire, take);
        taken.map(|_| ()).map_err(|_| "the issuer's budget of inquiries is used up for now")
    }

    /// The issuer answered something.
    pub(crate) fn answered(&self) {
        self.failures.store(0, Ordering::Release);
        self.open_until.store(0, Ordering::Release);
    }

    /// The issuer did not answer in time.
    pub(crate) fn failed(&self, now: UnixMs) {
        let limits = self.limits.load();
        if self.failures.fetch_add(1, Ordering::AcqRel) + 1 >= limits.failures_to_open {
            self.open_until.store(now.plus(limits.open_ms.into()).0, Ordering::Release);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
        if self.0.queued.load(Ordering::Acquire) > 0 {
            self.0.freed.notify_waiters();
        }
    }
}

impl Drop for QueuePlace {
    fn drop(&mut self) {
        self.0.queued.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(limits: Limits) -> Arc<Lane> {
        Lanes::default().of("004", limits)
    }

    const SMALL: Limits =
        Limits { in_flight_max: 2, queue_max: 1, failures_to_open: 3, open_ms: 100, inquiries_per_s: 10 };

    fn refusal(admission: &Admission) -> &'static str {
        match admission {
            Admission::Refused(why) => why,
            Admission::Go(_) => "go",
            Admission::Wait(_) => "wait",
        }
    }

    #[test]
    fn a_full_lane_queues_and_then_refuses() {
        let lane = lane(SMALL);
        let at = UnixMs(1);
        let (Admission::Go(first), Admission::Go(_second)) = (lane.admit(at), lane.admit(at)) else { unreachable!() };
        let Admission::Wait(third) = lane.admit(at) else { unreachable!("the queue has one place") };
        assert!(refusal(&lane.admit(at)).contains("queue is full"));
        let Admission::Wait(third) = lane.readmit(third, at) else { unreachable!("nothing was given back") };
        drop(first);
        assert_eq!(refusal(&lane.readmit(third, at)), "go");
        assert_eq!(lane.queued.load(Ordering::Acquire), 0, "its place in the queue was given back");
    }

    #[test]
    fn an_open_circuit_lets_one_try() {
        let lane = lane(SMALL);
        for _ in 0..3 {
            lane.failed(UnixMs(10));
        }
        assert!(refusal(&lane.admit(UnixMs(109))).contains("circuit"));
        assert_eq!(refusal(&lane.admit(UnixMs(110))), "go", "one tries");
        assert!(refusal(&lane.admit(UnixMs(111))).contains("circuit"), "only one");
        lane.answered();
        assert_eq!(refusal(&lane.admit(UnixMs(112))), "go");
    }

    #[test]
    fn limits_change_while_calls_are_in_flight() {
        let lanes = Lanes::default();
        let at = UnixMs(1);
        let (Admission::Go(_first), Admission::Go(_second)) =
            (lanes.of("004", SMALL).admit(at), lanes.of("004", SMALL).admit(at))
        else {
            unreachable!()
        };
        assert_eq!(refusal(&lanes.of("004", SMALL).admit(at)), "wait");
        let wider = Limits { in_flight_max: 3, ..SMALL };
        assert_eq!(refusal(&lanes.of("004", wider).admit(at)), "go");
        assert_eq!(refusal(&lanes.of("812", SMALL).admit(at)), "go", "another institution has its own lane");
    }

    #[test]
    fn inquiries_keep_to_their_budget_over_any_second() {
        let lane = lane(SMALL);
        let asked = (0..5_000).filter(|ms| lane.may_inquire(UnixMs(1_000_000 + ms)).is_ok()).count();
        assert!((49..=52).contains(&asked), "10 a second over 5 s: {asked}");
    }
}
