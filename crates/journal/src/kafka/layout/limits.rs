//! The settings of a topic that may differ from the layout within limits: beyond a limit, records
//! that the guarantees need could be lost, so no service starts.

use super::{COMPACTION_LAG_HOURS, cluster::FoundTopic};
use crate::Topic;

const HOUR_MS: i64 = 3_600_000;

/// The shortest retention of `orders` and the task topics, in ms. A service that is down for longer
/// finds that records were deleted unread, and waits for an operator.
const RETENTION_MS_MIN: i64 = HOUR_MS;

/// The fewest copies that must have a record before it is acknowledged, for a topic with so many
/// copies. If one were enough of several, the leader's failure could lose what was acknowledged.
pub fn min_insync_least(replication: u32) -> u32 {
    replication.clamp(1, 2)
}

/// The settings of a topic that are beyond their limits.
pub(super) fn faults(name: &str, topic: Option<Topic>, found: &FoundTopic) -> Vec<String> {
    let mut faults = Vec::new();
    let mut check = |key: &str, is_allowed: fn(i64, i64) -> bool, limit: i64, allowed: &str| {
        // A broker that does not report a setting does not have it.
        let Some(value) = found.configs.get(key) else { return };
        if !value.parse().is_ok_and(|value| is_allowed(value, limit)) {
            faults.push(format!("{name}: {key} is {value}, must be {allowed}"));
        }
    };
    let at_least = |value: i64, limit: i64| value >= limit;
    let unlimited_or_at_least = |value: i64, limit: i64| value < 0 || value >= limit;
    let least = min_insync_least(found.replication);
    if least > 1 {
        let allowed = format!("{least} or more, since the topic has several replicas");
        check("min.insync.replicas", at_least, i64::from(least), &allowed);
    }
    match topic {
        Some(Topic::Orders | Topic::WalletTasks | Topic::FiscTasks) => {
            let allowed = format!("-1 or {RETENTION_MS_MIN} or more");
            check("retention.ms", unlimited_or_at_least, RETENTION_MS_MIN, &allowed);
            check("retention.bytes", |value, _| value < 0, 0, "-1: a limit in bytes deletes records at any age");
        }
        Some(Topic::OrderStates) | None => {
            let lag_ms = i64::from(COMPACTION_LAG_HOURS) * HOUR_MS;
            check("min.compaction.lag.ms", at_least, lag_ms, &format!("{lag_ms} or more: the longest restore"));
            check("max.compaction.lag.ms", at_least, lag_ms, &format!("{lag_ms} or more: the longest restore"));
        }
        Some(Topic::Callers) => {
            let why = "-1: a record that is deleted gives a revoked key back";
            check("retention.ms", |value, _| value < 0, 0, why);
            check("retention.bytes", |value, _| value < 0, 0, why);
        }
        // Nothing waits for these.
        Some(Topic::Replies | Topic::DeadLetters) => {}
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_beyond_its_limit_is_named_with_what_is_allowed() {
        let cases: [(Option<Topic>, u32, &str, &str, bool); 12] = [
            (Some(Topic::Orders), 1, "min.insync.replicas", "1", true),
            (Some(Topic::Orders), 3, "min.insync.replicas", "1", false),
            (Some(Topic::Orders), 3, "min.insync.replicas", "2", true),
            (Some(Topic::Orders), 1, "retention.ms", "3599999", false),
            (Some(Topic::WalletTasks), 1, "retention.ms", "3600000", true),
            (Some(Topic::FiscTasks), 1, "retention.ms", "-1", true),
            (Some(Topic::Orders), 1, "retention.bytes", "1073741824", false),
            (Some(Topic::Orders), 1, "retention.bytes", "-1", true),
            (Some(Topic::Replies), 1, "retention.bytes", "1073741824", true),
            (Some(Topic::OrderStates), 1, "min.compaction.lag.ms", "0", false),
            (Some(Topic::OrderStates), 1, "max.compaction.lag.ms", "60000", false),
            (Some(Topic::OrderStates), 1, "max.compaction.lag.ms", "9223372036854775807", true),
        ];
        for (topic, replication, key, value, is_allowed) in cases {
            let configs = [(key.to_owned(), value.to_owned())].into();
            let found = FoundTopic { partitions: 1, replication, configs };
            let faults = faults("orders", topic, &found);
            assert_eq!(faults.is_empty(), is_allowed, "{topic:?} {key}={value}: {faults:?}");
            let named = |fault: &String| fault.contains(key) && fault.contains(value) && fault.contains("must be");
            assert!(faults.iter().all(named), "{faults:?}");
        }
    }
}
