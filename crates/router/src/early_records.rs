//! Detects records whose time is in the future by this process' clock. Then the clock of the writer
//! or of this process is wrong; which one, only an operator can find out.

use std::sync::Arc;

use tracing::warn;
use twqr_service::{Clock, LogThrottle};
use twqr_types::{ShardId, UnixMs};

use crate::{batch::DecodedRecord, metrics};

/// A record may be ahead by this much in ms, even where clocks are not measured.
const AHEAD_MS_MIN: i64 = 1_000;

/// Compares the times of a shard's records with a clock.
pub(crate) struct EarlyRecords {
    shard: ShardId,
    clock: Arc<dyn Clock>,
    throttle: LogThrottle,
}

impl EarlyRecords {
    pub(crate) fn new(shard: ShardId, clock: Arc<dyn Clock>) -> Self {
        Self { shard, clock, throttle: LogThrottle::every_ms(10_000) }
    }

    /// Counts the records that are ahead, and logs the furthest of them.
    pub(crate) fn note(&mut self, records: &[DecodedRecord]) {
        let (now, skew_max_ms) = (self.clock.now(), self.clock.skew_max_ms());
        let times = records.iter().filter_map(|record| record.readable().map(|record| record.at));
        let ahead: Vec<i64> = times.filter_map(|at| ahead_ms(at, now, skew_max_ms)).collect();
        let Some(furthest_ms) = ahead.iter().max() else { return };
        metrics::records_ahead(ahead.len());
        if let Some(suppressed) = self.throttle.permit() {
            warn!(
                shard = self.shard.0,
                ahead_ms = furthest_ms,
                records = ahead.len(),
                suppressed,
                "records have times in the future by this clock: the clock of this machine or of another one is wrong; check their time synchronisation"
            );
        }
    }
}

/// How far a record is ahead, in ms, if that is more than two clocks may differ, each by the bound.
fn ahead_ms(at: UnixMs, now: UnixMs, skew_max_ms: i64) -> Option<i64> {
    let ahead = at.0.saturating_sub(now.0);
    (ahead > AHEAD_MS_MIN.max(skew_max_ms.saturating_mul(2))).then_some(ahead)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_ahead_beyond_what_two_clocks_may_differ() {
        for (at, skew_max_ms, expected) in [
            (9_000, 0, None),
            (11_000, 0, None),
            (11_001, 0, Some(1_001)),
            (11_200, 600, None),
            (11_201, 600, Some(1_201)),
            (i64::MIN, 0, None),
            (i64::MAX, i64::MAX, None),
        ] {
            let found = ahead_ms(UnixMs(at), UnixMs(10_000), skew_max_ms);
            assert_eq!(found, expected, "at {at}, bound {skew_max_ms}");
        }
    }
}
