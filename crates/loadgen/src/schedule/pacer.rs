//! Hands each start to a sender at its intended time. The clock is a parameter, so that a test can
//! slow it down and see that the run is declared invalid.

use std::time::{Duration, Instant};

use super::{IntendedStart, Schedule};

/// The time since the beginning of a run, and waiting for a time.
pub trait PacerClock {
    /// The time since the beginning, in ns.
    fn now_ns(&mut self) -> u64;
    /// Returns true at `at_ns` or later, or false once the run is to end.
    fn wait_until(&mut self, at_ns: u64) -> bool;
}

/// How long the machine's clock waits before it looks whether the run is to end.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The shortest pause: at high rates one pause serves several starts. The latency of a call that
/// starts later counts from its intended start all the same.
const PAUSE_MIN: Duration = Duration::from_micros(250);

/// The machine's clock.
pub struct SystemPacerClock<F> {
    began: Instant,
    is_stopped: F,
}

impl<F: FnMut() -> bool> SystemPacerClock<F> {
    /// A clock of a run that began at `began`, and that ends once `is_stopped` returns true.
    pub const fn new(began: Instant, is_stopped: F) -> Self {
        Self { began, is_stopped }
    }
}

impl<F: FnMut() -> bool> PacerClock for SystemPacerClock<F> {
    fn now_ns(&mut self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    fn wait_until(&mut self, at_ns: u64) -> bool {
        let until = self.began + Duration::from_nanos(at_ns);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.clamp(PAUSE_MIN, LOOK_EVERY));
            if (self.is_stopped)() {
                return false;
            }
        }
    }
}

/// Hands over each start of the schedule at its time or as soon as possible afterwards; a start is
/// never left out because it is late. `hand_over` returns false to end the run. `is_past_knee` is
/// asked at the end of each level of a staircase.
pub fn pace(
    mut schedule: Schedule,
    clock: &mut impl PacerClock,
    mut is_past_knee: impl FnMut(u16) -> bool,
    mut hand_over: impl FnMut(IntendedStart, u64) -> bool,
) {
    let mut level = 0;
    while let Some(start) = schedule.next() {
        if start.at_ns > clock.now_ns() && !clock.wait_until(start.at_ns) {
            return;
        }
        if start.segment != level {
            let is_staircase = |segment: u16| {
                let kind = |index: u16| schedule.segments().get(usize::from(index)).map(|segment| segment.phase);
                kind(segment) == kind(level)
            };
            if is_staircase(start.segment) && is_past_knee(level) {
                schedule.end_steps();
                continue;
            }
            level = start.segment;
        }
        if !hand_over(start, clock.now_ns()) {
            return;
        }
    }
}
