//! The metrics of what the services share when they read partitions.

use twqr_service::{Metric, MetricKind};

/// The clock of this process.
pub(crate) const SKEW: Metric = Metric {
    name: "twqr_clock_skew_seconds",
    kind: MetricKind::Gauge,
    unit: "seconds",
    labels: &[],
    meaning: "By how much at least the clock is ahead of the brokers' clocks; 0 if it may be right, negative if it is \
              behind. On Kafka only",
    action: "Alert ClockWrong",
};
/// Letters that could not be written.
pub(crate) const LETTERS_LOST: Metric = Metric {
    name: "twqr_dead_letters_lost_total",
    kind: MetricKind::Counter,
    unit: "records",
    labels: &[],
    meaning: "Records that could not be used and may not be in dead-letters either",
    action: "Alert DeadLettersLost",
};

/// The metrics that several services share.
pub const METRICS: &[Metric] = &[SKEW, LETTERS_LOST];
