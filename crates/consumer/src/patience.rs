//! How patient a process is with silent holders of a partition. On a machine without enough CPU
//! time, holders that work show their signs of life too late. If processes went on as usual, they
//! would replace each other without end, and the work of each takeover would keep the machine busy.
//! So a process that was replaced although it worked waits longer before it replaces others. One
//! that was killed never learns that it was replaced, so real failures are noticed as fast as ever.

use std::time::Duration;

use tokio::time::Instant;

/// How long a process that was replaced once is more patient; this time doubles with the waits.
const MEMORY: Duration = Duration::from_secs(30);
/// How often the waits double at most.
const DOUBLINGS_MAX: u32 = 3;

/// How often this process was replaced at one partition although it worked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Patience {
    replaced_at: Option<Instant>,
    doublings: u32,
}

impl Patience {
    /// Notes that this process was replaced although it worked and had not released the partition.
    pub(crate) fn note_replaced(&mut self, now: Instant) {
        self.doublings = if self.is_remembered(now) { (self.doublings + 1).min(DOUBLINGS_MAX) } else { 1 };
        self.replaced_at = Some(now);
    }

    /// By how much to multiply the waits.
    pub(crate) fn factor(&self, now: Instant) -> u32 {
        if self.is_remembered(now) { 1 << self.doublings } else { 1 }
    }

    fn is_remembered(&self, now: Instant) -> bool {
        self.replaced_at.is_some_and(|at| now < at + MEMORY * (1 << self.doublings) / 2)
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
}
