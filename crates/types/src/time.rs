//! Times: in records as Unix ms, and in the POS document's forms in Asia/Taipei, which is UTC+8 all
//! year.

use jiff::{Timestamp, civil::DateTime, tz::Offset};

/// Milliseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMs(pub i64);

impl UnixMs {
    /// The time `ms` later; saturates at the end of the range.
    #[must_use]
    pub fn plus(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// The milliseconds from `earlier` to this time; negative if `earlier` is later.
    pub fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// `yyyy/MM/dd HH:mm:ss` in Asia/Taipei, the form of TradeTime. Empty for times outside the
    /// calendar's years.
    pub fn taipei(self) -> String {
        let Ok(at) = Timestamp::from_millisecond(self.0) else { return String::new() };
        let t = Offset::constant(8).to_datetime(at);
        format!("{:04}/{:02}/{:02} {:02}:{:02}:{:02}", t.year(), t.month(), t.day(), t.hour(), t.minute(), t.second())
    }
}

/// Checks that `raw` is an existing date in the form of `pattern`, in which each letter means a
/// digit.
fn check_date(raw: &str, pattern: &str) -> Result<(), String> {
    let wrong = || format!("must be empty or a real date and time of the form {pattern} (Asia/Taipei)");
    let fits = |(r, p): (u8, u8)| if p.is_ascii_alphabetic() { r.is_ascii_digit() } else { r == p };
    if raw.len() != pattern.len() || !raw.bytes().zip(pattern.bytes()).all(fits) {
        return Err(wrong());
    }
    let digits: Vec<i16> = raw.bytes().filter(u8::is_ascii_digit).map(|b| i16::from(b - b'0')).collect();
    let number = |range: std::ops::Range<usize>| digits[range].iter().fold(0_i16, |n, d| n * 10 + d);
    let pair = |at: usize| number(at..at + 2) as i8;
    DateTime::new(number(0..4), pair(4), pair(6), pair(8), pair(10), pair(12), 0).map(|_| ()).map_err(|_| wrong())
}

macro_rules! pos_times {
    ($($(#[$doc:meta])* $name:ident $pattern:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name(Box<str>);

        impl $name {
            /// Checks the form, and that the date exists; empty is allowed.
            pub fn parse(raw: String) -> Result<Self, String> {
                if !raw.is_empty() {
                    check_date(&raw, $pattern)?;
                }
                Ok(Self(raw.into_boxed_str()))
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
        }
        assert!(SendTime::parse("20250310090807".to_owned()).is_ok());
        assert!(SendTime::parse("20250310096007".to_owned()).is_err());
    }

    #[test]
    fn taipei_is_eight_hours_ahead() {
        assert_eq!(UnixMs(0).taipei(), "1970/01/01 08:00:00");
        assert_eq!(UnixMs(1_741_568_887_999).taipei(), "2025/03/10 09:08:07");
        assert_eq!(UnixMs(i64::MAX).taipei(), "");
    }
}
