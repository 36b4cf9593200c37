//! The confirmation of a staircase's highest rate: it is tried again, and a lower rate takes its
//! place where a try is not sustained.

use super::figures::{Step, highest_rate_below};

/// The next step of a confirmation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Confirmation {
    /// Another try at this rate, in payments per second.
    Try(u32),
    /// Nothing: this rate was sustained in every try; 0 if none was.
    Held(u32),
}

/// Decides after the staircase's `steps` and the `tries` so far. A rate is confirmed by `count`
/// tries; without any, the staircase alone counts.
pub(super) fn confirm(steps: &[Step], tries: &[Step], count: usize, p99_ms_max: f64) -> Confirmation {
    let highest = highest_rate_below(steps, p99_ms_max);
    let mut rates: Vec<u32> = steps.iter().map(|step| step.rate).filter(|rate| *rate <= highest).collect();
    rates.sort_unstable();
    for rate in rates.into_iter().rev() {
        let at_rate = || tries.iter().filter(move |step| step.rate == rate);
        if at_rate().all(|step| step.is_sustained_below(p99_ms_max)) {
            return if at_rate().count() < count { Confirmation::Try(rate) } else { Confirmation::Held(rate) };
        }
    }
    Confirmation::Held(0)
}

/// The rate that was held, once nothing is left to be tried.
pub(super) fn held(steps: &[Step], tries: &[Step], count: usize, p99_ms_max: f64) -> u32 {
    match confirm(steps, tries, count, p99_ms_max) {
        Confirmation::Held(rate) => rate,
        Confirmation::Try(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Confirmation::{Held, Try},
        *,
    };
    use crate::bench::figures::Percentiles;

    const P99_MS_MAX: f64 = 50.0;

    fn step(rate: u32, p99_ms: f64) -> Step {
        let latency = Percentiles { p99_ms, ..Percentiles::default() };
        Step { rate, answered_rate: f64::from(rate), errors: 0, latency }
    }

    #[test]
    fn the_highest_rate_is_confirmed_by_its_tries_and_falls_where_one_is_not_sustained() {
        let steps = [step(100, 5.0), step(200, 9.0), step(300, 40.0), step(400, 90.0)];
        let (good, bad) = (10.0, 60.0);
        for (tries, expected) in [
            (&[][..], Try(300)),
            (&[(300, good), (300, good)], Try(300)),
            (&[(300, good), (300, good), (300, good)], Held(300)),
            (&[(300, good), (300, bad)], Try(200)),
            (&[(300, bad), (200, good), (200, good), (200, good)], Held(200)),
            (&[(300, bad), (200, bad), (100, bad)], Held(0)),
        ] {
            let tries: Vec<Step> = tries.iter().map(|(rate, p99_ms)| step(*rate, *p99_ms)).collect();
            assert_eq!(confirm(&steps, &tries, 3, P99_MS_MAX), expected, "{tries:?}");
        }
        assert_eq!(confirm(&steps, &[], 0, P99_MS_MAX), Held(300));
        assert_eq!(confirm(&steps[3..], &[], 3, P99_MS_MAX), Held(0));
    }
}
