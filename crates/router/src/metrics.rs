//! The router's metrics: their names, descriptions and labels.

use twqr_order::{Evidence, Step};

const STEPS: &str = "twqr_router_steps_total";
pub(crate) const DEAD_LETTERS: &str = "twqr_router_dead_letters_total";
const CHECKPOINT_STATES: &str = "twqr_router_checkpoint_states_total";
const STATES_READ: &str = "twqr_router_states_read_total";
const REPLIES_LOST: &str = "twqr_router_replies_lost_total";
const RECORDS_AHEAD: &str = "twqr_router_records_ahead_total";

/// Describes the metrics to the exporter.
pub(crate) fn describe() {
    metrics::describe_counter!(STEPS, "Records applied, by the step that the order took");
    metrics::describe_counter!(REPLIES_LOST, "Replies that may not have been written; their callers must query");
    metrics::describe_counter!(RECORDS_AHEAD, "Records later than this clock: this clock or the writer's is wrong");
    metrics::describe_counter!(CHECKPOINT_STATES, "States written to order-states");
    metrics::describe_counter!(STATES_READ, "Records of order-states read, by restores and by standbys");
}

/// The label of each step, by [`index_of`].
const STEP_LABELS: [&str; 19] = [
    "accepted",
    "refused",
    "repeated",
    "conflicted",
    "key_refused",
    "queried",
    "paid",
    "failed_declined",
    "failed_not_sent",
    "failed_absent",
    "failed_refused",
    "unresolved",
    "asked",
    "reserved",
    "refunded",
    "cancelling",
    "cancelled",
    "contradicted",
    "ignored",
];

const fn index_of(step: Step) -> usize {
    match step {
        Step::Accepted => 0,
        Step::Refused => 1,
        Step::Repeated => 2,
        Step::Conflicted => 3,
        Step::KeyRefused => 4,
        Step::Queried => 5,
        Step::Paid => 6,
        Step::Failed(Evidence::Declined) => 7,
        Step::Failed(Evidence::NotSent) => 8,
        Step::Failed(Evidence::Absent) => 9,
        Step::Failed(Evidence::Refused) => 10,
        Step::Unresolved => 11,
        Step::Inquired => 12,
        Step::Reserved => 13,
        Step::Refunded => 14,
        Step::Cancelling => 15,
        Step::Cancelled => 16,
        Step::Contradicted => 17,
        Step::Ignored => 18,
    }
}

/// Counts the steps of one batch of records; each kind is looked up once.
#[derive(Default)]
pub(crate) struct Steps([u64; STEP_LABELS.len()]);

impl Steps {
    pub(crate) fn count(&mut self, step: Step) {
        self.0[index_of(step)] += 1;
    }

    /// Adds the batch to the metrics.
    pub(crate) fn publish(&self) {
        for (label, count) in STEP_LABELS.into_iter().zip(self.0) {
            if count > 0 {
                metrics::counter!(STEPS, "step" => label).increment(count);
            }
        }
    }
}

/// Counts replies that may not have been written.
pub(crate) fn replies_lost(replies: usize) {
    metrics::counter!(REPLIES_LOST).increment(replies as u64);
}

/// Counts records that are later than this process' clock.
pub(crate) fn records_ahead(records: usize) {
    metrics::counter!(RECORDS_AHEAD).increment(records as u64);
}

/// Counts records of `order-states` that were read, by a restore or by a standby.
pub(crate) fn states_read(by: &'static str, records: usize) {
    metrics::counter!(STATES_READ, "by" => by).increment(records as u64);
}

/// Counts the states that a checkpoint writes.
pub(crate) fn checkpointed(states: usize) {
    metrics::counter!(CHECKPOINT_STATES).increment(states as u64);
}
