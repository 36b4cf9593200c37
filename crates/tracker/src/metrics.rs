//! The metrics of the tracker.

use std::{collections::HashMap, time::Duration};

use metrics::Gauge;
use tonic::Code;
use twqr_service::{CALL_SECONDS, IssuerMetrics, Metric, MetricKind};
use twqr_types::{Issuer, UnixMs};

pub(crate) const DEAD_LETTERS: Metric = Metric {
    name: "twqr_tracker_dead_letters_total",
    kind: MetricKind::Counter,
    unit: "records",
    labels: &[],
    meaning: "Records of order-states that could not be read and were written to dead-letters",
    action: "Alert DeadLettersWritten",
};
const DUE: Metric = Metric {
    name: "twqr_tracker_due_records_total",
    kind: MetricKind::Counter,
    unit: "records",
    labels: &[],
    meaning: "Due records written, each for an order in progress whose check time has come",
    action: "Its rate follows the budgets of inquiries",
};
const STATES: Metric = Metric {
    name: "twqr_tracker_states_total",
    kind: MetricKind::Counter,
    unit: "states",
    labels: &[],
    meaning: "States written to the read model",
    action: "",
};
const MODEL_FAILURES: Metric = Metric {
    name: "twqr_tracker_read_model_failures_total",
    kind: MetricKind::Counter,
    unit: "attempts",
    labels: &[],
    meaning: "Failed attempts to read or write the read model; due records are written meanwhile",
    action: "Alert ReadModelBehind: look for a full disk",
};
const UNWRITTEN: Metric = Metric {
    name: "twqr_tracker_read_model_unwritten_records",
    kind: MetricKind::Gauge,
    unit: "records",
    labels: &["shard"],
    meaning: "Records of order-states that the read model does not have yet",
    action: "Alert ReadModelBehind: the operators' API is behind, payments are not",
};
const IN_PROGRESS: Metric = Metric {
    name: "twqr_tracker_in_progress_orders",
    kind: MetricKind::Gauge,
    unit: "orders",
    labels: &["shard"],
    meaning: "Orders in progress",
    action: "Compare it with the ages: many young ones are load, old ones an issuer that does not answer",
};
const OLDER: Metric = Metric {
    name: "twqr_tracker_in_progress_older_orders",
    kind: MetricKind::Gauge,
    unit: "orders",
    labels: &["shard", "than"],
    meaning: "Orders in progress that are older than the label's number of seconds",
    action: "Alert OrdersInProgressTooLong: `twqr orders --in-progress` names them",
};
const BY_ISSUER: Metric = Metric {
    name: "twqr_tracker_in_progress_by_issuer_orders",
    kind: MetricKind::Gauge,
    unit: "orders",
    labels: &["issuer"],
    meaning: "Payments in progress by issuer, over all shards",
    action: "Shows which issuer does not resolve its payments",
};
const ATTENTION: Metric = Metric {
    name: "twqr_tracker_attention_orders",
    kind: MetricKind::Gauge,
    unit: "orders",
    labels: &["shard"],
    meaning: "Orders in progress that need an operator",
    action: "Alert OrdersNeedAttention: `twqr orders --attention` names them with the reason",
};
const OLDEST: Metric = Metric {
    name: "twqr_tracker_oldest_in_progress_seconds",
    kind: MetricKind::Gauge,
    unit: "seconds",
    labels: &["shard"],
    meaning: "Age of the oldest order in progress; 0 if there is none",
    action: "Alert OrdersInProgressTooLong",
};
const BUDGET_DELAY: Metric = Metric {
    name: "twqr_tracker_inquiry_budget_delay_seconds",
    kind: MetricKind::Gauge,
    unit: "seconds",
    labels: &["issuer"],
    meaning: "How long an order that is due waits for the issuer's budget of inquiries",
    action: "Alert InquiryBudgetExhausted: raise inquiries_per_s if the issuer allows it",
};
const CALLS: Metric = Metric {
    name: "twqr_tracker_calls_total",
    kind: MetricKind::Counter,
    unit: "calls",
    labels: &["method", "code"],
    meaning: "Calls of the operators' API that were answered, by method and gRPC code",
    action: "Unavailable: the read model cannot be read, alert ReadModelBehind",
};
const CALL_DURATION: Metric = Metric {
    name: "twqr_tracker_call_duration_seconds",
    kind: MetricKind::Histogram(CALL_SECONDS),
    unit: "seconds",
    labels: &["method"],
    meaning: "From the arrival of a call of the operators' API until its answer begins",
    action: "Slow lists: the read model's disk is slow",
};

/// The metrics of the tracker.
pub const METRICS: &[Metric] = &[
    DEAD_LETTERS,
    DUE,
    STATES,
    MODEL_FAILURES,
    UNWRITTEN,
    IN_PROGRESS,
    OLDER,
    BY_ISSUER,
    ATTENTION,
    OLDEST,
    BUDGET_DELAY,
    CALLS,
    CALL_DURATION,
];

/// The ages by which orders in progress are counted, in seconds.
const AGES_S: [i64; 5] = [1, 10, 60, 600, 3_600];

/// Registers the metrics with the exporter, where those without labels exist from then on.
pub(crate) fn register() {
    METRICS.iter().for_each(Metric::describe);
}

/// The codes with which counted calls of the operators' API end. Calls of unknown methods are not
/// counted.
pub(crate) const CODES: [Code; 10] = [
    Code::Ok,
    Code::InvalidArgument,
    Code::NotFound,
    Code::PermissionDenied,
    Code::ResourceExhausted,
    Code::FailedPrecondition,
    Code::Aborted,
    Code::Internal,
    Code::Unavailable,
    Code::Unauthenticated,
];

/// Registers the calls of the operators' API, by the names of its methods.
pub(crate) fn register_calls(methods: &[&'static str]) {
    for method in methods {
        for code in CODES {
            CALLS.touch(&[method, &format!("{code:?}")]);
        }
        CALL_DURATION.touch(&[method]);
    }
}

/// Counts a call of the operators' API.
pub(crate) fn call(method: &'static str, code: Code, took: Duration) {
    CALLS.counter(&[method, &format!("{code:?}")]).increment(1);
    CALL_DURATION.histogram(&[method]).record(took.as_secs_f64());
}

/// The gauges of an issuer, over all shards.
#[derive(Debug)]
pub(crate) struct IssuerGauges {
    in_progress: Gauge,
    pub(crate) budget_delay: Gauge,
}

/// The gauges of all issuers, shared by the followers of all shards.
pub(crate) fn issuer_gauges() -> IssuerMetrics<IssuerGauges> {
    IssuerMetrics::new(|issuer| IssuerGauges {
        in_progress: BY_ISSUER.gauge(&[issuer]),
        budget_delay: BUDGET_DELAY.gauge(&[issuer]),
    })
}

/// The gauges of one shard, and the counters of all shards.
pub(crate) struct Gauges {
    in_progress: Gauge,
    /// A gauge for each of [`AGES_S`].
    older: [Gauge; AGES_S.len()],
    oldest: Gauge,
    attention: Gauge,
    unwritten: Gauge,
    /// The orders of this shard by issuer, as last added to the issuers' gauges.
    by_issuer: HashMap<Issuer, usize>,
}

impl Gauges {
    pub(crate) fn of(shard: u32) -> Self {
        let shard = &*shard.to_string();
        Self {
            in_progress: IN_PROGRESS.gauge(&[shard]),
            older: AGES_S.map(|age| OLDER.gauge(&[shard, &age.to_string()])),
            oldest: OLDEST.gauge(&[shard]),
            attention: ATTENTION.gauge(&[shard]),
            unwritten: UNWRITTEN.gauge(&[shard]),
            by_issuer: HashMap::new(),
        }
    }

    /// Shows how many orders need an operator, and how many records the read model lacks.
    pub(crate) fn set(&self, attention: usize, unwritten: u64) {
        self.attention.set(attention as f64);
        self.unwritten.set(unwritten as f64);
    }

    /// Shows the orders in progress: when each was accepted, and its issuer, if it has one.
    pub(crate) fn set_in_progress(
        &mut self,
        orders: impl Iterator<Item = (UnixMs, Option<Issuer>)>,
        issuers: &IssuerMetrics<IssuerGauges>,
        now: UnixMs,
    ) {
        let (mut all, mut older, mut oldest_ms) = (0_usize, [0_usize; AGES_S.len()], 0);
        let mut by_issuer: HashMap<Issuer, usize> = self.by_issuer.keys().map(|issuer| (*issuer, 0)).collect();
        for (accepted_at, issuer) in orders {
            let age_ms = now.since(accepted_at);
            all += 1;
            oldest_ms = oldest_ms.max(age_ms);
            for (count, age_s) in older.iter_mut().zip(AGES_S) {
                *count += usize::from(age_ms > age_s * 1_000);
            }
            if let Some(issuer) = issuer {
                *by_issuer.entry(issuer).or_default() += 1;
            }
        }
        self.in_progress.set(all as f64);
        self.oldest.set(oldest_ms as f64 / 1_000.0);
        self.older.iter().zip(older).for_each(|(gauge, count)| gauge.set(count as f64));
        // The gauges of issuers are over all shards: each adds what has changed.
        for (issuer, count) in &by_issuer {
            let before = self.by_issuer.get(issuer).copied().unwrap_or_default();
            issuers.of(*issuer).in_progress.increment(*count as f64 - before as f64);
        }
        self.by_issuer = by_issuer;
    }

    pub(crate) fn count_states(states: usize) {
        STATES.counter(&[]).increment(states as u64);
    }

    pub(crate) fn count_model_failure() {
        MODEL_FAILURES.counter(&[]).increment(1);
    }

    pub(crate) fn count_due_records(orders: usize) {
        DUE.counter(&[]).increment(orders as u64);
    }
}
