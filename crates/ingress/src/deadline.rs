//! Until when a call is answered: a little before the caller's own deadline, and never later than the POS would wait.

use std::time::Duration;

use tokio::time::Instant;
use tonic::metadata::MetadataMap;

use crate::Settings;

/// The moment by which the call is answered.
pub(crate) fn deadline(metadata: &MetadataMap, settings: &Settings) -> Instant {
    let header = metadata.get("grpc-timeout").and_then(|value| value.to_str().ok());
    Instant::now() + wait(header.and_then(grpc_timeout), settings)
}

/// The margin never takes more than half of what the caller gives.
fn wait(caller: Option<Duration>, settings: &Settings) -> Duration {
    let Some(caller) = caller else { return settings.answer_within };
    let before = caller.saturating_sub(settings.deadline_margin).max(caller / 2);
    before.min(settings.answer_within)
}

/// At most eight digits and a unit (gRPC over HTTP/2). Anything else is as if there were none.
fn grpc_timeout(raw: &str) -> Option<Duration> {
    let (digits, unit) = raw.split_at_checked(raw.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3_600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_read_as_the_protocol_says() {
        for (raw, expected) in [
            ("5S", Some(5_000)),
            ("2M", Some(120_000)),
            ("1H", Some(3_600_000)),
            ("250m", Some(250)),
            ("99999999m", Some(99_999_999)),
            ("3000u", Some(3)),
            ("4000000n", Some(4)),
            ("", None),
            ("S", None),
            ("+5S", None),
            ("5", None),
            ("5s", None),
            ("123456789m", None),
            ("5秒", None),
        ] {
            assert_eq!(grpc_timeout(raw), expected.map(Duration::from_millis), "{raw:?}");
        }
    }

    #[test]
    fn the_answer_leaves_before_the_caller_gives_up() {
        let settings = Settings::default();
        for (caller_ms, expected_ms) in
            [(None, 12_000), (Some(60_000), 12_000), (Some(5_000), 4_800), (Some(300), 150), (Some(0), 0)]
        {
            let waited = wait(caller_ms.map(Duration::from_millis), &settings);
            assert_eq!(waited, Duration::from_millis(expected_ms), "{caller_ms:?}");
        }
    }
}
