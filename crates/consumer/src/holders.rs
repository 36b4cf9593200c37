//! What a process has seen of the holders of a topic's partitions. A process without a partition is
//! a standby; it is ready only if it sees signs of life of other processes on all partitions.
//! Otherwise a process that has just started, or that cannot read the log, would count as ready.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// A holder that showed no life for this long counts as unknown. Another process has taken its
/// partition over by then.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// How long a partition is watched before it counts as one whose holders show no signs of life.
const FIRST_SIGN_WAIT: Duration = Duration::from_secs(1);

/// The holder of one partition, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Nothing is known.
    Nothing,
    /// The log was read to its end, and no holder has shown signs of life since then.
    NoSign(Instant),
    /// Another process has shown life.
    Life(Instant),
    /// Another process has claimed the partition, and its holders show no signs of life.
    Claimed,
    /// This process holds the partition.
    Here,
    /// This process must not hold the partition; its own part says why.
    Refused,
}

/// The holders of all partitions.
#[derive(Debug)]
pub(crate) struct Holders(Mutex<Vec<Seen>>);

impl Holders {
    pub(crate) fn new(partitions: u32) -> Self {
        Self(Mutex::new(vec![Seen::Nothing; partitions as usize]))
    }

    /// Notes what was seen of a partition's holder.
    pub(crate) fn set(&self, index: u32, seen: Seen) {
        if let Some(known) = self.lock().get_mut(index as usize) {
            *known = seen;
        }
    }

    /// Notes that the log was read to its end. It tells nothing new if life was seen before.
    pub(crate) fn read_to_end(&self, index: u32, now: Instant) {
        if let Some(known @ (Seen::Nothing | Seen::Refused)) = self.lock().get_mut(index as usize) {
            *known = Seen::NoSign(now);
        }
    }

    /// The first partition whose holder is not known.
    pub(crate) fn unknown(&self, now: Instant) -> Option<usize> {
        let is_unknown = |seen: &Seen| match *seen {
            Seen::Nothing => true,
            Seen::NoSign(since) => now < since + FIRST_SIGN_WAIT,
            Seen::Life(at) => now > at + SILENCE_MAX,
            Seen::Claimed | Seen::Here | Seen::Refused => false,
        };
        self.lock().iter().position(is_unknown)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_holder_is_known_once_it_shows_life_and_while_it_does() {
        let (holders, began) = (Holders::new(3), Instant::now());
        let after = |ms| began + Duration::from_millis(ms);
        assert_eq!(holders.unknown(began), Some(0));
        holders.set(0, Seen::Here);
        holders.read_to_end(0, began);
        holders.set(1, Seen::Refused);
        holders.read_to_end(2, began);
        assert_eq!(holders.unknown(after(999)), Some(2), "a sign of life may still come");
        assert_eq!(holders.unknown(after(60_000)), None, "its holders show none");
        holders.set(2, Seen::Life(began));
        assert_eq!((holders.unknown(after(3_000)), holders.unknown(after(3_001))), (None, Some(2)));
        holders.set(2, Seen::Claimed);
        holders.read_to_end(2, after(3_001));
        assert_eq!(holders.unknown(after(60_000)), None);
    }
}
