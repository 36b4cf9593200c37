//! Pauses between attempts at an operation that fails, such as connecting or claiming. The random
//! part of a pause keeps processes that failed at the same time from retrying at the same time.

use std::time::Duration;

use rand::Rng;

/// Computes the pauses between attempts. Each is twice the previous one, up to a maximum, plus a
/// random part of at most half of it.
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    /// The next pause without its random part.
    next: Duration,
}

impl Backoff {
    /// Pauses from `min_ms` to `max_ms` milliseconds, before the random part is added. A maximum
    /// below the minimum counts as the minimum.
    pub fn new(min_ms: u64, max_ms: u64) -> Self {
        let min = Duration::from_millis(min_ms);
        Self { min, max: Duration::from_millis(max_ms).max(min), next: min }
    }

    /// The pause before the next attempt.
    pub fn next_pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.max);
        pause + rand::rng().random_range(Duration::ZERO..=pause / 2)
    }

    /// Raises the next pause to at least `pause_ms`, but not above the maximum.
    pub fn raise_to(&mut self, pause_ms: u64) {
        self.next = self.next.max(Duration::from_millis(pause_ms)).min(self.max);
    }

    /// Makes the next pause the shortest one again, after an attempt that succeeded.
    pub fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the pause is `ms` plus at most half of `ms`.
    fn is_about(pause: Duration, ms: u64) -> bool {
        (ms..=ms + ms / 2).contains(&(pause.as_millis() as u64))
    }

    #[test]
    fn the_pause_doubles_up_to_the_maximum_until_it_is_reset() {
        let mut backoff = Backoff::new(20, 100);
        for expected_ms in [20, 40, 80, 100, 100] {
            let pause = backoff.next_pause();
            assert!(is_about(pause, expected_ms), "{pause:?} instead of {expected_ms} ms");
        }
        backoff.reset();
        assert!(is_about(backoff.next_pause(), 20));
    }

    #[test]
    fn a_raised_pause_is_a_lower_bound_below_the_maximum() {
        let mut backoff = Backoff::new(20, 100);
        backoff.raise_to(60);
        assert!(is_about(backoff.next_pause(), 60));
        backoff.raise_to(10);
        assert!(is_about(backoff.next_pause(), 100), "it was longer already");
        backoff.raise_to(1_000);
        assert!(is_about(backoff.next_pause(), 100));
    }

    #[test]
    fn pauses_differ_at_random() {
        let pauses: std::collections::BTreeSet<Duration> =
            (0..100).map(|_| Backoff::new(10_000, 10_000).next_pause()).collect();
        assert!(pauses.len() > 1);
    }
}
