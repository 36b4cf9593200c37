//! When calls start. A schedule is a pure function of the scenario: it names each start in turn, as
//! a time since the beginning of the run, and never waits. So tests run it in virtual time.

mod pacer;

use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::scenario::{Arrivals, LoadPhase, PhaseKind, Scenario};

pub use pacer::{PacerClock, SystemPacerClock, pace};

/// The rate is taken as constant for this long, in s.
const SLICE_S: f64 = 0.01;

/// A stretch with one course of the rate.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// The number of its phase in the scenario, from 0.
    pub phase: u16,
    /// Duration in s.
    pub seconds: f64,
    /// The kind of its phase.
    pub kind: PhaseKind,
    /// The rate at its beginning, in starts per second.
    pub rate: f64,
    /// The rate at its end, or the highest of a wave.
    pub to_rate: f64,
    period_s: f64,
    /// Whether its calls are left out of the figures.
    pub warm_up: bool,
    /// The p99 in ms beyond which a staircase ends.
    pub knee_p99_ms: f64,
}

impl Segment {
    /// The rate at `at` seconds after its beginning.
    pub fn rate_at(&self, at: f64) -> f64 {
        match self.kind {
            PhaseKind::Hold | PhaseKind::Steps => self.rate,
            PhaseKind::Ramp => self.rate + (self.to_rate - self.rate) * (at / self.seconds),
            PhaseKind::Wave => {
                let height = (1.0 - (at / self.period_s * std::f64::consts::TAU).cos()) / 2.0;
                self.rate + (self.to_rate - self.rate) * height
            }
            PhaseKind::Idle => 0.0,
        }
    }
}

/// The segments of a scenario: one for each phase, and one for each level of a staircase.
pub fn segments(scenario: &Scenario) -> Vec<Segment> {
    (0..).zip(&scenario.phases).flat_map(|(number, phase)| levels(number, phase)).collect()
}

fn levels(number: u16, phase: &LoadPhase) -> Vec<Segment> {
    let segment = |rate, to_rate| Segment {
        phase: number,
        seconds: phase.seconds,
        kind: phase.kind,
        rate,
        to_rate,
        period_s: phase.period_s,
        warm_up: phase.warm_up,
        knee_p99_ms: phase.knee_p99_ms,
    };
    if phase.kind != PhaseKind::Steps {
        return vec![segment(phase.rate, phase.to_rate)];
    }
    let rates = (0..).map(|level| phase.rate + f64::from(level) * phase.step);
    rates.take_while(|rate| *rate < phase.to_rate + 1e-9).map(|rate| segment(rate, rate)).collect()
}

/// An intended start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IntendedStart {
    /// Time since the beginning of the run, in ns.
    pub at_ns: u64,
    /// The index of its segment.
    pub segment: u16,
}

/// The starts of a run, in order.
#[derive(Debug)]
pub struct Schedule {
    segments: Vec<Segment>,
    arrivals: Arrivals,
    random: ChaCha8Rng,
    current: usize,
    /// The beginning of the current segment, and the present place in it, in s.
    began: f64,
    at: f64,
}

impl Schedule {
    /// The schedule of a scenario.
    pub fn new(scenario: &Scenario) -> Self {
        Self {
            segments: segments(scenario),
            arrivals: scenario.arrivals,
            random: ChaCha8Rng::seed_from_u64(scenario.seed),
            current: 0,
            began: 0.0,
            at: 0.0,
        }
    }

    /// The duration of the whole run in s, if no staircase ends early.
    pub fn seconds(&self) -> f64 {
        self.segments.iter().map(|segment| segment.seconds).sum()
    }

    /// The segments, by the index that starts name.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Ends the staircase that is under way: its further levels are left out.
    pub fn end_steps(&mut self) {
        let Some(phase) = self.segments.get(self.current).map(|segment| segment.phase) else { return };
        while self.segments.get(self.current).is_some_and(|segment| segment.phase == phase) {
            self.began += std::mem::take(&mut self.at);
            self.current += 1;
        }
    }
}

impl Iterator for Schedule {
    type Item = IntendedStart;

    fn next(&mut self) -> Option<IntendedStart> {
        let mut missing = match self.arrivals {
            Arrivals::Even => 1.0,
            Arrivals::Poisson => -(1.0 - self.random.random::<f64>()).ln(),
        };
        loop {
            let segment = self.segments.get(self.current)?;
            let slice = SLICE_S.min(segment.seconds - self.at);
            if slice <= 0.0 {
                self.began += segment.seconds;
                (self.current, self.at) = (self.current + 1, 0.0);
                continue;
            }
            let rate = segment.rate_at(self.at);
            if rate * slice >= missing {
                self.at += missing / rate;
                let at_ns = Duration::from_secs_f64(self.began + self.at).as_nanos() as u64;
                return Some(IntendedStart { at_ns, segment: self.current as u16 });
            }
            missing -= rate * slice;
            self.at += slice;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(text: &str) -> Schedule {
        Schedule::new(&Scenario::parse(text).unwrap())
    }

    fn hold(arrivals: &str, rate: u32) -> String {
        format!("arrivals = \"{arrivals}\"\n[[phase]]\nkind = \"hold\"\nseconds = 100\nrate = {rate}\n")
    }

    #[test]
    fn even_starts_are_at_equal_distances() {
        let starts: Vec<u64> = schedule(&hold("even", 250)).map(|start| start.at_ns).collect();
        assert!((24_999..=25_000).contains(&starts.len()), "{}", starts.len());
        assert!(starts.windows(2).all(|two| (two[1] - two[0]).abs_diff(4_000_000) < 1_000));
    }

    #[test]
    fn random_starts_have_the_gaps_of_a_poisson_process_and_depend_on_the_seed() {
        let text = hold("poisson", 1_000);
        let starts: Vec<IntendedStart> = schedule(&text).collect();
        let gaps: Vec<f64> = starts.windows(2).map(|two| (two[1].at_ns - two[0].at_ns) as f64 / 1e6).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let deviation = (gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64).sqrt();
        assert!((0.98..1.02).contains(&mean) && (0.97..1.03).contains(&deviation), "{mean} {deviation}");
        assert_eq!(starts, schedule(&text).collect::<Vec<_>>());
        assert_ne!(starts, schedule(&format!("seed = 8\n{text}")).collect::<Vec<_>>());
    }

    #[test]
    fn each_course_has_the_number_of_starts_under_its_curve() {
        let count = |phase: &str| schedule(&format!("arrivals = \"even\"\n{phase}")).count();
        let phase = |keys: &str| format!("[[phase]]\n{keys}\n");
        let near = |count: usize, expected: usize| assert!(count.abs_diff(expected) <= expected / 100 + 1, "{count}");
        near(count(&phase("kind = \"ramp\"\nseconds = 10\nrate = 0\nto_rate = 200")), 1_000);
        near(count(&phase("kind = \"wave\"\nseconds = 20\nrate = 100\nto_rate = 300\nperiod_s = 10")), 4_000);
        near(count(&phase("kind = \"steps\"\nseconds = 2\nrate = 100\nto_rate = 300\nstep = 100")), 1_200);
        let idle_then_burst =
            [phase("kind = \"idle\"\nseconds = 600"), phase("kind = \"hold\"\nseconds = 1\nrate = 500")];
        let starts: Vec<IntendedStart> =
            schedule(&format!("arrivals = \"even\"\n{}", idle_then_burst.concat())).collect();
        near(starts.len(), 500);
        assert!(starts.iter().all(|start| start.at_ns >= 600_000_000_000 && start.segment == 1));
    }

    #[test]
    fn a_staircase_that_ends_early_is_followed_by_the_next_phase_at_once() {
        let mut schedule = schedule(
            "arrivals = \"even\"\n[[phase]]\nkind = \"steps\"\nseconds = 10\nrate = 10\nto_rate = 50\nstep = 10\n\
             [[phase]]\nkind = \"hold\"\nseconds = 5\nrate = 10\n",
        );
        let first: Vec<IntendedStart> = schedule.by_ref().take(150).collect();
        assert_eq!(first[149].segment, 1);
        schedule.end_steps();
        let rest: Vec<IntendedStart> = schedule.collect();
        assert!(rest.iter().all(|start| start.segment == 5) && (49..=51).contains(&rest.len()), "{}", rest.len());
        assert!(rest[0].at_ns.abs_diff(first[149].at_ns) < 200_000_000);
    }
}
