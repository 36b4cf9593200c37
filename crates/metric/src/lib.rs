//! Metrics: each is defined once, with its labels, its meaning and what an operator should do. The
//! series of a metric are made only from its definition, so `deploy/metrics.md`, which is printed
//! from the definitions, names each metric and each label.

#![allow(clippy::disallowed_macros, reason = "every other crate makes series from definitions")]

use metrics::{Counter, Gauge, Histogram, Label};

/// Everything about one metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// The name: `twqr_`, the service, what is measured, the unit. Counters end in `_total`.
    pub name: &'static str,
    /// How it changes.
    pub kind: MetricKind,
    /// The unit, such as `seconds` or `calls`.
    pub unit: &'static str,
    /// The names of its labels. Each label has a bounded number of values, so a merchant, an order
    /// or an address is never one.
    pub labels: &'static [&'static str],
    /// The meaning of the metric.
    pub meaning: &'static str,
    /// The recommended action of an operator.
    pub action: &'static str,
}

/// How a metric changes.
#[derive(Clone, Copy, Debug)]
pub enum MetricKind {
    /// It only grows, and begins with 0 when the process starts.
    Counter,
    /// It rises and falls.
    Gauge,
    /// It counts values by buckets with these upper bounds.
    Histogram(&'static [f64]),
}

/// The buckets of calls, in seconds: from 1 ms to the 15 s that a POS waits.
pub const CALL_SECONDS: &[f64] = &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0];
/// The buckets of parts of a call, in seconds: a part without waiting takes only some 10 µs.
pub const PART_SECONDS: &[f64] =
    &[0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 1.0, 15.0];
/// The buckets of what takes minutes or hours where an issuer is slow, in seconds.
pub const LONG_SECONDS: &[f64] = &[0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3_600.0, 86_400.0];
/// The buckets of numbers of records or appends.
pub const COUNTS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0];

impl MetricKind {
    /// The name in tables and in the Prometheus format.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

impl Metric {
    /// Registers the meaning with the exporter. A metric without labels exists from then on.
    pub fn describe(&self) {
        match self.kind {
            MetricKind::Counter => metrics::describe_counter!(self.name, self.meaning),
            MetricKind::Gauge => metrics::describe_gauge!(self.name, self.meaning),
            MetricKind::Histogram(_) => metrics::describe_histogram!(self.name, self.meaning),
        }
        if self.labels.is_empty() {
            self.touch(&[]);
        }
    }

    /// Makes the series with these values of the labels exist, so that its first increase is seen.
    pub fn touch(&self, values: &[&str]) {
        match self.kind {
            MetricKind::Counter => drop(self.counter(values)),
            MetricKind::Gauge => drop(self.gauge(values)),
            MetricKind::Histogram(_) => drop(self.histogram(values)),
        }
    }

    /// The series of a counter with these values of the labels, in the order of `labels`. Looking
    /// it up costs more than counting: what happens for each payment keeps it.
    pub fn counter(&self, values: &[&str]) -> Counter {
        debug_assert!(matches!(self.kind, MetricKind::Counter), "{} is no counter", self.name);
        metrics::counter!(self.name, self.label_values(values))
    }

    /// The series of a gauge; like [`Self::counter`].
    pub fn gauge(&self, values: &[&str]) -> Gauge {
        debug_assert!(matches!(self.kind, MetricKind::Gauge), "{} is no gauge", self.name);
        metrics::gauge!(self.name, self.label_values(values))
    }

    /// The series of a histogram; like [`Self::counter`].
    pub fn histogram(&self, values: &[&str]) -> Histogram {
        debug_assert!(matches!(self.kind, MetricKind::Histogram(_)), "{} is no histogram", self.name);
        metrics::histogram!(self.name, self.label_values(values))
    }

    fn label_values(&self, values: &[&str]) -> Vec<Label> {
        debug_assert_eq!(values.len(), self.labels.len(), "{} has the labels {:?}", self.name, self.labels);
        self.labels.iter().zip(values).map(|(label, value)| Label::new(*label, (*value).to_owned())).collect()
    }
}
