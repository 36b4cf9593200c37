//! Histograms of latencies.

use hdrhistogram::Histogram;

use crate::CallResult;

/// The highest latency that a histogram records, in µs; higher ones count as this one.
const LATENCY_US_MAX: u64 = 120_000_000;

/// An empty histogram of latencies in µs, with three significant digits.
pub fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).unwrap_or_else(|_| unreachable!("the bounds are constants"))
}

/// The latencies of calls, in µs.
pub fn latencies<'a>(results: impl IntoIterator<Item = &'a CallResult>) -> Histogram<u64> {
    let mut histogram = latency_histogram();
    for result in results {
        histogram.saturating_record(result.latency_us);
    }
    histogram
}
