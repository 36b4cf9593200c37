//! How patient a process is with silent holders of a partition. On a machine without enough CPU
//! time, holders that work show their signs of life too late. If processes went on as usual, they
//! would replace each other without end, and the work of each takeover would keep the machine busy.
//! So a process waits longer before it replaces others if it was replaced although it worked, or if
//! holders that it doubts turn out to live. One that was killed answers no doubt and never learns
//! that it was replaced, so where there is enough CPU time, real failures are noticed as fast as
//! ever.

use std::time::Duration;

use tokio::time::Instant;

/// How long a process that was too hasty once is more patient; this time doubles with the waits.
const MEMORY: Duration = Duration::from_secs(30);
/// How often the waits double at most.
const DOUBLINGS_MAX: u32 = 3;
/// A single doubt may be answered now and then; two within this time, times the factor of the
/// waits, show that the waits are short.
const ANSWERED_TWICE: Duration = Duration::from_secs(10);

/// How often processes were too hasty at one partition, as far as this one knows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Patience {
    hasty_at: Option<Instant>,
    doublings: u32,
    answered_at: Option<Instant>,
}

impl Patience {
    /// Notes that this process was replaced although it worked and had not released the partition.
    pub(crate) fn note_replaced(&mut self, now: Instant) {
        self.double(now);
    }

    fn double(&mut self, now: Instant) {
        self.doublings = if self.is_remembered(now) { (self.doublings + 1).min(DOUBLINGS_MAX) } else { 1 };
        self.hasty_at = Some(now);
    }

    /// Notes that a holder which this process doubted has shown life.
    pub(crate) fn note_answered(&mut self, now: Instant) {
        match self.answered_at.take() {
            Some(at) if now < at + ANSWERED_TWICE * self.factor(now) => self.double(now),
            _ => self.answered_at = Some(now),
        }
    }

    /// By how much to multiply the waits.
    pub(crate) fn factor(&self, now: Instant) -> u32 {
        if self.is_remembered(now) { 1 << self.doublings } else { 1 }
    }

    fn is_remembered(&self, now: Instant) -> bool {
        self.hasty_at.is_some_and(|at| now < at + MEMORY * (1 << self.doublings) / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_doubles_the_waits_and_how_long_that_lasts() {
        let began = Instant::now();
        for (replaced_s, now_s, expected) in [
            (&[][..], 0, 1),
            (&[0], 1, 2),
            (&[0], 29, 2),
            (&[0], 30, 1),
            (&[0, 18], 19, 4),
            (&[0, 18], 77, 4),
            (&[0, 18], 78, 1),
            (&[0, 40, 80], 81, 2),
            (&[0, 18, 40, 70, 100], 101, 8),
            (&[0, 18, 40, 70, 100], 220, 1),
            (&[0, 18, 40, 200], 201, 2),
        ] {
            let at = |s| began + Duration::from_secs(s);
            let mut patience = Patience::default();
            for s in replaced_s {
                patience.note_replaced(at(*s));
            }
            assert_eq!(patience.factor(at(now_s)), expected, "{replaced_s:?} {now_s}");
        }
    }

    #[test]
    fn two_doubts_in_a_row_that_are_answered_double_the_waits() {
        let began = Instant::now();
        for (answered_s, now_s, expected) in [
            (&[5][..], 6, 1),
            (&[5, 16], 17, 1),
            (&[5, 14], 15, 2),
            (&[5, 14, 16], 17, 2),
            (&[5, 14, 16, 35], 36, 4),
            (&[5, 14, 16, 35, 200, 230], 231, 1),
        ] {
            let at = |s| began + Duration::from_secs(s);
            let mut patience = Patience::default();
            for s in answered_s {
                patience.note_answered(at(*s));
            }
            assert_eq!(patience.factor(at(now_s)), expected, "{answered_s:?} {now_s}");
        }
    }
}
