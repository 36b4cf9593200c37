//! One lane for each issuer: a bound on calls in flight and a circuit breaker, so that a slow issuer stops nobody else. Lanes are shared
//! by the partitions of a worker without a lock.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicI64, AtomicU32, AtomicUsize, Ordering},
};

use twqr_types::UnixMs;

/// The limits of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneSettings {
    /// Charges in flight at the most: 1 to 100,000. A fresh one beyond is not sent.
    pub in_flight_max: usize,
    /// So many calls without an answer, one after the other, open the circuit: 1 to 10,000.
    pub failures_to_open: u32,
    /// How long an open circuit stays open before one call tries again, in ms: 10 to 600,000.
    pub open_ms: i64,
}

impl Default for LaneSettings {
    fn default() -> Self {
        Self { in_flight_max: 2_048, failures_to_open: 20, open_ms: 2_000 }
    }
}

/// A lane.
#[derive(Debug)]
pub struct Lane {
    settings: LaneSettings,
    in_flight: AtomicUsize,
    failures: AtomicU32,
    /// Unix ms until which the circuit is open; 0 while it is closed.
    open_until: AtomicI64,
}

/// The lanes of a worker, by institution code; the empty code is the wallet.
#[derive(Debug)]
pub struct Lanes {
    by_institution: BTreeMap<String, Lane>,
    other: Lane,
}

impl Lanes {
    /// Named lanes, and one that all institutions share that have none of their own.
    pub fn new(named: impl IntoIterator<Item = (String, LaneSettings)>, other: LaneSettings) -> Self {
        let by_institution = named.into_iter().map(|(code, settings)| (code, Lane::new(settings))).collect();
        Self { by_institution, other: Lane::new(other) }
    }

    /// The lane of an institution.
    pub fn of(&self, institution: &str) -> &Lane {
        self.by_institution.get(institution).unwrap_or(&self.other)
    }
}

impl Lane {
    /// An empty lane with a closed circuit.
    pub fn new(settings: LaneSettings) -> Self {
        Self { settings, in_flight: AtomicUsize::new(0), failures: AtomicU32::new(0), open_until: AtomicI64::new(0) }
    }

    /// Takes a place for a charge, or says why there is none.
    pub fn enter(&self, now: UnixMs) -> Result<(), &'static str> {
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
            return Err("too many calls to the issuer are in flight");
        }
        Ok(())
    }

    /// A charge that had a place ended; answered or not.
    pub fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
    }

    /// The issuer answered something.
    pub fn answered(&self) {
        self.failures.store(0, Ordering::Release);
        self.open_until.store(0, Ordering::Release);
    }

    /// The issuer did not answer in time.
    pub fn failed(&self, now: UnixMs) {
        if self.failures.fetch_add(1, Ordering::AcqRel) + 1 >= self.settings.failures_to_open {
            self.open_until.store(now.plus(self.settings.open_ms).0, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_lane_refuses_and_an_open_circuit_lets_one_try() {
        let lane = Lane::new(LaneSettings { in_flight_max: 2, failures_to_open: 3, open_ms: 100 });
        let at = UnixMs;
        assert!(lane.enter(at(1)).is_ok() && lane.enter(at(1)).is_ok());
        assert!(lane.enter(at(1)).unwrap_err().contains("in flight"));
        lane.leave();
        assert!(lane.enter(at(1)).is_ok());
        lane.leave();
        lane.leave();
        for _ in 0..3 {
            lane.failed(at(10));
        }
        assert!(lane.enter(at(109)).unwrap_err().contains("circuit"));
        assert!(lane.enter(at(110)).is_ok(), "one tries");
        assert!(lane.enter(at(111)).is_err(), "only one");
        lane.answered();
        assert!(lane.enter(at(112)).is_ok());
    }
}
