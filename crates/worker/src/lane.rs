//! One lane for each issuer, so that a slow one stops nobody else: a bound on calls in flight, a bounded queue before it, a circuit
//! breaker, a budget of inquiries, and announced maintenance. Lanes are shared by the partitions of a worker without a lock.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU32, AtomicUsize, Ordering},
    },
};

use tokio::sync::Notify;
use twqr_types::UnixMs;

/// The limits of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneSettings {
    /// Charges in flight at the most: 1 to 100,000.
    pub in_flight_max: usize,
    /// Fresh charges that wait for a place: 0 to 100,000. One beyond is not sent.
    pub queue_max: usize,
    /// So many calls without an answer, one after the other, open the circuit: 1 to 10,000.
    pub failures_to_open: u32,
    /// How long an open circuit stays open before one call tries again, in ms: 10 to 600,000.
    pub open_ms: i64,
    /// Inquiries a second: 1 to 100,000. One beyond stays unanswered and is asked later.
    pub inquiries_per_s: u32,
}

impl Default for LaneSettings {
    fn default() -> Self {
        Self { in_flight_max: 512, queue_max: 2_048, failures_to_open: 20, open_ms: 2_000, inquiries_per_s: 500 }
    }
}

/// An announced window in which an issuer is neither charged nor asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Maintenance {
    /// Its first millisecond.
    pub from: UnixMs,
    /// The first millisecond after it.
    pub to: UnixMs,
}

/// A lane.
#[derive(Debug)]
pub(crate) struct Lane {
    settings: LaneSettings,
    maintenance: Vec<Maintenance>,
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
#[derive(Debug)]
pub struct Lanes {
    by_institution: BTreeMap<String, Arc<Lane>>,
    other: Arc<Lane>,
    freed: Arc<Notify>,
}

/// A place in flight, given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<Lane>);

/// A place in the queue, given back when this is dropped.
#[derive(Debug)]
pub(crate) struct QueuePlace(Arc<Lane>);

/// Whether a charge may go.
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
    /// Named lanes with their maintenance, and one that all institutions share that have none of their own.
    pub fn new(named: impl IntoIterator<Item = (String, LaneSettings, Vec<Maintenance>)>, other: LaneSettings) -> Self {
        let freed = Arc::new(Notify::new());
        let lane = |settings, maintenance| Arc::new(Lane::new(settings, maintenance, freed.clone()));
        let by_institution =
            named.into_iter().map(|(code, settings, maintenance)| (code, lane(settings, maintenance))).collect();
        let other = lane(other, Vec::new());
        Self { by_institution, other, freed }
    }

    /// The lane of an institution.
    pub(crate) fn of(&self, institution: &str) -> &Arc<Lane> {
        self.by_institution.get(institution).unwrap_or(&self.other)
    }

    /// Fires when a place in flight is given back while charges wait.
    pub(crate) fn freed(&self) -> Arc<Notify> {
        self.freed.clone()
    }
}

const MAINTENANCE: &str = "the issuer is in announced maintenance";
/// How many inquiries may be asked at once before the budget spaces them, as a share of a second.
const INQUIRY_BURST_US: i64 = 100_000;

impl Lane {
    fn new(settings: LaneSettings, maintenance: Vec<Maintenance>, freed: Arc<Notify>) -> Self {
        Self {
            settings,
            maintenance,
            in_flight: AtomicUsize::new(0),
            queued: AtomicUsize::new(0),
            failures: AtomicU32::new(0),
            open_until: AtomicI64::new(0),
            inquiries_whole_at: AtomicI64::new(0),
            freed,
        }
    }

    /// A fresh charge comes: it goes, waits, or is not sent.
    pub(crate) fn admit(self: &Arc<Self>, now: UnixMs) -> Admission {
        match self.go(now) {
            Ok(Some(place)) => Admission::Go(place),
            Ok(None) if self.queued.fetch_add(1, Ordering::AcqRel) < self.settings.queue_max => {
                Admission::Wait(QueuePlace(self.clone()))
            }
            Ok(None) => {
                self.queued.fetch_sub(1, Ordering::AcqRel);
                Admission::Refused("too many calls to the issuer are in flight, and its queue is full")
            }
            Err(why) => Admission::Refused(why),
        }
    }

    /// The same for a charge that waits; it keeps its place in the queue while it waits on.
    pub(crate) fn readmit(self: &Arc<Self>, waiting: QueuePlace, now: UnixMs) -> Admission {
        match self.go(now) {
            Ok(Some(place)) => Admission::Go(place),
            Ok(None) => Admission::Wait(waiting),
            Err(why) => Admission::Refused(why),
        }
    }

    fn go(self: &Arc<Self>, now: UnixMs) -> Result<Option<Place>, &'static str> {
        if self.in_maintenance(now) {
            return Err(MAINTENANCE);
        }
        let open_until = self.open_until.load(Ordering::Acquire);
        if open_until > 0 {
            let retry_at = now.plus(self.settings.open_ms).0;
            let one_tries = now.0 >= open_until
                && self.open_until.compare_exchange(open_until, retry_at, Ordering::AcqRel, Ordering::Acquire).is_ok();
            if !one_tries {
                return Err("the issuer has not answered lately; its circuit is open");
            }
        }
        if self.in_flight.fetch_add(1, Ordering::AcqRel) >= self.settings.in_flight_max {
            self.in_flight.fetch_sub(1, Ordering::AcqRel);
            return Ok(None);
        }
        Ok(Some(Place(self.clone())))
    }

    fn in_maintenance(&self, now: UnixMs) -> bool {
        self.maintenance.iter().any(|window| window.from <= now && now < window.to)
    }

    /// Takes one inquiry from the budget, or says why there is none.
    pub(crate) fn may_inquire(&self, now: UnixMs) -> Result<(), &'static str> {
        if self.in_maintenance(now) {
            return Err(MAINTENANCE);
        }
        let now_us = now.0.saturating_mul(1_000);
        let each_us = 1_000_000 / i64::from(self.settings.inquiries_per_s.max(1));
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
        if self.failures.fetch_add(1, Ordering::AcqRel) + 1 >= self.settings.failures_to_open {
            self.open_until.store(now.plus(self.settings.open_ms).0, Ordering::Release);
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

    fn lane(settings: LaneSettings, maintenance: &[(i64, i64)]) -> Arc<Lane> {
        let windows = maintenance.iter().map(|(from, to)| Maintenance { from: UnixMs(*from), to: UnixMs(*to) });
        let lanes = Lanes::new([("004".to_owned(), settings, windows.collect())], LaneSettings::default());
        lanes.of("004").clone()
    }

    const SMALL: LaneSettings =
        LaneSettings { in_flight_max: 2, queue_max: 1, failures_to_open: 3, open_ms: 100, inquiries_per_s: 10 };

    fn refusal(admission: &Admission) -> &'static str {
        match admission {
            Admission::Refused(why) => why,
            Admission::Go(_) => "go",
            Admission::Wait(_) => "wait",
        }
    }

    #[test]
    fn a_full_lane_queues_and_then_refuses() {
        let lane = lane(SMALL, &[]);
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
        let lane = lane(SMALL, &[]);
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
    fn maintenance_stops_charges_and_inquiries() {
        let lane = lane(SMALL, &[(100, 200)]);
        for (at, stopped) in [(99, false), (100, true), (199, true), (200, false)] {
            assert_eq!(refusal(&lane.admit(UnixMs(at))) == MAINTENANCE, stopped, "{at}");
            assert_eq!(lane.may_inquire(UnixMs(at)) == Err(MAINTENANCE), stopped, "{at}");
        }
    }

    #[test]
    fn inquiries_keep_to_their_budget_over_any_second() {
        let lane = lane(SMALL, &[]);
        let asked = (0..5_000).filter(|ms| lane.may_inquire(UnixMs(1_000_000 + ms)).is_ok()).count();
        assert!((49..=52).contains(&asked), "10 a second over 5 s: {asked}");
    }
}
