//! The figures of a benchmark: percentiles of latency, and the highest rate that the system
//! sustains.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::quantile::quantile_ms;

/// Percentiles of latency in ms, counted from the intended start.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[allow(clippy::struct_field_names, reason = "the unit belongs to each name")]
pub(crate) struct Percentiles {
    pub(crate) p50_ms: f64,
    pub(crate) p90_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) max_ms: f64,
}

impl Percentiles {
    /// Percentiles of a histogram in µs.
    pub(crate) fn of(latencies: &Histogram<u64>) -> Self {
        let at = |quantile| quantile_ms(latencies, quantile);
        Self { p50_ms: at(0.5), p90_ms: at(0.9), p99_ms: at(0.99), p999_ms: at(0.999), max_ms: at(1.0) }
    }

    /// Each percentile as a multiple of the same one of `floor`.
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

/// The figure as a multiple of `floor`, with two decimals; 0 if the floor is 0.
pub(crate) fn ratio(figure: f64, floor: f64) -> f64 {
    if floor > 0.0 { (figure / floor * 100.0).round() / 100.0 } else { 0.0 }
}

/// The measurement of one rate.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Step {
    /// Intended payments per second.
    pub(crate) rate: u32,
    /// Answered payments per second, until the last answer.
    pub(crate) answered_rate: f64,
    /// The number of calls without an answer.
    pub(crate) errors: usize,
    pub(crate) latency: Percentiles,
}

/// The share of a rate that must be answered per second by a system that keeps up with it. It is
/// below 1 because the last answers follow the last start.
const KEPT_UP_SHARE: f64 = 0.9;
/// The limit for the p99 latency of a sustained rate, in ms.
pub(crate) const P99_MS_MAX: f64 = 50.0;

impl Step {
    /// Whether the system sustained the rate: all calls answered, and p99 below the limit.
    pub(crate) fn is_sustained(&self) -> bool {
        self.is_sustained_below(P99_MS_MAX)
    }

    /// Like [`Step::is_sustained`], with another limit for p99, in ms.
    pub(crate) fn is_sustained_below(&self, p99_ms_max: f64) -> bool {
        self.errors == 0 && self.latency.p99_ms < p99_ms_max
    }

    /// Whether the system kept up with the rate: all calls were answered, nearly as many per second
    /// as were sent. Latency does not count: where the machine itself halts for a moment, a p99
    /// tells little about the system.
    pub(crate) fn is_kept_up(&self) -> bool {
        self.errors == 0 && self.answered_rate >= KEPT_UP_SHARE * f64::from(self.rate)
    }
}

/// The highest sustained rate before the first that was not sustained; 0 if there is none.
pub(crate) fn highest_rate(steps: &[Step]) -> u32 {
    highest_rate_below(steps, P99_MS_MAX)
}

/// Like [`highest_rate`], with another limit for p99, in ms.
pub(crate) fn highest_rate_below(steps: &[Step], p99_ms_max: f64) -> u32 {
    steps.iter().take_while(|step| step.is_sustained_below(p99_ms_max)).map(|step| step.rate).max().unwrap_or_default()
}

/// The highest rate before the first with which the system did not keep up; 0 if there is none.
pub(crate) fn highest_rate_kept_up(steps: &[Step]) -> u32 {
    steps.iter().take_while(|step| step.is_kept_up()).map(|step| step.rate).max().unwrap_or_default()
}

/// The number of payments at `rate` per second in `ms`.
pub(crate) fn payments_of(rate: u32, ms: u32) -> usize {
    (u64::from(rate) * u64::from(ms) / 1_000) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(rate: u32, answered_rate: f64, errors: usize, p99_ms: f64) -> Step {
        Step { rate, answered_rate, errors, latency: Percentiles { p99_ms, ..Percentiles::default() } }
    }

    #[test]
    fn a_rate_is_kept_up_with_whatever_its_latency_and_sustained_only_below_the_limit() {
        let slow = step(200, 190.0, 0, 90.0);
        for (steps, sustained, kept_up) in [
            (vec![], 0, 0),
            (vec![step(100, 100.0, 0, 9.0), slow], 100, 200),
            (vec![slow, step(400, 390.0, 0, 9.0)], 0, 400),
            (vec![slow, step(400, 350.0, 0, 400.0), step(800, 800.0, 0, 9.0)], 0, 200),
            (vec![step(100, 100.0, 1, 9.0), step(200, 200.0, 0, 9.0)], 0, 0),
        ] {
            assert_eq!((highest_rate(&steps), highest_rate_kept_up(&steps)), (sustained, kept_up), "{steps:?}");
        }
    }
}
