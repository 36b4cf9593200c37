//! Measures how far the wall clock of this process differs from the clocks of the brokers, which
//! stamp the records that are appended to the log.
//!
//! An append that was handed over, stamped and acknowledged bounds the difference: the broker's
//! time lies between the two times of this process. A slow append only makes the bounds wider, so a
//! slow or silent broker never makes a clock count as wrong. The median bounds of the newest
//! measurements count, so one broker with a wrong clock does not distort the result either.
//!
//! Between two measurements the monotonic clock shows whether the wall clock was set, so a step is
//! noticed the next time that the clock is read.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use twqr_types::UnixMs;

use crate::Clock;

/// How many of the newest measurements count. Partitions that follow each other have different
/// leaders, so of three brokers one leads at most two of them.
const MEASUREMENTS_MAX: usize = 5;
/// A reading of both clocks that took longer is repeated: the process was paused in between.
const READING_MAX: Duration = Duration::from_millis(2);
/// How often a reading is repeated at most.
const READINGS_MAX: usize = 20;

/// A wall clock that is compared with the brokers' clocks.
pub struct MeasuredClock {
    wall: Arc<dyn Clock>,
    skew_max_ms: i64,
    began: Instant,
    state: Mutex<State>,
}

/// How far a wall clock is ahead of the brokers' clocks, in ms: the true value lies between these
/// two. Negative values: it is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SkewBounds {
    /// At least so much.
    pub min_ms: i64,
    /// At most so much.
    pub max_ms: i64,
}

#[derive(Default)]
struct State {
    /// The newest measurements, each without the wall clock's distance from the monotonic clock.
    measurements: VecDeque<SkewBounds>,
    is_skewed: bool,
}

impl fmt::Display for SkewBounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (direction, least, most) = if self.max_ms < 0 {
            ("behind", -self.max_ms, -self.min_ms)
        } else {
            ("ahead of", self.min_ms, self.max_ms)
        };
        write!(f, "{least} to {most} ms {direction} the brokers' clocks")
    }
}

impl SkewBounds {
    fn plus(self, ms: i64) -> Self {
        Self { min_ms: self.min_ms.saturating_add(ms), max_ms: self.max_ms.saturating_add(ms) }
    }

    /// The median of the lower and that of the upper bounds; of two in the middle the one that
    /// makes the bounds wider.
    fn median(all: &VecDeque<Self>) -> Option<Self> {
        let last = all.len().checked_sub(1)?;
        let sorted = |bound: fn(&Self) -> i64| {
            let mut bounds: Vec<i64> = all.iter().map(bound).collect();
            bounds.sort_unstable();
            bounds
        };
        let (lower, upper) = (sorted(|skew| skew.min_ms), sorted(|skew| skew.max_ms));
        Some(Self { min_ms: *lower.get(last / 2)?, max_ms: *upper.get(last.div_ceil(2))? })
    }
}

impl MeasuredClock {
    /// Compares `wall` with the brokers' clocks; `skew_max_ms` is how far they may differ.
    pub fn new(wall: Arc<dyn Clock>, skew_max_ms: u64) -> Arc<Self> {
        let skew_max_ms = i64::try_from(skew_max_ms).unwrap_or(i64::MAX);
        Arc::new(Self { wall, skew_max_ms, began: Instant::now(), state: Mutex::default() })
    }

    /// Takes the measurement of an append that was handed over at `sent`, stamped by the broker
    /// with `log_time`, and acknowledged now.
    pub fn measured(&self, sent: Instant, log_time: UnixMs) {
        let (now, distance_ms) = self.read();
        let took_ms = ms(sent.elapsed()) + 1;
        // Each of the two wall clocks may be up to 1 ms beyond what it shows.
        let ahead_ms = now.since(log_time);
        let skew = SkewBounds { min_ms: ahead_ms - took_ms - 1, max_ms: ahead_ms + 1 };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.measurements.truncate(MEASUREMENTS_MAX - 1);
        state.measurements.push_front(skew.plus(-distance_ms));
    }

    /// The skew by the newest measurements; `None` before the first one.
    pub fn skew(&self) -> Option<SkewBounds> {
        let (_, distance_ms) = self.read();
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Some(SkewBounds::median(&state.measurements)?.plus(distance_ms))
    }

    /// The wall clock, and how far it is ahead of the monotonic clock.
    fn read(&self) -> (UnixMs, i64) {
        let mut reading = (UnixMs(0), 0);
        for _ in 0..READINGS_MAX {
            let before = self.began.elapsed();
            let now = self.wall.now();
            reading = (now, now.since(UnixMs(ms(before))));
            if self.began.elapsed().saturating_sub(before) <= READING_MAX {
                break;
            }
        }
        reading
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Clock for MeasuredClock {
    fn now(&self) -> UnixMs {
        self.wall.now()
    }

    fn now_us(&self) -> i64 {
        self.wall.now_us()
    }

    /// True once the skew is certainly beyond the bound, until it is certainly within.
    fn is_skewed(&self) -> bool {
        let skew = self.skew();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(SkewBounds { min_ms, max_ms }) = skew {
            let bound = self.skew_max_ms;
            if min_ms > bound || max_ms < -bound {
                state.is_skewed = true;
            } else if min_ms >= -bound && max_ms <= bound {
                state.is_skewed = false;
            }
        }
        state.is_skewed
    }

    fn skew_max_ms(&self) -> i64 {
        self.skew_max_ms
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    const EPOCH: UnixMs = UnixMs(1_790_000_000_000);
    const BOUND_MS: u64 = 200;

    /// A wall clock that can be set. The brokers' clock shows its time without the skew.
    struct WrongClock {
        began: Instant,
        skew_ms: AtomicI64,
    }

    impl Clock for WrongClock {
        fn now(&self) -> UnixMs {
            EPOCH.plus(ms(self.began.elapsed()) + self.skew_ms.load(Ordering::Relaxed))
        }
    }

    struct Stage {
        wall: Arc<WrongClock>,
        clock: Arc<MeasuredClock>,
    }

    impl Stage {
        fn new(skew_ms: i64) -> Self {
            let wall = Arc::new(WrongClock { began: Instant::now(), skew_ms: AtomicI64::new(skew_ms) });
            Self { clock: MeasuredClock::new(wall.clone(), BOUND_MS), wall }
        }

        fn set(&self, skew_ms: i64) {
            self.wall.skew_ms.store(skew_ms, Ordering::Relaxed);
        }

        /// An append that takes so long to the log, and so long back, at a broker whose own clock
        /// is ahead.
        async fn append(&self, there_ms: u64, back_ms: u64, broker_ahead_ms: i64) {
            let sent = Instant::now();
            tokio::time::sleep(Duration::from_millis(there_ms)).await;
            let log_time = EPOCH.plus(ms(self.wall.began.elapsed()) + broker_ahead_ms);
            tokio::time::sleep(Duration::from_millis(back_ms)).await;
            self.clock.measured(sent, log_time);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_true_skew_lies_within_the_bounds_whatever_an_append_takes() {
        for skew_ms in [-5_000, -201, -1, 0, 1, 201, 5_000] {
            for (there_ms, back_ms) in [(0, 0), (3, 1), (0, 9_000), (9_000, 0)] {
                let stage = Stage::new(skew_ms);
                assert_eq!(stage.clock.skew(), None);
                stage.append(there_ms, back_ms, 0).await;
                let SkewBounds { min_ms, max_ms } = stage.clock.skew().unwrap();
                assert!((min_ms..=max_ms).contains(&skew_ms), "{skew_ms}: {min_ms} to {max_ms}");
                assert!(max_ms - min_ms <= i64::try_from(there_ms + back_ms).unwrap() + 4);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_is_skewed_only_if_it_certainly_is_and_right_again_only_if_it_certainly_is() {
        let stage = Stage::new(0);
        assert!(!stage.clock.is_skewed(), "nothing was measured yet");
        for (there_ms, back_ms) in [(0, 30_000), (30_000, 0), (400, 400), (10_000, 10_000), (1, 1)] {
            stage.append(there_ms, back_ms, 0).await;
            assert!(!stage.clock.is_skewed(), "a slow broker is no wrong clock");
        }
        for (skew_ms, is_skewed) in
            [(200, false), (5_000, true), (-5_000, true), (199, true), (190, false), (-201, false)]
        {
            stage.set(skew_ms);
            for _ in 0..MEASUREMENTS_MAX {
                stage.append(1, 1, 0).await;
            }
            assert_eq!(stage.clock.is_skewed(), is_skewed, "{skew_ms}");
        }
        stage.set(-5_000);
        stage.append(400, 400, 0).await;
        assert!(stage.clock.is_skewed());
        stage.set(0);
        for _ in 0..MEASUREMENTS_MAX {
            stage.append(300, 300, 0).await;
        }
        assert!(stage.clock.is_skewed(), "the bounds are too wide to show that it is right again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_is_noticed_at_once_and_without_a_measurement() {
        let stage = Stage::new(0);
        stage.append(1, 1, 0).await;
        tokio::time::sleep(Duration::from_hours(1)).await;
        assert!(!stage.clock.is_skewed());
        for skew_ms in [5_000, -5_000] {
            stage.set(skew_ms);
            assert!(stage.clock.is_skewed(), "{:?}", stage.clock.skew());
            stage.set(0);
            assert!(!stage.clock.is_skewed(), "{:?}", stage.clock.skew());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_broker_of_three_with_a_wrong_clock_makes_no_process_skewed() {
        let (right, wrong) = (Stage::new(0), Stage::new(5_000));
        for n in 0..30 {
            let broker_ahead_ms = if n % 3 == 1 { 5_000 } else { 0 };
            right.append(1, 1, broker_ahead_ms).await;
            wrong.append(1, 1, broker_ahead_ms).await;
            assert!(!right.clock.is_skewed(), "after {n}: {:?}", right.clock.skew());
            assert!(wrong.clock.is_skewed(), "after {n}: {:?}", wrong.clock.skew());
        }
    }

    #[test]
    fn bounds_are_printed_with_their_direction() {
        assert_eq!(
            SkewBounds { min_ms: 4_998, max_ms: 5_002 }.to_string(),
            "4998 to 5002 ms ahead of the brokers' clocks"
        );
        assert_eq!(SkewBounds { min_ms: -12, max_ms: -8 }.to_string(), "8 to 12 ms behind the brokers' clocks");
    }
}
