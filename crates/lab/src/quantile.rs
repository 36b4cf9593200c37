//! Quantiles of latencies in ms, as the reports of runs and benchmarks print them.

use hdrhistogram::Histogram;

/// The latency at a quantile (0.0 to 1.0) in ms, from a histogram in µs; 0.0 if it is empty.
pub(crate) fn quantile_ms(latencies: &Histogram<u64>, quantile: f64) -> f64 {
    latencies.value_at_quantile(quantile) as f64 / 1_000.0
}
