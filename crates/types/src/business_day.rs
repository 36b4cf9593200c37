//! Business days in Asia/Taipei, which is UTC+8 all year.
//!
//! Refund rules and accounting files use the same cut-off, which is a part of the policy. A refund
//! rule takes the cut-off of the policy that decides the refund; accounting files follow all its
//! changes ([`crate::CutOffs`]).

use std::fmt;

use jiff::{
    Span,
    civil::{self, Date},
};

use crate::UnixMs;

const DAY_MS: i64 = 86_400_000;
const MINUTE_MS: i64 = 60_000;
const TAIPEI_OFFSET_MS: i64 = 8 * 60 * MINUTE_MS;
const DAY_MINUTES: u16 = 24 * 60;
const EPOCH: Date = civil::date(1970, 1, 1);

/// The minute of the day, in Asia/Taipei, at which one business day ends and the next begins: 00:00
/// to 23:59.
///
/// A business day is named by the date on which most of it lies. With a cut-off up to 12:00 it
/// begins at the cut-off of its own date (02:00: a payment at 01:00 belongs to the date before).
/// With a cut-off after 12:00 it begins at the cut-off of the date before (23:00: a payment at
/// 23:30 belongs to the next date).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CutOff(u16);

/// The text or number is not a valid cut-off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cut-off is a time of day of the form HH:MM, 00:00 to 23:59 (Asia/Taipei)")]
pub struct InvalidCutOff;

impl CutOff {
    /// Takes minutes after midnight, 0 to 1439.
    pub fn from_minutes(minutes: u32) -> Result<Self, InvalidCutOff> {
        match u16::try_from(minutes) {
            Ok(minutes @ ..DAY_MINUTES) => Ok(Self(minutes)),
            Ok(_) | Err(_) => Err(InvalidCutOff),
        }
    }

    /// Takes a time of the form `HH:MM`, 00:00 to 23:59.
    pub fn parse(raw: &str) -> Result<Self, InvalidCutOff> {
        let two = |digits: &str| match digits.as_bytes() {
            [a, b] if a.is_ascii_digit() && b.is_ascii_digit() => Some(u16::from(a - b'0') * 10 + u16::from(b - b'0')),
            _ => None,
        };
        let (hours, minutes) = raw.split_once(':').ok_or(InvalidCutOff)?;
        match (two(hours), two(minutes)) {
            (Some(hours @ ..24), Some(minutes @ ..60)) => Ok(Self(hours * 60 + minutes)),
            _ => Err(InvalidCutOff),
        }
    }

    /// Minutes after midnight, 0 to 1439.
    pub fn minutes(self) -> u32 {
        self.0.into()
    }

    /// The time from midnight at the start of a date to the start of its business day, in ms;
    /// negative if the day begins on the date before.
    fn day_begins_ms(self) -> i64 {
        let minutes = i64::from(self.0);
        if self.0 <= DAY_MINUTES / 2 { minutes * MINUTE_MS } else { minutes * MINUTE_MS - DAY_MS }
    }
}

impl fmt::Display for CutOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

/// A business day, named by a date: from cut-off to cut-off. It has 24 hours, unless the cut-off
/// changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BusinessDay {
    /// The date, in days since 1970-01-01.
    date: i64,
    /// The cut-off at which the day before ended.
    begins: CutOff,
    ends: CutOff,
}

/// The text is not a valid date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a date is a real one of the form YYYY-MM-DD or YYYYMMDD, 2000-01-01 to 2199-12-31")]
pub struct InvalidDate;

impl BusinessDay {
    /// Takes a date of the form `YYYY-MM-DD` or `YYYYMMDD`.
    pub fn parse(raw: &str, cut_off: CutOff) -> Result<Self, InvalidDate> {
        let (digits, dashes) = match raw.len() {
            8 => (raw.to_owned(), false),
            10 => (raw.replace('-', ""), true),
            _ => return Err(InvalidDate),
        };
        let placed = !dashes || (raw.as_bytes()[4] == b'-' && raw.as_bytes()[7] == b'-');
        if !placed || digits.len() != 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(InvalidDate);
        }
        let date = Date::strptime("%Y%m%d", &digits).map_err(|_| InvalidDate)?;
        if !UnixMs::BUSINESS_YEARS.contains(&date.year()) {
            return Err(InvalidDate);
        }
        let days = date.since(EPOCH).map_err(|_| InvalidDate)?.get_days();
        Ok(Self { date: days.into(), begins: cut_off, ends: cut_off })
    }

    /// The business day to which a time belongs.
    pub fn of(at: UnixMs, cut_off: CutOff) -> Self {
        let date = at.plus(TAIPEI_OFFSET_MS - cut_off.day_begins_ms()).0.div_euclid(DAY_MS);
        Self { date, begins: cut_off, ends: cut_off }
    }

    /// The same date, but from the end of the day before by `begins` to its own end by `ends`.
    pub(crate) fn bounded(self, begins: CutOff, ends: CutOff) -> Self {
        Self { begins, ends, ..self }
    }

    /// The business day to which a time belongs, if no cut-off but those of this day was ever in
    /// force.
    #[must_use]
    pub fn day_of(self, at: UnixMs) -> Self {
        if self.contains(at) { self } else { Self::of(at, if at < self.from() { self.begins } else { self.ends }) }
    }

    /// The first ms of the day.
    pub fn from(self) -> UnixMs {
        self.midnight().plus(self.begins.day_begins_ms())
    }

    /// The first ms of the next business day.
    pub fn to(self) -> UnixMs {
        self.midnight().plus(DAY_MS).plus(self.ends.day_begins_ms())
    }

    /// Whether the time belongs to this day.
    pub fn contains(self, at: UnixMs) -> bool {
        self.from() <= at && at < self.to()
    }

    /// The business day before this one, if the cut-off did not change on it.
    #[must_use]
    pub fn previous(self) -> Self {
        Self { date: self.date.saturating_sub(1), begins: self.begins, ends: self.begins }
    }

    /// The business day after this one, if the cut-off does not change on it.
    #[must_use]
    pub fn next(self) -> Self {
        Self { date: self.date.saturating_add(1), begins: self.ends, ends: self.ends }
    }

    /// How many days after `earlier` this day is; negative if it is before.
    pub fn days_since(self, earlier: Self) -> i64 {
        self.date.saturating_sub(earlier.date)
    }

    /// The time of day at which this day ends and the next one begins.
    pub fn cut_off(self) -> CutOff {
        self.ends
    }

    /// `YYYYMMDD`, as in file names.
    pub fn compact(self) -> String {
        self.to_string().replace('-', "")
    }

    /// Noon of its date, in Asia/Taipei. Date formats are applied to this time, because it is on
    /// the named date for every cut-off.
    pub fn noon(self) -> UnixMs {
        self.midnight().plus(DAY_MS / 2)
    }

    /// Midnight at the start of its date, in Asia/Taipei.
    pub(crate) fn midnight(self) -> UnixMs {
        UnixMs(self.date.saturating_mul(DAY_MS)).plus(-TAIPEI_OFFSET_MS)
    }
}

impl fmt::Display for BusinessDay {
    /// Writes `YYYY-MM-DD`, or nothing if the date is outside the years that the calendar has.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = Span::new().try_days(self.date).and_then(|days| EPOCH.checked_add(days));
        date.map_or(Ok(()), |date| write!(f, "{date}"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn at(text: &str) -> UnixMs {
        UnixMs(text.parse::<Timestamp>().unwrap().as_millisecond())
    }

    #[test]
    fn a_day_runs_from_cut_off_to_cut_off() {
        for (cut_off, from) in [
            ("00:00", "2025-03-10T00:00:00+08:00"),
            ("02:00", "2025-03-10T02:00:00+08:00"),
            ("12:00", "2025-03-10T12:00:00+08:00"),
            ("12:01", "2025-03-09T12:01:00+08:00"),
            ("15:30", "2025-03-09T15:30:00+08:00"),
            ("23:00", "2025-03-09T23:00:00+08:00"),
            ("23:59", "2025-03-09T23:59:00+08:00"),
        ] {
            let cut_off = CutOff::parse(cut_off).unwrap();
            let day = BusinessDay::parse("2025-03-10", cut_off).unwrap();
            assert_eq!((day.from(), day.to().since(day.from())), (at(from), DAY_MS), "{cut_off}");
            assert_eq!(BusinessDay::of(day.from(), cut_off), day, "{cut_off}");
            assert_eq!(BusinessDay::of(day.from().plus(-1), cut_off), day.previous(), "{cut_off}");
            assert_eq!(BusinessDay::of(day.to().plus(-1), cut_off), day, "{cut_off}");
            assert_eq!(BusinessDay::of(day.to(), cut_off), day.next(), "{cut_off}");
            assert!(day.contains(day.from()) && !day.contains(day.to()), "{cut_off}");
            assert_eq!((day.next().days_since(day), day.previous().days_since(day)), (1, -1), "{cut_off}");
        }
    }

    #[test]
    fn both_forms_of_a_date_and_no_others_are_accepted() {
        for raw in ["2025-03-10", "20250310"] {
            let day = BusinessDay::parse(raw, CutOff::default()).unwrap();
            assert_eq!((day.to_string(), day.compact()), ("2025-03-10".to_owned(), "20250310".to_owned()));
        }
        assert_eq!(BusinessDay::parse("2024-02-29", CutOff::default()).unwrap().next().to_string(), "2024-03-01");
        for raw in ["2000-01-01", "2199-12-31"] {
            assert_eq!(BusinessDay::parse(raw, CutOff::default()).unwrap().to_string(), raw);
        }
        for raw in [
            "",
            "2025-02-29",
            "2025/03/10",
            "2025-3-10",
            "202503-1-0",
            "2025-0310-",
            "1999-12-31",
            "2200-01-01",
            "9999-12-31",
            "2025-13-01",
            "２０",
        ] {
            assert_eq!(BusinessDay::parse(raw, CutOff::default()), Err(InvalidDate), "{raw}");
        }
    }

    #[test]
    fn a_cut_off_is_a_time_of_day() {
        for (raw, minutes) in [("00:00", 0), ("15:30", 930), ("23:59", 1_439)] {
            let cut_off = CutOff::parse(raw).unwrap();
            assert_eq!((CutOff::from_minutes(minutes), cut_off.minutes()), (Ok(cut_off), minutes));
            assert_eq!(cut_off.to_string(), raw);
        }
        for raw in ["", "24:00", "23:60", "9:00", "0900", "+1:00", "00:00:00"] {
            assert_eq!(CutOff::parse(raw), Err(InvalidCutOff), "{raw}");
        }
        for minutes in [1_440, 65_536, u32::MAX] {
            assert_eq!(CutOff::from_minutes(minutes), Err(InvalidCutOff), "{minutes}");
        }
    }

    #[test]
    fn a_day_outside_the_calendar_is_written_as_empty_text() {
        for at in [i64::MIN, i64::MAX] {
            assert_eq!(BusinessDay::of(UnixMs(at), CutOff::default()).to_string(), "");
        }
    }
}
