//! Percentiles of a histogram, as the summary and the page show them.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Percentiles of a latency in ms.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LatencyFigures {
    /// How many calls were measured.
    pub count: u64,
    /// The average of all calls.
    pub mean_ms: f64,
    /// Half of the calls took at most this long.
    pub p50_ms: f64,
    /// The 90th percentile.
    pub p90_ms: f64,
    /// The 99th percentile.
    pub p99_ms: f64,
    /// The 99.9th percentile.
    pub p999_ms: f64,
    /// The 99.99th percentile.
    pub p9999_ms: f64,
    /// The 99.999th percentile.
    pub p99999_ms: f64,
    /// The longest of all calls.
    pub max_ms: f64,
}

/// One point of the curve of latency by percentile.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PercentilePoint {
    /// From 0 to 100.
    pub percentile: f64,
    /// The latency at it, in ms.
    pub ms: f64,
}

/// How fine the curve is: points for each halving of the distance to 100 %.
const TICKS: u32 = 4;

impl LatencyFigures {
    /// The figures of a histogram in µs.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
        Self {
            count: histogram.len(),
            mean_ms: (histogram.mean() / 10.0).round() / 100.0,
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            p9999_ms: at(0.9999),
            p99999_ms: at(0.99999),
            max_ms: if histogram.is_empty() { 0.0 } else { histogram.max() as f64 / 1_000.0 },
        }
    }
}

/// The curve of a histogram in µs, up to the percentile that its count can show.
pub(super) fn curve(histogram: &Histogram<u64>) -> Vec<PercentilePoint> {
    let point = |quantile: f64, us: u64| PercentilePoint { percentile: quantile * 100.0, ms: us as f64 / 1_000.0 };
    let steps = histogram.iter_quantiles(TICKS);
    steps.map(|step| point(step.quantile_iterated_to(), step.value_iterated_to())).collect()
}
