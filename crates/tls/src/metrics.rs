//! The metrics of certificates.

use twqr_metric::{Metric, MetricKind};

/// How long each certificate is still valid.
pub(crate) const DAYS_LEFT: Metric = Metric {
    name: "twqr_certificate_days_left",
    kind: MetricKind::Gauge,
    unit: "days",
    labels: &["certificate"],
    meaning: "Days until the certificate in force ends, below 0 afterwards; of several authorities, the first one that \
              ends. The label is the key of the configuration, such as tls.grpc.certificate_file",
    action: "Alert CertificateEnds",
};
/// Changes of the files.
pub(crate) const RELOADS: Metric = Metric {
    name: "twqr_certificate_reloads_total",
    kind: MetricKind::Counter,
    unit: "changes",
    labels: &["section", "result"],
    meaning: "Changes of the files of a section of the configuration, such as tls.grpc, that came into force (done), or \
              that could not be used (refused)",
    action: "Compare with the changes that you made",
};
/// Whether the files are other ones than those in force.
pub(crate) const REFUSED: Metric = Metric {
    name: "twqr_certificate_refused",
    kind: MetricKind::Gauge,
    unit: "1",
    labels: &["section"],
    meaning: "1 while the files of a section of the configuration cannot be used and older ones are in force",
    action: "Alert CertificateRefused; the log names the file",
};

/// The metrics of certificates.
pub const METRICS: &[Metric] = &[DAYS_LEFT, RELOADS, REFUSED];
