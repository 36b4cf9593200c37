//! The worker's metrics, by issuer.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use metrics::{Counter, Gauge, Histogram};
use tokio::time::Instant;
use twqr_journal::{Partition, Topic};
use twqr_order::Limits;
use twqr_service::{CALL_SECONDS, IssuerMetrics, Metric, MetricKind, PART_SECONDS};
use twqr_types::Issuer;
use twqr_wire::convert::BackendAnswer;

use crate::{call::Purpose, obstacle::Obstacle};

pub(crate) const DEAD_LETTERS: Metric = Metric {
    name: "twqr_worker_dead_letters_total",
    kind: MetricKind::Counter,
    unit: "records",
    labels: &[],
    meaning: "Tasks that could not be read and were written to dead-letters",
    action: "Alert DeadLettersWritten",
};
const CALLS: Metric = Metric {
    name: "twqr_worker_calls_total",
    kind: MetricKind::Counter,
    unit: "calls",
    labels: &["issuer", "purpose", "outcome"],
    meaning: "Calls to an issuer that ended, by purpose (transfer or inquiry) and outcome: done, declined, not_known, \
              undecided, malformed, timed_out, disconnected",
    action: "Alert IssuerErrors on the last four",
};
const CALL_DURATION: Metric = Metric {
    name: "twqr_worker_call_duration_seconds",
    kind: MetricKind::Histogram(CALL_SECONDS),
    unit: "seconds",
    labels: &["issuer", "purpose"],
    meaning: "From handing a call to the connection until its answer, time-out or disconnection",
    action: "A slow issuer: ask it; in_flight_max bounds what it costs",
};
const IN_FLIGHT: Metric = Metric {
    name: "twqr_worker_transfers_in_flight",
    kind: MetricKind::Gauge,
    unit: "calls",
    labels: &["issuer"],
    meaning: "Transfers that are sent and not answered yet",
    action: "At the limit, further transfers wait in the queue",
};
const IN_FLIGHT_MAX: Metric = Metric {
    name: "twqr_worker_transfers_in_flight_limit",
    kind: MetricKind::Gauge,
    unit: "calls",
    labels: &["issuer"],
    meaning: "The limit in_flight_max of the policy, for each worker",
    action: "",
};
const QUEUED: Metric = Metric {
    name: "twqr_worker_queued_transfers",
    kind: MetricKind::Gauge,
    unit: "calls",
    labels: &["issuer"],
    meaning: "Transfers that wait in the lane of the issuer",
    action: "At the limit, further transfers are not sent: alert TransfersNotSent",
};
const QUEUE_MAX: Metric = Metric {
    name: "twqr_worker_queued_transfers_limit",
    kind: MetricKind::Gauge,
    unit: "calls",
    labels: &["issuer"],
    meaning: "The limit queue_max of the policy, for each worker",
    action: "",
};
const QUEUE_WAIT: Metric = Metric {
    name: "twqr_worker_queue_wait_seconds",
    kind: MetricKind::Histogram(PART_SECONDS),
    unit: "seconds",
    labels: &["issuer"],
    meaning: "How long transfers waited in the lane of the issuer until they were sent or given up; only those that \
              waited",
    action: "Long waits: raise in_flight_max if the issuer allows it",
};
const CIRCUIT_OPEN: Metric = Metric {
    name: "twqr_worker_circuit_open",
    kind: MetricKind::Gauge,
    unit: "1",
    labels: &["issuer"],
    meaning: "1 while the circuit to the issuer is open, else 0",
    action: "Alert CircuitOpen",
};
const CIRCUIT_OPENED: Metric = Metric {
    name: "twqr_worker_circuit_opened_total",
    kind: MetricKind::Counter,
    unit: "times",
    labels: &["issuer"],
    meaning: "How often the circuit to the issuer opened, each time after failures_to_open calls in a row without a decision",
    action: "Alert CircuitOpen",
};
const INQUIRIES_PER_S: Metric = Metric {
    name: "twqr_worker_inquiries_per_second_limit",
    kind: MetricKind::Gauge,
    unit: "calls per second",
    labels: &["issuer"],
    meaning: "The limit inquiries_per_s of the policy, for each worker",
    action: "",
};
const NOT_MADE: Metric = Metric {
    name: "twqr_worker_calls_not_made_total",
    kind: MetricKind::Counter,
    unit: "calls",
    labels: &["issuer", "purpose", "reason"],
    meaning: "Transfers that were not sent and inquiries that were not made, by reason",
    action: "Transfers: alert TransfersNotSent, these payments fail; with sealed_token or card_key_missing: alert \
             CardTokensNotOpened. Inquiries with budget_used_up: alert InquiryBudgetExhausted",
};
const RESENT: Metric = Metric {
    name: "twqr_worker_resent_transfers_total",
    kind: MetricKind::Counter,
    unit: "calls",
    labels: &["issuer"],
    meaning: "Transfers of idempotent movements that were sent although another worker may have sent them before",
    action: "They follow a worker's crash; many without one: workers lose their partitions",
};
const TASKS: Metric = Metric {
    name: "twqr_worker_tasks_total",
    kind: MetricKind::Counter,
    unit: "tasks",
    labels: &["issuer", "reading"],
    meaning: "Tasks read: first, or repeated (read before, or of an earlier holder of the partition, so that it may \
              have been sent)",
    action: "Repeated ones follow a take-over; many without one: a router or worker restarts again and again",
};
const CONNECTIONS: Metric = Metric {
    name: "twqr_worker_connections",
    kind: MetricKind::Gauge,
    unit: "connections",
    labels: &["backend"],
    meaning: "Open connections to the wallet or FISC: one for each partition that is held",
    action: "Alert BackendDisconnected if there is none",
};
const CONNECTIONS_LOST: Metric = Metric {
    name: "twqr_worker_connections_lost_total",
    kind: MetricKind::Counter,
    unit: "connections",
    labels: &["backend"],
    meaning: "Connections to the wallet or FISC that broke, or could not be made",
    action: "Look at the network and at the backend's limits on pings",
};
const UNFINISHED: Metric = Metric {
    name: "twqr_worker_unfinished_tasks",
    kind: MetricKind::Gauge,
    unit: "tasks",
    labels: &["topic", "partition"],
    meaning: "Tasks of a partition held here that were read and whose outcome is not acknowledged yet",
    action: "Near 8192, reading pauses: an issuer or the journal is slow",
};
const OUTCOME_APPEND: Metric = Metric {
    name: "twqr_worker_outcome_append_seconds",
    kind: MetricKind::Histogram(PART_SECONDS),
    unit: "seconds",
    labels: &[],
    meaning: "From the append of outcomes until the journal acknowledged them",
    action: "The journal's time for an append as the worker sees it",
};

/// The metrics of the workers.
pub const METRICS: &[Metric] = &[
    DEAD_LETTERS,
    CALLS,
    CALL_DURATION,
    IN_FLIGHT,
    IN_FLIGHT_MAX,
    QUEUED,
    QUEUE_MAX,
    QUEUE_WAIT,
    CIRCUIT_OPEN,
    CIRCUIT_OPENED,
    INQUIRIES_PER_S,
    NOT_MADE,
    RESENT,
    TASKS,
    CONNECTIONS,
    CONNECTIONS_LOST,
    UNFINISHED,
    OUTCOME_APPEND,
];

/// Registers the metrics with the exporter. The series of an issuer exist from the start if the
/// policy of the configuration names it, else from its first task on.
pub(crate) fn register() {
    METRICS.iter().for_each(Metric::describe);
}

/// Makes the series of these issuers exist.
pub(crate) fn touch(issuers: impl IntoIterator<Item = Issuer>) {
    LANES.touch(issuers);
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallEnd {
    Done,
    Declined,
    NotKnown,
    Undecided,
    Malformed,
    TimedOut,
    Disconnected,
}

impl CallEnd {
    const ALL: [Self; 7] = [
        Self::Done,
        Self::Declined,
        Self::NotKnown,
        Self::Undecided,
        Self::Malformed,
        Self::TimedOut,
        Self::Disconnected,
    ];

    pub(crate) fn of(answer: &BackendAnswer) -> Self {
        match answer {
            BackendAnswer::Approved(_) | BackendAnswer::Refunded(_) | BackendAnswer::Reversed(_) => Self::Done,
            BackendAnswer::Declined(_) => Self::Declined,
            BackendAnswer::TradeUnknown => Self::NotKnown,
            BackendAnswer::Undecided => Self::Undecided,
            BackendAnswer::Malformed(_) => Self::Malformed,
        }
    }

    const fn label(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Declined => "declined",
            Self::NotKnown => "not_known",
            Self::Undecided => "undecided",
            Self::Malformed => "malformed",
            Self::TimedOut => "timed_out",
            Self::Disconnected => "disconnected",
        }
    }

    /// The reason in an outcome of a call without an answer.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Disconnected => "the connection broke before the answer",
            Self::TimedOut => "no answer in time",
            Self::Done | Self::Declined | Self::NotKnown | Self::Undecided | Self::Malformed => "it was answered",
        }
    }
}

/// The series of one issuer.
#[derive(Debug)]
pub(crate) struct LaneMetrics {
    pub(crate) in_flight: Gauge,
    pub(crate) queued: Gauge,
    pub(crate) queue_wait: Histogram,
    pub(crate) circuit_open: Gauge,
    pub(crate) circuit_opened: Counter,
    pub(crate) resent: Counter,
    /// The label of the issuer. The gauges of limits do not exist before the limits are known.
    issuer: String,
    tasks: [Counter; 2],
    transfers: CallMetrics,
    inquiries: CallMetrics,
}

/// The series of one issuer for one purpose.
#[derive(Debug)]
struct CallMetrics {
    duration: Histogram,
    /// A counter for each [`CallEnd`].
    ends: [Counter; CallEnd::ALL.len()],
    /// A counter for each [`Obstacle`].
    not_made: [Counter; Obstacle::ALL.len()],
}

impl CallMetrics {
    fn of(issuer: &str, purpose: &str) -> Self {
        Self {
            duration: CALL_DURATION.histogram(&[issuer, purpose]),
            ends: CallEnd::ALL.map(|end| CALLS.counter(&[issuer, purpose, end.label()])),
            not_made: Obstacle::ALL.map(|why| NOT_MADE.counter(&[issuer, purpose, why.label()])),
        }
    }
}

static LANES: LazyLock<IssuerMetrics<LaneMetrics>> = LazyLock::new(|| IssuerMetrics::new(LaneMetrics::look_up));

impl LaneMetrics {
    pub(crate) fn of(issuer: Issuer) -> Arc<Self> {
        LANES.of(issuer)
    }

    fn look_up(issuer: &str) -> Self {
        Self {
            in_flight: IN_FLIGHT.gauge(&[issuer]),
            queued: QUEUED.gauge(&[issuer]),
            queue_wait: QUEUE_WAIT.histogram(&[issuer]),
            circuit_open: CIRCUIT_OPEN.gauge(&[issuer]),
            circuit_opened: CIRCUIT_OPENED.counter(&[issuer]),
            resent: RESENT.counter(&[issuer]),
            issuer: issuer.to_owned(),
            tasks: ["first", "repeated"].map(|reading| TASKS.counter(&[issuer, reading])),
            transfers: CallMetrics::of(issuer, "transfer"),
            inquiries: CallMetrics::of(issuer, "inquiry"),
        }
    }

    /// Shows the limits that are in force.
    pub(crate) fn set_limits(&self, limits: Limits) {
        let issuer = self.issuer.as_str();
        IN_FLIGHT_MAX.gauge(&[issuer]).set(f64::from(limits.in_flight_max));
        QUEUE_MAX.gauge(&[issuer]).set(f64::from(limits.queue_max));
        INQUIRIES_PER_S.gauge(&[issuer]).set(f64::from(limits.inquiries_per_s));
    }

    /// Counts a task that was read.
    pub(crate) fn task(&self, is_fresh: bool) {
        self.tasks[usize::from(!is_fresh)].increment(1);
    }

    /// Counts a call that ended, and how long it took.
    pub(crate) fn call(&self, purpose: Purpose, end: CallEnd, took: Duration) {
        let calls = self.calls(purpose);
        calls.ends[end as usize].increment(1);
        calls.duration.record(took.as_secs_f64());
    }

    /// Counts a call that was not made.
    pub(crate) fn not_made(&self, purpose: Purpose, why: Obstacle) {
        self.calls(purpose).not_made[why as usize].increment(1);
    }

    const fn calls(&self, purpose: Purpose) -> &CallMetrics {
        match purpose {
            Purpose::Transfer => &self.transfers,
            Purpose::Inquiry { .. } => &self.inquiries,
        }
    }
}

/// The connections of the workers of a topic to their backend.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionMetrics {
    open: Gauge,
    lost: Counter,
}

/// A connection that counts as open until this is dropped.
pub(crate) struct OpenConnection(ConnectionMetrics);

impl ConnectionMetrics {
    pub(crate) fn of(topic: Topic) -> Self {
        let backend = if topic == Topic::WalletTasks { "wallet" } else { "fisc" };
        Self { open: CONNECTIONS.gauge(&[backend]), lost: CONNECTIONS_LOST.counter(&[backend]) }
    }

    pub(crate) fn opened(&self) -> OpenConnection {
        self.open.increment(1.0);
        OpenConnection(self.clone())
    }

    /// Counts a connection that broke, or could not be made.
    pub(crate) fn lost(&self) {
        self.lost.increment(1);
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.open.decrement(1.0);
    }
}

/// The number of unfinished tasks of a partition that is held here; 0 once this is dropped.
pub(crate) struct UnfinishedGauge(Gauge);

impl UnfinishedGauge {
    pub(crate) fn of(partition: Partition) -> Self {
        Self(UNFINISHED.gauge(&[partition.topic.name(), &partition.index.to_string()]))
    }

    pub(crate) fn set(&self, tasks: usize) {
        self.0.set(tasks as f64);
    }
}

impl Drop for UnfinishedGauge {
    fn drop(&mut self) {
        self.0.set(0.0);
    }
}

/// Notes that outcomes which were appended at `since` are acknowledged.
pub(crate) fn outcomes_acknowledged(since: Instant) {
    static SECONDS: LazyLock<Histogram> = LazyLock::new(|| OUTCOME_APPEND.histogram(&[]));
    SECONDS.record(since.elapsed().as_secs_f64());
}
