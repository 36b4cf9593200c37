//! The metrics of authentication.

use twqr_service::{Metric, MetricKind};

use crate::refusal::REASONS;

const REFUSED: Metric = Metric {
    name: "twqr_access_refused_total",
    kind: MetricKind::Counter,
    unit: "calls",
    labels: &["listener", "reason"],
    meaning: "Calls that were refused because of who sent them",
    action: "The log names the caller. After a revocation: calls still use the key (revoke-a-key.md)",
};
const UNREADABLE: Metric = Metric {
    name: "twqr_access_unreadable_records_total",
    kind: MetricKind::Counter,
    unit: "records",
    labels: &[],
    meaning: "Records of callers that this build cannot read; the process continued without them",
    action: "Find out what wrote them; compare `twqr callers list` with what you expect",
};
const READ_FAILURES: Metric = Metric {
    name: "twqr_access_read_failures_total",
    kind: MetricKind::Counter,
    unit: "attempts",
    labels: &[],
    meaning: "Failed attempts to read the callers; a process that has read them once continues with those",
    action: "A revoked key may still be accepted by this process: restore the topic, or stop the process",
};

/// The metrics of authentication.
pub const METRICS: &[Metric] = &[REFUSED, UNREADABLE, READ_FAILURES];

/// Describes the metrics, and makes the counters of a listener exist.
pub(crate) fn register(listener: &'static str) {
    METRICS.iter().for_each(Metric::describe);
    for reason in REASONS {
        REFUSED.counter(&[listener, reason]).increment(0);
    }
    UNREADABLE.counter(&[]).increment(0);
    READ_FAILURES.counter(&[]).increment(0);
}

pub(crate) fn refused(listener: &'static str, reason: &'static str) {
    REFUSED.counter(&[listener, reason]).increment(1);
}

pub(crate) fn unreadable() {
    UNREADABLE.counter(&[]).increment(1);
}

pub(crate) fn read_failure() {
    READ_FAILURES.counter(&[]).increment(1);
}
