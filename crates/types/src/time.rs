//! Times: in records as Unix ms, and in the POS document's forms in Asia/Taipei, which is UTC+8 all
//! year.

use jiff::{Timestamp, civil::DateTime, tz::Offset};

/// Milliseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMs(pub i64);

impl UnixMs {
    /// The years that a date or time of a business can have. Another one is a typing mistake, or a
    /// year of another calendar: 2026 is 115 in the calendar of the Republic of China.
    pub const BUSINESS_YEARS: std::ops::RangeInclusive<i16> = 2000..=2199;

    /// The time `ms` later; saturates at the end of the range.
    #[must_use]
    pub fn plus(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// The milliseconds from `earlier` to this time; negative if `earlier` is later.
    pub fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Whether its year in Asia/Taipei is one of [`Self::BUSINESS_YEARS`].
    pub fn is_in_business_years(self) -> bool {
        let year = |at| Offset::constant(8).to_datetime(at).year();
        Timestamp::from_millisecond(self.0).is_ok_and(|at| Self::BUSINESS_YEARS.contains(&year(at)))
    }

    /// `yyyy/MM/dd HH:mm:ss` in Asia/Taipei, the form of TradeTime. Empty for times outside the
    /// calendar's years.
    pub fn taipei(self) -> String {
        let Ok(at) = Timestamp::from_millisecond(self.0) else { return String::new() };
        let t = Offset::constant(8).to_datetime(at);
        format!("{:04}/{:02}/{:02} {:02}:{:02}:{:02}", t.year(), t.month(), t.day(), t.hour(), t.minute(), t.second())
    }
}

/// The text that says what a date and time of the form `pattern` must be.
fn date_rule(pattern: &str) -> String {
    let (first, last) = (UnixMs::BUSINESS_YEARS.start(), UnixMs::BUSINESS_YEARS.end());
    format!(
        "must be empty or a real date and time of the form {pattern} (Asia/Taipei), of a Gregorian year from {first} to {last}, such as 2026 and not 115"
    )
}

/// Returns an existing date and time in the form of `pattern`, in which each letter means a digit.
fn date_time_of(raw: &str, pattern: &str) -> Result<DateTime, String> {
    let wrong = || date_rule(pattern);
    let fits = |(r, p): (u8, u8)| if p.is_ascii_alphabetic() { r.is_ascii_digit() } else { r == p };
    if raw.len() != pattern.len() || !raw.bytes().zip(pattern.bytes()).all(fits) {
        return Err(wrong());
    }
    let digits: Vec<i16> = raw.bytes().filter(u8::is_ascii_digit).map(|b| i16::from(b - b'0')).collect();
    let number = |range: std::ops::Range<usize>| digits[range].iter().fold(0_i16, |n, d| n * 10 + d);
    let pair = |at: usize| number(at..at + 2) as i8;
    DateTime::new(number(0..4), pair(4), pair(6), pair(8), pair(10), pair(12), 0).map_err(|_| wrong())
}

macro_rules! pos_times {
    ($($(#[$doc:meta])* $name:ident $pattern:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name(Box<str>);

        impl $name {
            /// Checks the form, that the date exists, and that its year is one of
            /// [`UnixMs::BUSINESS_YEARS`]; empty is allowed.
            pub fn parse(raw: String) -> Result<Self, String> {
                if !raw.is_empty() && !UnixMs::BUSINESS_YEARS.contains(&date_time_of(&raw, $pattern)?.year()) {
                    return Err(date_rule($pattern));
                }
                Ok(Self(raw.into_boxed_str()))
            }

            /// Takes a text from the log, with any year: earlier builds accepted years of other
            /// calendars, and what they accepted stays readable.
            pub fn parse_stored(raw: String) -> Result<Self, String> {
                if !raw.is_empty() {
                    date_time_of(&raw, $pattern)?;
                }
                Ok(Self(raw.into_boxed_str()))
            }

            /// The time, to the second; absent if it is empty.
            pub fn at(&self) -> Option<UnixMs> {
                let time = date_time_of(&self.0, $pattern).ok()?;
                let at = Offset::constant(8).to_timestamp(time).ok()?;
                Some(UnixMs(at.as_millisecond()))
            }

            /// The text as it was parsed.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
    )*};
}

pos_times! {
    /// PosTradeTime: `yyyy/MM/dd HH:mm:ss` in Asia/Taipei, or empty.
    PosTradeTime "yyyy/MM/dd HH:mm:ss";
    /// SendTime: `yyyyMMddHHmmss` in Asia/Taipei, or empty.
    SendTime "yyyyMMddHHmmss";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_that_do_not_exist_are_refused() {
        for (raw, good) in [
            ("2025/03/10 09:08:07", true),
            ("2024/02/29 00:00:00", true),
            ("", true),
            ("2025/02/29 00:00:00", false),
            ("2025/13/01 00:00:00", false),
            ("2025/03/10 24:00:00", false),
            ("2025-03-10 09:08:07", false),
            ("2025/03/10 9:08:07", false),
            ("２０２５/03/10 ", false),
        ] {
            assert_eq!(PosTradeTime::parse(raw.to_owned()).is_ok(), good, "{raw}");
            assert_eq!(PosTradeTime::parse_stored(raw.to_owned()).is_ok(), good, "{raw}");
        }
        assert!(SendTime::parse("20250310090807".to_owned()).is_ok());
        assert!(SendTime::parse("20250310096007".to_owned()).is_err());
        let at = |raw: &str| SendTime::parse(raw.to_owned()).unwrap().at();
        assert_eq!((at("20250310090807"), at("")), (Some(UnixMs(1_741_568_887_000)), None));
    }

    #[test]
    fn a_year_of_another_calendar_is_refused_except_in_the_log() {
        for (raw, is_readable) in [
            ("0115/11/28 10:00:00", true),
            ("1999/12/31 23:59:59", true),
            ("2200/01/01 00:00:00", true),
            ("2569/11/28 10:00:00", true),
            ("115/11/28 10:00:00", false),
        ] {
            let refusal = PosTradeTime::parse(raw.to_owned()).unwrap_err();
            assert!(refusal.ends_with("of a Gregorian year from 2000 to 2199, such as 2026 and not 115"), "{refusal}");
            assert_eq!(PosTradeTime::parse_stored(raw.to_owned()).is_ok(), is_readable, "{raw}");
        }
        for raw in ["2000/01/01 00:00:00", "2199/12/31 23:59:59"] {
            assert!(PosTradeTime::parse(raw.to_owned()).is_ok(), "{raw}");
        }
        assert!(SendTime::parse("01151128100000".to_owned()).is_err());
        assert!(SendTime::parse_stored("01151128100000".to_owned()).is_ok());
    }

    #[test]
    fn a_time_is_in_the_years_of_a_business_by_the_clock_of_taipei() {
        for (ms, expected) in [
            (946_655_999_999, false),
            (946_656_000_000, true),
            (7_258_089_599_999, true),
            (7_258_089_600_000, false),
            (-58_500_000_000_000, false),
            (i64::MAX, false),
        ] {
            assert_eq!(UnixMs(ms).is_in_business_years(), expected, "{ms}");
        }
    }

    #[test]
    fn taipei_is_eight_hours_ahead() {
        assert_eq!(UnixMs(0).taipei(), "1970/01/01 08:00:00");
        assert_eq!(UnixMs(1_741_568_887_999).taipei(), "2025/03/10 09:08:07");
        assert_eq!(UnixMs(i64::MAX).taipei(), "");
    }
}
