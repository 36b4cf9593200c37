//! Thresholds: conditions on a run's figures, such as `p99_ms <= 25`. They decide the exit code.

use std::fmt;

/// A figure that a threshold may name.
#[derive(Clone, Copy, Debug)]
pub struct FigureName {
    /// The name in thresholds and in the summary.
    pub name: &'static str,
    /// The meaning of the figure.
    pub about: &'static str,
}

const fn figure(name: &'static str, about: &'static str) -> FigureName {
    FigureName { name, about }
}

/// Every figure that a threshold may name. Warm-up phases count in none of them.
pub const FIGURES: &[FigureName] = &[
    figure("p50_ms", "median time from the intended start to the answer"),
    figure("p90_ms", "90th percentile of the same"),
    figure("p99_ms", "99th percentile of the same"),
    figure("p999_ms", "99.9th percentile of the same"),
    figure("p9999_ms", "99.99th percentile of the same"),
    figure("max_ms", "the longest of the same"),
    figure("final_p50_ms", "median time from the intended start until the result is final"),
    figure("final_p99_ms", "99th percentile of the same"),
    figure("final_max_ms", "the longest of the same"),
    figure("errors", "calls without the answer that their kind must have"),
    figure("error_share", "the same as a share of all calls, from 0 to 1"),
    figure("not_paid", "new payments, none of them provoked to fail, that did not end as paid"),
    figure("error_window_ms", "from the first to the last intended start of a call that was an error"),
    figure("retried", "calls whose first attempt failed: they were sent again, or are errors"),
    figure("retry_window_ms", "from the first to the last intended start of such a call"),
    figure("pause_ms", "the longest time without any answer while calls were waiting"),
    figure("achieved_share", "answered calls per second of load as a share of the intended rate"),
    figure("knee_rate", "the highest rate of a staircase before its knee; 0 without a staircase"),
    figure("in_flight_max", "the most calls that waited at once"),
    figure("cpu_us_per_call", "CPU time of the services for each call, in us; 0 if it is not known"),
    figure("generator_us_per_call", "CPU time of the generator for each call, in us; 0 if it is not known"),
    figure("busiest_paid_per_s", "payments per second of the phase with the highest rate that were paid"),
    figure("busiest_paid_share", "the same as a share of the payments of that phase, from 0 to 1"),
    figure("busiest_accepted_p99_ms", "99th percentile of the time to the answer of its calls that were accepted"),
    figure(
        "calm_after_s",
        "seconds from its end until three seconds in a row are without errors and as fast as before",
    ),
    figure("not_sent", "new payments that were accepted and then never sent to their issuer (982)"),
    figure("shed", "calls that were refused because the system was busy"),
    figure(
        "flood_p99_ratio",
        "p99 of the calls that start while a flood lasts, as a multiple of that before; 0 without one",
    ),
    figure("slow", "calls that took longer than `slow_ms`"),
    figure(
        "slow_unattributed",
        "those among them whose answer did not say where the time went; 0 needs client.hops_share = 1.0",
    ),
    figure("resident_mib", "the highest resident memory of the services, in MiB; 0 if it is not known"),
];

/// How a figure is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Below,
    AtMost,
    Above,
    AtLeast,
    Equal,
}

/// The longer signs stand first, so that `<=` is not read as `<`.
const SIGNS: [(&str, Comparison); 5] = [
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("==", Comparison::Equal),
    ("<", Comparison::Below),
    (">", Comparison::Above),
];

/// A condition on a figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// The figure's name.
    pub figure: &'static str,
    comparison: Comparison,
    limit: f64,
}

impl Threshold {
    /// Parses a text such as `p99_ms <= 25`; the error says what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts = SIGNS.iter().find_map(|(sign, comparison)| Some((text.split_once(sign)?, *comparison)));
        let Some(((name, limit), comparison)) = parts else {
            return Err(format!("{text:?} has none of < <= > >= ==; write it like \"p99_ms <= 25\""));
        };
        let Some(figure) = FIGURES.iter().find(|figure| figure.name == name.trim()) else {
            let names: Vec<&str> = FIGURES.iter().map(|figure| figure.name).collect();
            return Err(format!("{:?} is not a figure; the figures are {}", name.trim(), names.join(", ")));
        };
        match limit.trim().parse::<f64>() {
            Ok(limit) if limit.is_finite() => Ok(Self { figure: figure.name, comparison, limit }),
            _ => Err(format!("{:?} is not a number", limit.trim())),
        }
    }

    /// Whether the figure's value meets the condition.
    pub fn is_met_by(&self, value: f64) -> bool {
        match self.comparison {
            Comparison::Below => value < self.limit,
            Comparison::AtMost => value <= self.limit,
            Comparison::Above => value > self.limit,
            Comparison::AtLeast => value >= self.limit,
            Comparison::Equal => (value - self.limit).abs() < f64::EPSILON,
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = SIGNS.iter().find(|(_, comparison)| *comparison == self.comparison).map_or("", |(sign, _)| sign);
        write!(f, "{} {sign} {}", self.figure, self.limit)
    }
}
