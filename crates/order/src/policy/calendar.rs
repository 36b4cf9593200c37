//! Business days and announced maintenance.

use twqr_types::UnixMs;

/// An announced window in which an issuer is neither charged nor asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its first millisecond.
    pub from: UnixMs,
    /// The first millisecond after it.
    pub to: UnixMs,
}

impl Window {
    /// Whether `at` is within it.
    pub fn has(&self, at: UnixMs) -> bool {
        self.from <= at && at < self.to
    }
}

/// Asia/Taipei is ahead of UTC by this, all year, in ms.
const TAIPEI_MS: i64 = 8 * 3_600_000;
const DAY_MS: i64 = 24 * 3_600_000;

/// The number of the business day of `at`, counted from that of 1970-01-01, where days begin
/// `begins_min` minutes after midnight in Asia/Taipei.
pub fn business_day(at: UnixMs, begins_min: u32) -> i64 {
    at.plus(TAIPEI_MS - i64::from(begins_min) * 60_000).0.div_euclid(DAY_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_begin_when_they_are_said_to() {
        let midnight = 16 * 3_600_000;
        for (at, begins_min, day) in [
            (0, 0, 0),
            (midnight - 1, 0, 0),
            (midnight, 0, 1),
            (midnight, 30, 0),
            (midnight + 30 * 60_000, 30, 1),
            (-9 * 3_600_000, 0, -1),
        ] {
            assert_eq!(business_day(UnixMs(at), begins_min), day, "{at} {begins_min}");
        }
    }
}
