//! Hours, by which sealing keys are named and destroyed.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use twqr_types::UnixMs;

/// An hour of UTC, counted from the beginning of 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hour(pub i64);

const MS: i64 = 3_600_000;
/// How an hour is written in the name of a key: year, month, day and hour.
const FORM: &str = "%Y%m%d%H";
const LEN: usize = 10;

impl Hour {
    /// How many hours ahead keys are made, so that their maintenance may fail for a weekend.
    pub const MADE_AHEAD: i64 = 72;
    /// How many hours after its own a key is still used if there is no newer one.
    pub const USED_LATE: i64 = 1;
    /// How many hours after its own a key is kept: longer than it is used, and than the charges of
    /// its last minute may be sent.
    pub const KEPT: i64 = 2;

    /// The hour of a time.
    pub fn of(at: UnixMs) -> Self {
        Self(at.0.div_euclid(MS))
    }

    /// The hour that is `hours` later.
    #[must_use]
    pub fn plus(self, hours: i64) -> Self {
        Self(self.0.saturating_add(hours))
    }

    /// Whether the keys of this hour are destroyed by now: they are not kept for longer.
    pub fn is_over(self, now: UnixMs) -> bool {
        self.plus(Self::KEPT) < Self::of(now)
    }

    /// When the hour begins.
    pub fn begins(self) -> UnixMs {
        UnixMs(self.0.saturating_mul(MS))
    }

    /// The hour as it is written in the name of a key, such as 2026112908.
    pub fn name(self) -> String {
        let at = Timestamp::from_millisecond(self.begins().0).unwrap_or_default();
        at.to_zoned(TimeZone::UTC).strftime(FORM).to_string()
    }

    /// Reads the hour from the beginning of a key's name.
    pub fn of_name(name: &str) -> Option<Self> {
        let hour = DateTime::strptime(FORM, name.get(..LEN)?).ok()?;
        let at = hour.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond();
        Some(Self::of(UnixMs(at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_hour_is_read_again() {
        let hour = Hour::of(UnixMs(1_795_941_599_999));
        assert_eq!(hour.name(), "2026112908");
        assert_eq!(Hour::of_name(&format!("{}-5f3a", hour.name())), Some(hour));
        assert_eq!(hour.plus(1).name().len(), LEN);
        for bad in ["", "2026", "20261399aa", "2026113024-5f3a"] {
            assert_eq!(Hour::of_name(bad), None, "{bad}");
        }
    }
}
