//! The business day: which movements belong to which date, in Asia/Taipei (UTC+8 all year).

use std::fmt;

use jiff::{
    Timestamp,
    civil::{self, Date},
    tz::Offset,
};
use twqr_types::UnixMs;

const DAY_MS: i64 = 86_400_000;
const MINUTE_MS: i64 = 60_000;
const TAIPEI_MS: i64 = 8 * 60 * MINUTE_MS;
const DAY_MINUTES: u16 = 24 * 60;
/// The years of dates that are taken: what is outside is a slip.
const YEARS: std::ops::RangeInclusive<i16> = 2000..=2199;
/// 1970-01-01.
const EPOCH: Date = civil::date(1970, 1, 1);

/// The minute of the day, in Asia/Taipei, at which one business day ends and the next begins: 00:00
/// to 23:59.
///
/// A business day bears the date on which most of it lies: up to 12:00 it begins at the cut-off of
/// its own date (with 02:00, a payment at 01:00 belongs to the date before), after 12:00 at the
/// cut-off of the date before (with 23:00, a payment at 23:30 belongs to the next date).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CutOff(u16);

/// The text is no cut-off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cut-off is a time of day of the form HH:MM, 00:00 to 23:59 (Asia/Taipei)")]
pub struct InvalidCutOff;

impl CutOff {
    /// Minutes after midnight, 0 to 1439.
    pub fn from_minutes(minutes: u16) -> Result<Self, InvalidCutOff> {
        if minutes < DAY_MINUTES { Ok(Self(minutes)) } else { Err(InvalidCutOff) }
    }

    /// Takes `HH:MM`.
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

    /// When a business day begins, in ms after the midnight with which its date begins: negative on
    /// the date before.
    fn begins_ms(self) -> i64 {
        let minutes = i64::from(self.0);
        if self.0 <= DAY_MINUTES / 2 { minutes * MINUTE_MS } else { minutes * MINUTE_MS - DAY_MS }
    }
}

impl fmt::Display for CutOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

/// A business day: 24 hours from cut-off to cut-off, by the date that it bears.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BusinessDay {
    /// Days since 1970-01-01.
    day: i32,
    cut_off: CutOff,
}

/// The text is no date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a date is a real one of the form YYYY-MM-DD or YYYYMMDD, 2000-01-01 to 2199-12-31")]
pub struct InvalidDate;

impl BusinessDay {
    /// Takes `YYYY-MM-DD` or `YYYYMMDD`.
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
        if !YEARS.contains(&date.year()) {
            return Err(InvalidDate);
        }
        let day = date.since(EPOCH).map_err(|_| InvalidDate)?.get_days();
        Ok(Self { day, cut_off })
    }

    /// The business day to which a time belongs.
    pub fn of(at: UnixMs, cut_off: CutOff) -> Self {
        let day = at.0.saturating_add(TAIPEI_MS).saturating_sub(cut_off.begins_ms()).div_euclid(DAY_MS);
        Self { day: day.clamp(i32::MIN.into(), i32::MAX.into()) as i32, cut_off }
    }

    /// Its first ms.
    pub fn from(self) -> UnixMs {
        UnixMs(i64::from(self.day) * DAY_MS - TAIPEI_MS + self.cut_off.begins_ms())
    }

    /// The ms after its last.
    pub fn to(self) -> UnixMs {
        self.from().plus(DAY_MS)
    }

    /// Whether the time belongs to it.
    pub fn contains(self, at: UnixMs) -> bool {
        self.from() <= at && at < self.to()
    }

    /// The day before.
    #[must_use]
    pub fn previous(self) -> Self {
        Self { day: self.day.saturating_sub(1), ..self }
    }

    /// The day after.
    #[must_use]
    pub fn next(self) -> Self {
        Self { day: self.day.saturating_add(1), ..self }
    }

    /// When days end.
    pub fn cut_off(self) -> CutOff {
        self.cut_off
    }

    /// `YYYYMMDD`, as in file names.
    pub fn compact(self) -> String {
        self.to_string().replace('-', "")
    }

    /// Noon of its date, in Asia/Taipei: what formats of dates are applied to.
    pub(crate) fn noon(self) -> UnixMs {
        UnixMs(i64::from(self.day) * DAY_MS - TAIPEI_MS + DAY_MS / 2)
    }
}

impl fmt::Display for BusinessDay {
    /// `YYYY-MM-DD`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&taipei(self.noon(), "%Y-%m-%d"))
    }
}

/// A time in Asia/Taipei by a format of [`jiff::fmt::strtime`]; empty where no calendar holds it.
pub(crate) fn taipei(at: UnixMs, format: &str) -> String {
    let Ok(at) = Timestamp::from_millisecond(at.0) else { return String::new() };
    jiff::fmt::strtime::format(format, Offset::constant(8).to_datetime(at)).unwrap_or_default()
}

/// RFC 3339 with ms and the offset of Asia/Taipei.
pub(crate) fn rfc3339(at: UnixMs) -> String {
    taipei(at, "%Y-%m-%dT%H:%M:%S.%3f+08:00")
}

#[cfg(test)]
mod tests {
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
        }
    }

    #[test]
    fn both_forms_of_a_date_are_taken_and_no_other() {
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
            assert_eq!(CutOff::parse(raw), CutOff::from_minutes(minutes));
            assert_eq!(CutOff::parse(raw).unwrap().to_string(), raw);
        }
        for raw in ["", "24:00", "23:60", "9:00", "0900", "+1:00", "00:00:00"] {
            assert_eq!(CutOff::parse(raw), Err(InvalidCutOff), "{raw}");
        }
        assert!(CutOff::from_minutes(1_440).is_err());
    }

    #[test]
    fn times_that_no_calendar_holds_are_no_trouble() {
        for at in [i64::MIN, i64::MAX] {
            let day = BusinessDay::of(UnixMs(at), CutOff::default());
            assert_eq!((day.to_string(), rfc3339(UnixMs(at))), (String::new(), String::new()));
        }
        assert_eq!(rfc3339(UnixMs(1_741_568_887_009)), "2025-03-10T09:08:07.009+08:00");
    }
}
