//! The metrics of the tracker.

use twqr_types::UnixMs;

use crate::alarms::Alarms;

pub(crate) const DEAD_LETTERS: &str = "twqr_tracker_dead_letters_total";
const DUE: &str = "twqr_tracker_due_records_total";
const STATES: &str = "twqr_tracker_states_total";
const IN_PROGRESS: &str = "twqr_tracker_in_progress_orders";
const ATTENTION: &str = "twqr_tracker_attention_orders";
const UNWRITTEN: &str = "twqr_tracker_read_model_unwritten_records";
const MODEL_FAILURES: &str = "twqr_tracker_read_model_failures_total";
const OLDEST: &str = "twqr_tracker_oldest_in_progress_seconds";

/// Registers the descriptions of all metrics with the exporter.
pub(crate) fn describe() {
    metrics::describe_counter!(DUE, "Due records written");
    metrics::describe_counter!(STATES, "States written to the read model");
    metrics::describe_counter!(
        MODEL_FAILURES,
        "Failed attempts to read or write the read model; alarms ring meanwhile"
    );
    metrics::describe_gauge!(UNWRITTEN, "Records of order-states that the read model does not have yet, by shard");
    metrics::describe_gauge!(IN_PROGRESS, "Orders in progress, by shard");
    metrics::describe_gauge!(ATTENTION, "Orders in progress that need a person, by shard");
    metrics::describe_gauge!(OLDEST, metrics::Unit::Seconds, "Age of the oldest order in progress, by shard");
}

/// The gauges of one shard, and the counters of all shards.
pub(crate) struct Gauges {
    in_progress: metrics::Gauge,
    oldest: metrics::Gauge,
    attention: metrics::Gauge,
    unwritten: metrics::Gauge,
}

impl Gauges {
    pub(crate) fn of(shard: u32) -> Self {
        let shard = shard.to_string();
        Self {
            in_progress: metrics::gauge!(IN_PROGRESS, "shard" => shard.clone()),
            oldest: metrics::gauge!(OLDEST, "shard" => shard.clone()),
            attention: metrics::gauge!(ATTENTION, "shard" => shard.clone()),
            unwritten: metrics::gauge!(UNWRITTEN, "shard" => shard),
        }
    }

    pub(crate) fn set(&self, alarms: &Alarms, unwritten: u64, now: UnixMs) {
        self.unwritten.set(unwritten as f64);
        self.in_progress.set(alarms.len() as f64);
        self.attention.set(alarms.attention() as f64);
        self.oldest.set(alarms.oldest().map_or(0.0, |since| now.since(since).max(0) as f64 / 1_000.0));
    }

    pub(crate) fn count_states(states: usize) {
        metrics::counter!(STATES).increment(states as u64);
    }

    pub(crate) fn count_model_failure() {
        metrics::counter!(MODEL_FAILURES).increment(1);
    }

    pub(crate) fn count_due_records(orders: usize) {
        metrics::counter!(DUE).increment(orders as u64);
    }
}
