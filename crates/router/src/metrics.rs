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

/// Counts one applied record.
pub(crate) fn step(step: Step) {
    let label = match step {
        Step::Accepted => "accepted",
        Step::Refused => "refused",
        Step::Repeated => "repeated",
        Step::Conflicted => "conflicted",
        Step::KeyRefused => "key_refused",
        Step::Queried => "queried",
        Step::Paid => "paid",
        Step::Failed(Evidence::Declined) => "failed_declined",
        Step::Failed(Evidence::NotSent) => "failed_not_sent",
        Step::Failed(Evidence::Absent) => "failed_absent",
        Step::Failed(Evidence::Refused) => "failed_refused",
        Step::Unresolved => "unresolved",
        Step::Inquired => "asked",
        Step::Reserved => "reserved",
        Step::Refunded => "refunded",
        Step::Cancelling => "cancelling",
        Step::Cancelled => "cancelled",
        Step::Contradicted => "contradicted",
        Step::Ignored => "ignored",
    };
    metrics::counter!(STEPS, "step" => label).increment(1);
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
