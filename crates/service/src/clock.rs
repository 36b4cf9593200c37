//! The wall clock, with which services timestamp records. It is passed to them, so that tests can
//! substitute their own.

use std::time::{SystemTime, UNIX_EPOCH};

use twqr_types::UnixMs;

/// A source of the present time.
pub trait Clock: Send + Sync + 'static {
    /// The present time, in Unix ms.
    fn now(&self) -> UnixMs;

    /// The present time, in Unix µs; only as exact as [`Self::now`] if the clock knows no better.
    fn now_us(&self) -> i64 {
        self.now().0.saturating_mul(1_000)
    }

    /// Whether this clock is known to differ from the brokers' clocks by more than
    /// [`Self::skew_max_ms`]. What a process concludes from such a clock is no evidence.
    fn is_skewed(&self) -> bool {
        false
    }

    /// How far the clock may differ from the brokers' clocks, in ms; 0 if it is not measured.
    fn skew_max_ms(&self) -> i64 {
        0
    }
}

/// The clock of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixMs {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn now_us(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    }
}
