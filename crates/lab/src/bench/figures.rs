//! Figures: percentiles, and how load finds the highest rate that holds.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Percentiles in ms, from the intended start.
#[derive(Clone, Copy, Debug, Default, Serialize, serde::Deserialize)]
#[allow(clippy::struct_field_names, reason = "the unit belongs to each name")]
pub(crate) struct Percentiles {
    pub(crate) p50_ms: f64,
    pub(crate) p90_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) max_ms: f64,
}

impl Percentiles {
    /// Of latencies in µs.
    pub(crate) fn of(latencies: &Histogram<u64>) -> Self {
        let at = |quantile| latencies.value_at_quantile(quantile) as f64 / 1_000.0;
        Self {
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: latencies.max() as f64 / 1_000.0,
        }
    }

    /// Each as a multiple of the other's.
    pub(crate) fn over(self, floor: Self) -> Self {
        Self {
            p50_ms: ratio(self.p50_ms, floor.p50_ms),
            p90_ms: ratio(self.p90_ms, floor.p90_ms),
            p99_ms: ratio(self.p99_ms, floor.p99_ms),
            p999_ms: ratio(self.p999_ms, floor.p999_ms),
            max_ms: ratio(self.max_ms, floor.max_ms),
        }
    }
}

/// 0 where there is no floor.
pub(crate) fn ratio(figure: f64, floor: f64) -> f64 {
    if floor > 0.0 { (figure / floor * 100.0).round() / 100.0 } else { 0.0 }
}

/// One rate that was tried.
#[derive(Clone, Copy, Debug, Serialize, serde::Deserialize)]
pub(crate) struct Step {
    /// What was aimed at, a second.
    pub(crate) rate: u32,
    /// What was answered, a second, until the last answer.
    pub(crate) answered_rate: f64,
    /// Calls without an answer.
    pub(crate) errors: usize,
    pub(crate) latency: Percentiles,
}

/// The p99 that a sustained rate must hold, in ms.
pub(crate) const P99_MS_MAX: f64 = 50.0;

impl Step {
    /// Whether the rate was held: everything answered, p99 below the limit.
    pub(crate) fn holds(&self) -> bool {
        self.holds_below(P99_MS_MAX)
    }

    /// The same with another limit.
    pub(crate) fn holds_below(&self, p99_ms_max: f64) -> bool {
        self.errors == 0 && self.latency.p99_ms < p99_ms_max
    }
}

/// The highest rate that was held before the first that was not; 0 if none.
pub(crate) fn highest(steps: &[Step]) -> u32 {
    highest_below(steps, P99_MS_MAX)
}

/// The same with another limit.
pub(crate) fn highest_below(steps: &[Step], p99_ms_max: f64) -> u32 {
    steps.iter().take_while(|step| step.holds_below(p99_ms_max)).map(|step| step.rate).max().unwrap_or_default()
}

/// How many payments a rate makes in so many ms.
pub(crate) fn payments_of(rate: u32, ms: u32) -> usize {
    (u64::from(rate) * u64::from(ms) / 1_000) as usize
}
