//! Formats times in Asia/Taipei (UTC+8 all year), as the files have them.

use jiff::{Timestamp, tz::Offset};
use twqr_types::UnixMs;

/// A time in Asia/Taipei by a format of [`jiff::fmt::strtime`]; empty where the calendar ends (year
/// 9999).
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

    #[test]
    fn a_time_outside_the_calendar_is_written_as_an_empty_text() {
        for at in [i64::MIN, i64::MAX] {
            assert_eq!(rfc3339(UnixMs(at)), "");
        }
        assert_eq!(rfc3339(UnixMs(1_741_568_887_009)), "2025-03-10T09:08:07.009+08:00");
    }
}
