//! A concurrency limit that follows a measured delay.
//!
//! The algorithm is Swift (Kumar et al., SIGCOMM 2020), because it compares the delay with a fixed
//! target: the limits of Vegas, Gradient2 and BBR compare it with the shortest delay seen, and this
//! journal's delay grows by batches long before it is full. While the delay is below the target the
//! limit grows by a constant; above it, it falls by the share by which the delay is too long, at
//! most by half.

use std::time::Duration;

/// The limit of a shard that has not been measured yet, and to which one returns that is not used.
const LIMIT_START: u64 = 256;
/// How much one measurement below the target adds.
const GROWTH: u64 = 4;
/// The share of the excess by which the limit falls, in thousandths.
const FALL_MILLI: u128 = 800;
/// The largest share by which one measurement lowers the limit, in thousandths.
const FALL_MILLI_MAX: u64 = 500;

/// The bounds of a limit, and the delay that it aims at.
#[derive(Clone, Copy, Debug)]
pub struct AdmissionSettings {
    /// How long the routers may take to decide a request before fewer are admitted: 10 to 1,000 ms.
    pub delay: Duration,
    /// The lowest limit of a shard: 4 to `limit_max`.
    pub limit_min: u32,
    /// The highest limit of a shard: up to 100,000.
    pub limit_max: u32,
}

/// The limit of one shard.
#[derive(Debug)]
pub(super) struct DelayLimit {
    settings: AdmissionSettings,
    /// In thousandths of a call, so that a small limit falls by small steps, too.
    milli: u64,
}

impl DelayLimit {
    pub(super) fn new(settings: AdmissionSettings) -> Self {
        let mut limit = Self { settings, milli: 0 };
        limit.set(LIMIT_START * 1_000);
        limit
    }

    /// How many calls may be undecided at once.
    pub(super) fn current(&self) -> usize {
        (self.milli / 1_000) as usize
    }

    /// Takes a measured delay into account. `used_max` is the largest number of undecided calls
    /// since the measurement before: a limit that is not needed does not grow beyond its start.
    /// There is at most one measurement for each round trip.
    pub(super) fn observe(&mut self, delay: Duration, used_max: usize) {
        let excess = delay.saturating_sub(self.settings.delay);
        if !excess.is_zero() {
            let fall = (excess.as_micros() * FALL_MILLI / delay.as_micros().max(1)) as u64;
            self.set(self.milli * (1_000 - fall.min(FALL_MILLI_MAX)) / 1_000);
        } else if self.milli < LIMIT_START * 1_000 || used_max >= self.current() / 2 {
            self.set(self.milli + GROWTH * 1_000);
        }
    }

    fn set(&mut self, milli: u64) {
        let AdmissionSettings { limit_min, limit_max, .. } = self.settings;
        self.milli = milli.min(u64::from(limit_max) * 1_000).max(u64::from(limit_min) * 1_000);
    }
}
