//! The metrics of what every process has: listeners, and consumers of partitions.

use crate::{Metric, MetricKind};

/// Connections above a listener's limit.
pub(crate) const CONNECTIONS_REFUSED: Metric = Metric {
    name: "twqr_connections_refused_total",
    kind: MetricKind::Counter,
    unit: "connections",
    labels: &["listener"],
    meaning: "Connections closed at once because the listener had reached its limit",
    action: "Alert ConnectionsRefused",
};
/// Connections whose caller's certificate is no longer accepted.
pub(crate) const CONNECTIONS_UNTRUSTED: Metric = Metric {
    name: "twqr_connections_untrusted_total",
    kind: MetricKind::Counter,
    unit: "connections",
    labels: &["listener"],
    meaning: "Connections that were ended because the caller's certificate had ended, or its authority was not trusted any \
              more",
    action: "Expected after a change of authorities; otherwise a caller must renew its certificate",
};
/// Connections on which TLS did not begin.
pub(crate) const HANDSHAKES_FAILED: Metric = Metric {
    name: "twqr_tls_handshakes_failed_total",
    kind: MetricKind::Counter,
    unit: "connections",
    labels: &["listener", "reason"],
    meaning: "Connections that ended before TLS had begun: plaintext (the caller does not speak TLS), no_certificate, \
              expired or bad_certificate (that of the caller), refused_by_caller, late, or broken",
    action: "A caller or a probe is set up wrongly; the log at debug has each error",
};
/// The progress of a consumer.
pub(crate) const POSITION: Metric = Metric {
    name: "twqr_consumer_applied_position",
    kind: MetricKind::Gauge,
    unit: "offset",
    labels: &["part"],
    meaning: "The offset after the last record that was applied; 0 while the partition is not held here. The part is \
              that of the health report, such as router/shard-0",
    action: "Alert ShardStalled: it must grow while the lag is above 0",
};
/// The lag of a consumer.
pub(crate) const LAG: Metric = Metric {
    name: "twqr_consumer_lag_records",
    kind: MetricKind::Gauge,
    unit: "records",
    labels: &["part"],
    meaning: "Records of the partition that are not applied yet, looked at each second; 0 while it is not held here",
    action: "Alert ConsumerLags: add processes, or find out what is slow",
};
/// Restarts of a consumer that made no progress.
pub(crate) const STALLED: Metric = Metric {
    name: "twqr_consumer_stalled_total",
    kind: MetricKind::Counter,
    unit: "restarts",
    labels: &["part"],
    meaning: "Restarts of a consumer that applied nothing for 8 s although its input has more",
    action: "Alert ShardStalled; after three in a row the process ends",
};

/// The metrics of every process.
pub const METRICS: &[Metric] = &[CONNECTIONS_REFUSED, CONNECTIONS_UNTRUSTED, HANDSHAKES_FAILED, POSITION, LAG, STALLED];
