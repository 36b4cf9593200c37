//! Everything that `/metrics` shows: the metrics of the services, and values that are read at each
//! request, such as the process' memory. `twqr metrics` prints the table of all metrics, which is
//! `deploy/metrics.md`.

mod process;
mod table;

use std::{fmt::Write as _, path::PathBuf};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use twqr_metric::{Metric, MetricKind};
use twqr_service::{Health, PartState};

use process::ProcessUse;
pub(crate) use table::print;

const READY: Metric = Metric {
    name: "twqr_ready",
    kind: MetricKind::Gauge,
    unit: "1",
    labels: &[],
    meaning: "1 if /readyz answers 200, else 0",
    action: "Alert NotReady: /readyz gives the reason",
};
const PART_STATE: Metric = Metric {
    name: "twqr_part_state",
    kind: MetricKind::Gauge,
    unit: "1",
    labels: &["part"],
    meaning: "The state of each part of the health report: 0 ready, 1 degraded, 2 not ready",
    action: "Alert PartDegraded, and CardKeysMissing on card-keys: /readyz gives the reason",
};
const DATA_DIR_AVAILABLE: Metric = Metric {
    name: "twqr_data_dir_available_bytes",
    kind: MetricKind::Gauge,
    unit: "bytes",
    labels: &[],
    meaning: "Free space on the disk of data_dir",
    action: "Alert DiskAlmostFull",
};
const DATA_DIR_SIZE: Metric = Metric {
    name: "twqr_data_dir_size_bytes",
    kind: MetricKind::Gauge,
    unit: "bytes",
    labels: &[],
    meaning: "The size of the disk of data_dir",
    action: "",
};
const BUILD_INFO: Metric = Metric {
    name: "twqr_build_info",
    kind: MetricKind::Gauge,
    unit: "1",
    labels: &["version"],
    meaning: "Always 1; the label is the version of the build",
    action: "Shows how far an upgrade has progressed",
};

/// The metrics that are read at each scrape, besides those of the process.
const METRICS: &[Metric] = &[READY, PART_STATE, DATA_DIR_AVAILABLE, DATA_DIR_SIZE, BUILD_INFO];

/// Every metric of the product.
fn all() -> impl Iterator<Item = &'static Metric> {
    [
        METRICS,
        process::METRICS,
        twqr_service::METRICS,
        twqr_consumer::METRICS,
        twqr_journal::METRICS,
        twqr_access::METRICS,
        twqr_ingress::METRICS,
        twqr_router::METRICS,
        twqr_worker::METRICS,
        twqr_tracker::METRICS,
        twqr_telemetry::METRICS,
        twqr_tls::METRICS,
    ]
    .into_iter()
    .flatten()
}

/// The metrics of this process, in the Prometheus format.
#[derive(Clone)]
pub(crate) struct Exposition {
    counted: PrometheusHandle,
    health: Health,
    data_dir: PathBuf,
}

impl Exposition {
    /// Begins to collect metrics. What is counted before is lost, so it is called first.
    pub(crate) fn install(health: Health, data_dir: PathBuf) -> anyhow::Result<Self> {
        let mut builder = PrometheusBuilder::new();
        for metric in all() {
            if let MetricKind::Histogram(buckets) = metric.kind {
                builder = builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets)?;
            }
        }
        let counted = builder.install_recorder()?;
        twqr_telemetry::register_metrics();
        Ok(Self { counted, health, data_dir })
    }

    /// Merges measured durations into their buckets. Without this, memory would grow with every
    /// call while `/metrics` is not scraped.
    pub(crate) fn run_upkeep(&self) {
        self.counted.run_upkeep();
    }

    /// Renders every metric.
    pub(crate) fn render(&self) -> String {
        let mut text = self.counted.render();
        add(&mut text, &READY, &[(&[], f64::from(u8::from(self.health.is_ready())))]);
        let report = self.health.report();
        let parts: Vec<_> = report.iter().map(|(part, state)| ([part.as_str()], state_value(state))).collect();
        let parts: Vec<_> = parts.iter().map(|(part, value)| (part.as_slice(), *value)).collect();
        add(&mut text, &PART_STATE, &parts);
        if let Ok(disk) = rustix::fs::statvfs(&self.data_dir) {
            let bytes = |blocks: u64| (blocks * disk.f_frsize) as f64;
            add(&mut text, &DATA_DIR_AVAILABLE, &[(&[], bytes(disk.f_bavail))]);
            add(&mut text, &DATA_DIR_SIZE, &[(&[], bytes(disk.f_blocks))]);
        }
        add(&mut text, &BUILD_INFO, &[(&[env!("CARGO_PKG_VERSION")], 1.0)]);
        if let Some(process) = ProcessUse::read() {
            process.add_to(&mut text);
        }
        text
    }
}

const fn state_value(state: &PartState) -> f64 {
    match state {
        PartState::Ready => 0.0,
        PartState::Degraded(_) => 1.0,
        PartState::NotReady(_) => 2.0,
    }
}

/// Adds a metric with its series: the values of the labels, and the value.
fn add(text: &mut String, metric: &Metric, series: &[(&[&str], f64)]) {
    let Metric { name, kind, meaning, labels, .. } = metric;
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# HELP {name} {meaning}\n# TYPE {name} {}", kind.name());
    for (values, value) in series {
        let labels: Vec<_> = labels.iter().zip(*values).map(|(label, value)| format!("{label}={value:?}")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(text, "{name}{labels} {value}");
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_metric_is_named_once_and_by_the_rules_of_prometheus() {
        let mut names = BTreeSet::new();
        for Metric { name, kind, unit, labels, meaning, .. } in all() {
            assert!(names.insert(name), "{name} is defined twice");
            assert_eq!(name.ends_with("_total"), matches!(kind, MetricKind::Counter), "{name}");
            assert_eq!(name.contains("_seconds"), *unit == "seconds", "{name} is in {unit}");
            assert_eq!(name.ends_with("_bytes") || name.ends_with("_bytes_total"), *unit == "bytes", "{name}");
            assert!(name.starts_with("twqr_") || name.starts_with("process_"), "{name}");
            assert!(!meaning.is_empty() && !meaning.contains("  "), "{name}: {meaning}");
            if let MetricKind::Histogram(buckets) = kind {
                assert!(buckets.is_sorted() && !buckets.is_empty(), "{name}: {buckets:?}");
            }
            let bounded = [
                "backend",
                "broker",
                "certificate",
                "code",
                "form",
                "hop",
                "how",
                "issuer",
                "kind",
                "listener",
                "by",
                "method",
                "outcome",
                "part",
                "partition",
                "purpose",
                "reading",
                "reason",
                "result",
                "section",
                "shard",
                "step",
                "than",
                "topic",
                "version",
            ];
            assert!(labels.iter().all(|label| bounded.contains(label)), "{name}: is a label of {labels:?} unbounded?");
        }
    }

    #[test]
    fn the_parts_are_shown_with_their_states() {
        let mut text = String::new();
        add(&mut text, &PART_STATE, &[(&["router/shard-0"], 2.0), (&["a\"b"], 0.0)]);
        let lines: Vec<_> = text.lines().skip(2).collect();
        assert_eq!(lines, ["twqr_part_state{part=\"router/shard-0\"} 2", "twqr_part_state{part=\"a\\\"b\"} 0", ""]);
    }
}
