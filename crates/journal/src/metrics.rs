//! The metrics of the journal. Those of Kafka are what its client library measures.

use std::sync::LazyLock;

use twqr_metric::{COUNTS, Metric, MetricKind};

const COMMIT_APPENDS: Metric = Metric {
    name: "twqr_journal_commit_appends",
    kind: MetricKind::Histogram(COUNTS),
    unit: "appends",
    labels: &[],
    meaning: "Appends and positions that the embedded journal wrote with one sync",
    action: "Many in one sync: the disk's syncs limit the rate",
};
const APPEND_FAILURES: Metric = Metric {
    name: "twqr_journal_append_failures_total",
    kind: MetricKind::Counter,
    unit: "appends",
    labels: &[],
    meaning: "Appends and positions that were refused, or may not have been written",
    action: "Alert JournalDead",
};
const BROKER_UP: Metric = Metric {
    name: "twqr_kafka_broker_up",
    kind: MetricKind::Gauge,
    unit: "1",
    labels: &["broker"],
    meaning: "1 while the producer has a connection to the broker, else 0; by the number of the broker",
    action: "Alert BrokerUnreachable",
};
const BROKER_RTT: Metric = Metric {
    name: "twqr_kafka_broker_rtt_seconds",
    kind: MetricKind::Gauge,
    unit: "seconds",
    labels: &["broker"],
    meaning: "How long the broker took to answer 99 of 100 requests of the last 5 s; an append waits for its replicas",
    action: "A slow broker: look at its disk, and at its replicas",
};
const BROKER_ERRORS: Metric = Metric {
    name: "twqr_kafka_broker_errors_total",
    kind: MetricKind::Counter,
    unit: "requests",
    labels: &["broker"],
    meaning: "Requests of the producer that failed, timed out or were sent again",
    action: "They rise while a broker restarts; alert BrokerUnreachable if it does not return",
};
const QUEUED_MESSAGES: Metric = Metric {
    name: "twqr_kafka_queued_messages",
    kind: MetricKind::Gauge,
    unit: "messages",
    labels: &[],
    meaning: "Messages in the producer that no broker has acknowledged yet",
    action: "At 500,000 further appends are refused",
};
const SENT_MESSAGES: Metric = Metric {
    name: "twqr_kafka_sent_messages_total",
    kind: MetricKind::Counter,
    unit: "messages",
    labels: &[],
    meaning: "Messages that the producer sent",
    action: "For the capacity of brokers",
};
const SENT_BYTES: Metric = Metric {
    name: "twqr_kafka_sent_bytes_total",
    kind: MetricKind::Counter,
    unit: "bytes",
    labels: &[],
    meaning: "Bytes that the producer sent, including protocol overhead",
    action: "For the capacity of network and disks",
};

/// The metrics of the journal.
pub const METRICS: &[Metric] = &[
    COMMIT_APPENDS,
    APPEND_FAILURES,
    BROKER_UP,
    BROKER_RTT,
    BROKER_ERRORS,
    QUEUED_MESSAGES,
    SENT_MESSAGES,
    SENT_BYTES,
];

/// Registers the metrics with the exporter.
pub(crate) fn register() {
    METRICS.iter().for_each(Metric::describe);
}

/// Notes how many appends one sync wrote.
pub(crate) fn committed(appends: usize) {
    static APPENDS: LazyLock<metrics::Histogram> = LazyLock::new(|| COMMIT_APPENDS.histogram(&[]));
    APPENDS.record(appends as f64);
}

/// Counts an append that was not acknowledged.
pub(crate) fn append_failed() {
    APPEND_FAILURES.counter(&[]).increment(1);
}

/// The producer's measurements of one broker.
pub(crate) struct BrokerFigures {
    pub(crate) id: i32,
    pub(crate) is_up: bool,
    /// Of the last interval, if it had requests.
    pub(crate) rtt_us: Option<i64>,
    /// Since the producer was made.
    pub(crate) errors: u64,
}

/// Shows what the producer measured about a broker.
pub(crate) fn broker(figures: &BrokerFigures) {
    let broker = &*figures.id.to_string();
    BROKER_UP.gauge(&[broker]).set(f64::from(u8::from(figures.is_up)));
    BROKER_ERRORS.counter(&[broker]).absolute(figures.errors);
    if let Some(us) = figures.rtt_us {
        BROKER_RTT.gauge(&[broker]).set(us as f64 / 1_000_000.0);
    }
}

/// Shows what the producer has sent since it was made, and what waits in it.
pub(crate) fn producer(queued: u64, sent_messages: u64, sent_bytes: u64) {
    QUEUED_MESSAGES.gauge(&[]).set(queued as f64);
    SENT_MESSAGES.counter(&[]).absolute(sent_messages);
    SENT_BYTES.counter(&[]).absolute(sent_bytes);
}
