//! The limits of wallet and institutions, and their announced maintenance, as they stand in the configuration.

use serde::{Deserialize, Serialize};
use twqr_types::UnixMs;
use twqr_worker::{LaneSettings, Maintenance};

/// The limits of one lane.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LaneConfig {
    in_flight_max: usize,
    queue_max: usize,
    failures_to_open: u32,
    open_ms: i64,
    inquiries_per_s: u32,
}

/// An announced window in which an institution is neither charged nor asked.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct MaintenanceConfig {
    pub(crate) institution: String,
    from: jiff::Timestamp,
    to: jiff::Timestamp,
}

impl Default for LaneConfig {
    fn default() -> Self {
        let LaneSettings { in_flight_max, queue_max, failures_to_open, open_ms, inquiries_per_s } =
            LaneSettings::default();
        Self { in_flight_max, queue_max, failures_to_open, open_ms, inquiries_per_s }
    }
}

impl LaneConfig {
    pub(super) fn faults(self, place: &str) -> Vec<String> {
        let ranges = [
            ("in_flight_max", i64::try_from(self.in_flight_max).unwrap_or(i64::MAX), 1..=100_000),
            ("queue_max", i64::try_from(self.queue_max).unwrap_or(i64::MAX), 0..=100_000),
            ("failures_to_open", i64::from(self.failures_to_open), 1..=10_000),
            ("open_ms", self.open_ms, 10..=600_000),
            ("inquiries_per_s", i64::from(self.inquiries_per_s), 1..=100_000),
        ];
        let fault = |(key, value, range): (&str, i64, std::ops::RangeInclusive<i64>)| {
            let (least, most) = (range.start(), range.end());
            (!range.contains(&value)).then(|| format!("{place}.{key} is {value}, must be {least} to {most}"))
        };
        ranges.into_iter().filter_map(fault).collect()
    }

    /// The limits as the worker takes them, without maintenance.
    pub(crate) fn settings(self) -> LaneSettings {
        let Self { in_flight_max, queue_max, failures_to_open, open_ms, inquiries_per_s } = self;
        LaneSettings { in_flight_max, queue_max, failures_to_open, open_ms, inquiries_per_s }
    }
}

impl MaintenanceConfig {
    pub(super) fn fault(&self, index: usize) -> Option<String> {
        (self.from >= self.to).then(|| format!("maintenance[{index}]: from must be before to"))
    }

    /// The window as the worker takes it.
    pub(crate) fn window(&self) -> Maintenance {
        Maintenance { from: UnixMs(self.from.as_millisecond()), to: UnixMs(self.to.as_millisecond()) }
    }
}
