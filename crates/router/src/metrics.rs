//! The router's metrics, and the numbers of one shard.

use std::sync::LazyLock;

use tokio::time::Instant;
use twqr_order::{Evidence, Order, Policy, Step};
use twqr_service::{COUNTS, IssuerMetrics, LONG_SECONDS, Metric, MetricKind, PART_SECONDS};
use twqr_types::{Issuer, ShardId, UnixMs};

const STEPS: Metric = Metric {
    name: "twqr_router_steps_total",
    kind: MetricKind::Counter,
    unit: "records",
    labels: &["step"],
    meaning: "Records applied, by the step that the order took. Records that a restore replays count again",
    action: "contradicted: alert FinalStateContradicted. unresolved, failed_absent: ask the issuer. repeated, \
             conflicted: callers repeat numbers. replayed: a signed request was sent again",
};
pub(crate) const DEAD_LETTERS: Metric = Metric {
    name: "twqr_router_dead_letters_total",
    kind: MetricKind::Counter,
    unit: "records",
    labels: &[],
    meaning: "Records of orders that could not be used and were written to dead-letters",
    action: "Alert DeadLettersWritten",
};
const CHECKPOINT_STATES: Metric = Metric {
    name: "twqr_router_checkpoint_states_total",
    kind: MetricKind::Counter,
    unit: "states",
    labels: &[],
    meaning: "States written to order-states",
    action: "Its rate is a part of the load on the journal",
};
const STATES_READ: Metric = Metric {
    name: "twqr_router_states_read_total",
    kind: MetricKind::Counter,
    unit: "records",
    labels: &["by"],
    meaning: "Records of order-states read, by restores and by standbys",
    action: "Many in a restore: the local store was lost, or standby is off",
};
const REPLIES_LOST: Metric = Metric {
    name: "twqr_router_replies_lost_total",
    kind: MetricKind::Counter,
    unit: "replies",
    labels: &[],
    meaning: "Replies that may not have been written; their callers must query",
    action: "Alert RepliesLost",
};
const RECORDS_AHEAD: Metric = Metric {
    name: "twqr_router_records_ahead_total",
    kind: MetricKind::Counter,
    unit: "records",
    labels: &[],
    meaning: "Records with times in the future by this clock: this clock or the writer's is wrong",
    action: "Alert RecordsAheadOfClock",
};
const OWNED: Metric = Metric {
    name: "twqr_router_shard_owned",
    kind: MetricKind::Gauge,
    unit: "1",
    labels: &["shard"],
    meaning: "1 while this process owns the shard, else 0",
    action: "Alert ShardWithoutOwner: the sum over all routers must be 1",
};
const CHECKPOINT_AGE: Metric = Metric {
    name: "twqr_router_checkpoint_age_seconds",
    kind: MetricKind::Gauge,
    unit: "seconds",
    labels: &["shard"],
    meaning: "How long states of an owned shard have waited for a checkpoint; 0 if none waits",
    action: "Alert CheckpointTooOld: a take-over replays all records since then",
};
const RESTORE_SECONDS: Metric = Metric {
    name: "twqr_router_restore_duration_seconds",
    kind: MetricKind::Histogram(LONG_SECONDS),
    unit: "seconds",
    labels: &[],
    meaning: "From the claim of a shard until its states are restored; payments of the shard wait meanwhile",
    action: "Above seconds: keep a standby (key standby), and look at the local store's disk",
};
const BATCH_RECORDS: Metric = Metric {
    name: "twqr_router_batch_records",
    kind: MetricKind::Histogram(COUNTS),
    unit: "records",
    labels: &[],
    meaning: "Records applied in one batch",
    action: "Large batches show that records wait for the router",
};
const BATCH_SECONDS: Metric = Metric {
    name: "twqr_router_batch_duration_seconds",
    kind: MetricKind::Histogram(PART_SECONDS),
    unit: "seconds",
    labels: &[],
    meaning: "From reading a batch until its effects are acknowledged by the journal",
    action: "Mostly the journal's time for an append",
};
const PAYMENT_FINAL: Metric = Metric {
    name: "twqr_router_payment_final_seconds",
    kind: MetricKind::Histogram(LONG_SECONDS),
    unit: "seconds",
    labels: &["issuer"],
    meaning: "From the acceptance of a payment until it is paid or has failed. Payments that the rules refuse at once \
              are not in it; those that a restore replays count again",
    action: "Alerts FinalBudgetBurnsFast and FinalBudgetBurnsSlowly",
};
const REFUND_FINAL: Metric = Metric {
    name: "twqr_router_refund_final_seconds",
    kind: MetricKind::Histogram(LONG_SECONDS),
    unit: "seconds",
    labels: &[],
    meaning: "From the acceptance of a refund until it has taken effect, was refused or has failed",
    action: "Slow refunds: look for a slow issuer",
};
const OUTCOMES: Metric = Metric {
    name: "twqr_router_outcomes_total",
    kind: MetricKind::Counter,
    unit: "records",
    labels: &["issuer", "step"],
    meaning: "Outcomes of movements at an issuer, by the step that the order took",
    action: "A share of unresolved or failed steps that grows: ask the issuer",
};

/// The metrics of the router.
pub const METRICS: &[Metric] = &[
    STEPS,
    DEAD_LETTERS,
    CHECKPOINT_STATES,
    STATES_READ,
    REPLIES_LOST,
    RECORDS_AHEAD,
    OWNED,
    CHECKPOINT_AGE,
    RESTORE_SECONDS,
    BATCH_RECORDS,
    BATCH_SECONDS,
    PAYMENT_FINAL,
    REFUND_FINAL,
    OUTCOMES,
];

/// Registers the metrics with the exporter, and the series whose labels are known.
pub(crate) fn register(shards: u32) {
    METRICS.iter().for_each(Metric::describe);
    for step in &STEP_LABELS {
        STEPS.touch(&[step]);
    }
    // The institutions are known with a policy.
    BY_ISSUER.touch([Issuer::Wallet]);
    for by in ["restore", "standby"] {
        STATES_READ.touch(&[by]);
    }
    for shard in 0..shards {
        let shard = shard.to_string();
        OWNED.touch(&[&shard]);
        CHECKPOINT_AGE.touch(&[&shard]);
    }
}

/// Makes the series of the issuers that a policy names exist, if there is a policy.
pub(crate) fn register_issuers(policy: Option<&Policy>) {
    BY_ISSUER.touch(policy.into_iter().flat_map(Policy::named_issuers));
}

/// The label of each step, by [`index_of`].
const STEP_LABELS: [&str; 20] = [
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
    "replayed",
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
        Step::Replayed => 19,
    }
}

const fn label(step: Step) -> &'static str {
    STEP_LABELS[index_of(step)]
}

/// The metrics that every batch changes, looked up once.
struct BatchMetrics {
    steps: [metrics::Counter; STEP_LABELS.len()],
    records: metrics::Histogram,
    seconds: metrics::Histogram,
    refund_final: metrics::Histogram,
}

static BATCH: LazyLock<BatchMetrics> = LazyLock::new(|| BatchMetrics {
    steps: STEP_LABELS.map(|step| STEPS.counter(&[step])),
    records: BATCH_RECORDS.histogram(&[]),
    seconds: BATCH_SECONDS.histogram(&[]),
    refund_final: REFUND_FINAL.histogram(&[]),
});

/// The steps to which an outcome of an issuer can lead.
const OUTCOME_STEPS: [Step; 10] = [
    Step::Paid,
    Step::Failed(Evidence::Declined),
    Step::Failed(Evidence::NotSent),
    Step::Failed(Evidence::Absent),
    Step::Unresolved,
    Step::Refunded,
    Step::Cancelling,
    Step::Cancelled,
    Step::Contradicted,
    Step::Ignored,
];

/// The metrics that an outcome of an issuer changes.
struct OutcomeMetrics {
    payment_final: metrics::Histogram,
    /// A counter for each of [`OUTCOME_STEPS`].
    steps: [metrics::Counter; OUTCOME_STEPS.len()],
}

static BY_ISSUER: LazyLock<IssuerMetrics<OutcomeMetrics>> = LazyLock::new(|| {
    IssuerMetrics::new(|issuer| OutcomeMetrics {
        payment_final: PAYMENT_FINAL.histogram(&[issuer]),
        steps: OUTCOME_STEPS.map(|step| OUTCOMES.counter(&[issuer, label(step)])),
    })
});

/// Counts the steps of one batch of records.
#[derive(Default)]
pub(crate) struct Steps([u64; STEP_LABELS.len()]);

impl Steps {
    pub(crate) fn count(&mut self, step: Step) {
        self.0[index_of(step)] += 1;
    }

    /// Adds the batch to the metrics.
    pub(crate) fn publish(&self) {
        for (counter, count) in BATCH.steps.iter().zip(self.0) {
            if count > 0 {
                counter.increment(count);
            }
        }
    }
}

/// Notes a batch that was read at `read_at`, once its effects are acknowledged.
pub(crate) fn batch_acknowledged(records: usize, read_at: Instant) {
    BATCH.records.record(records as f64);
    BATCH.seconds.record(read_at.elapsed().as_secs_f64());
}

/// Notes the outcome of a movement of this payment, written at `at`.
pub(crate) fn outcome(order: &Order, step: Step, is_charge: bool, at: UnixMs) {
    let Some((payment, issuer)) = order.as_payment().and_then(|payment| Some((payment, payment.issuer?))) else {
        return;
    };
    let metrics = BY_ISSUER.of(issuer);
    if let Some(index) = OUTCOME_STEPS.iter().position(|known| *known == step) {
        metrics.steps[index].increment(1);
    }
    if is_charge && matches!(step, Step::Paid | Step::Failed(_)) {
        metrics.payment_final.record(seconds_since(payment.accepted_at, at));
    }
}

/// Notes the final result of a refund, written at `at`.
pub(crate) fn refund_final(order: &Order, at: UnixMs) {
    BATCH.refund_final.record(seconds_since(order.accepted_at(), at));
}

fn seconds_since(begun: UnixMs, at: UnixMs) -> f64 {
    at.since(begun).max(0) as f64 / 1_000.0
}

/// Notes how long a restore took.
pub(crate) fn restored(since: Instant) {
    RESTORE_SECONDS.histogram(&[]).record(since.elapsed().as_secs_f64());
}

/// The gauges of a shard that is owned here; dropping it says that it is not any more.
pub(crate) struct OwnedGauges {
    owned: metrics::Gauge,
    checkpoint_age: metrics::Gauge,
    /// Since when states wait for a checkpoint; `None` if none do.
    waiting_since: Option<Instant>,
}

impl OwnedGauges {
    pub(crate) fn of(shard: ShardId) -> Self {
        let shard = shard.0.to_string();
        let (owned, checkpoint_age) = (OWNED.gauge(&[&shard]), CHECKPOINT_AGE.gauge(&[&shard]));
        Self { owned, checkpoint_age, waiting_since: None }
    }

    /// The shard is owned from here on.
    pub(crate) fn begin(&self) {
        self.owned.set(1.0);
    }

    /// Notes at each tick whether states wait for a checkpoint.
    pub(crate) fn tick(&mut self, is_waiting: bool) {
        self.waiting_since = is_waiting.then(|| self.waiting_since.unwrap_or_else(Instant::now));
        self.checkpoint_age.set(self.waiting_since.map_or(0.0, |since| since.elapsed().as_secs_f64()));
    }

    /// Notes that a checkpoint was written.
    pub(crate) fn checkpoint_written(&mut self) {
        self.waiting_since = None;
        self.checkpoint_age.set(0.0);
    }
}

impl Drop for OwnedGauges {
    fn drop(&mut self) {
        self.owned.set(0.0);
        self.checkpoint_age.set(0.0);
    }
}

/// Counts replies that may not have been written.
pub(crate) fn replies_lost(replies: usize) {
    REPLIES_LOST.counter(&[]).increment(replies as u64);
}

/// Counts records that are later than this process' clock.
pub(crate) fn records_ahead(records: usize) {
    RECORDS_AHEAD.counter(&[]).increment(records as u64);
}

/// Counts records of `order-states` that were read, by a restore or by a standby.
pub(crate) fn states_read(by: &'static str, records: usize) {
    STATES_READ.counter(&[by]).increment(records as u64);
}

/// Counts the states that a checkpoint writes.
pub(crate) fn checkpointed(states: usize) {
    CHECKPOINT_STATES.counter(&[]).increment(states as u64);
}
