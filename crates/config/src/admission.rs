//! The section `[admission]`: how many calls may wait for a router's decision at once, and how long
//! that decision may take before fewer are admitted.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// The section `[admission]`.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct AdmissionConfig {
    /// How long the router may take to decide a request before fewer are admitted, in ms: 10 to
    /// 1,000.
    pub delay_ms: u32,
    /// The lowest limit of a shard on its undecided calls: 4 to `limit_max`.
    pub limit_min: u32,
    /// The highest limit of a shard: up to 100,000.
    pub limit_max: u32,
}

/// The range of `limit_max`; below its start, a reserved part of a limit would be empty.
const LIMITS: RangeInclusive<u32> = 4..=100_000;

impl Default for AdmissionConfig {
    fn default() -> Self {
        Self { delay_ms: 100, limit_min: 32, limit_max: 2_048 }
    }
}

impl AdmissionConfig {
    pub(crate) fn faults(&self) -> Vec<String> {
        let (least, most) = (*LIMITS.start(), *LIMITS.end());
        let ranges = [
            ("delay_ms", self.delay_ms, 10..=1_000),
            ("limit_min", self.limit_min, least..=self.limit_max.max(least)),
            ("limit_max", self.limit_max, least..=most),
        ];
        let wrong = ranges.into_iter().filter(|(_, value, range)| !range.contains(value));
        wrong
            .map(|(key, value, range)| {
                format!("admission.{key} is {value}, must be {} to {}", range.start(), range.end())
            })
            .collect()
    }
}
