//! Progress: a consumer is healthy when what it has applied moves while its input grows. One that
//! stalls turns unready, then it is ended, so that it begins anew; and if that does not help, only
//! a new process can.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use tracing::{error, warn};

use crate::Part;

/// How often progress is looked at, in ms.
const LOOK_MS: u64 = 1_000;
/// So many looks without progress, and the part is not ready.
const LOOKS_TO_UNREADY: u32 = 3;
/// So many, and it must begin anew.
const LOOKS_TO_RESTART: u32 = 8;
/// So many times begun anew without progress, and only a new process can help.
const RESTARTS_MAX: u32 = 3;

/// How far one consumer has come; shared with whoever watches it.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    applied: AtomicU64,
    /// It reads nothing now, for a good reason: what it has must be done first.
    waits: AtomicBool,
    /// How often it was begun anew since it moved last.
    restarts: AtomicU32,
}

impl Progress {
    /// Everything below this is applied.
    pub fn applied(&self, next: u64) {
        self.0.applied.store(next, Ordering::Release);
    }

    /// Whether it has a good reason to read nothing.
    pub fn waits(&self, waits: bool) {
        self.0.waits.store(waits, Ordering::Release);
    }

    /// Returns when the consumer has stalled and must begin anew. `end` tells where its input ends;
    /// none where it cannot be asked.
    pub async fn until_stalled<F>(&self, part: &Part, end: impl Fn() -> F)
    where
        F: Future<Output = Option<u64>>,
    {
        let mut last = self.0.applied.load(Ordering::Acquire);
        let mut stuck = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
            let input = end().await;
            let applied = self.0.applied.load(Ordering::Acquire);
            let is_behind = input.is_none_or(|input| input > applied);
            if applied != last || !is_behind || self.0.waits.load(Ordering::Acquire) {
                if applied != last {
                    self.0.restarts.store(0, Ordering::Release);
                }
                if stuck >= LOOKS_TO_UNREADY {
                    warn!(applied, "progress again");
                    part.ready();
                }
                (last, stuck) = (applied, 0);
                continue;
            }
            stuck += 1;
            if stuck >= LOOKS_TO_UNREADY {
                let input = input.map_or_else(|| "cannot be asked for".to_owned(), |input| format!("is at {input}"));
                part.not_ready(format!(
                    "no progress beyond {applied} for {} ms; its input {input}",
                    u64::from(stuck) * LOOK_MS
                ));
            }
            if stuck >= LOOKS_TO_RESTART && input.is_some() {
                return self.stalled(part, applied);
            }
        }
    }

    fn stalled(&self, part: &Part, applied: u64) {
        let restarts = self.0.restarts.fetch_add(1, Ordering::AcqRel) + 1;
        error!(applied, restarts, "a consumer has stalled; it begins anew");
        if restarts >= RESTARTS_MAX {
            part.dead(&format!("stalled at {applied}, and beginning anew {restarts} times did not help"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Health;

    #[tokio::test(start_paused = true)]
    async fn a_stall_turns_unready_then_ends_and_at_last_kills() {
        let health = Health::default();
        let part = health.part("shard");
        let progress = Progress::default();
        part.ready();
        for round in 1..=RESTARTS_MAX {
            assert_eq!(health.dead(), None, "round {round}");
            let began = tokio::time::Instant::now();
            progress.until_stalled(&part, || async { Some(7) }).await;
            assert!(began.elapsed() >= Duration::from_millis(u64::from(LOOKS_TO_RESTART) * LOOK_MS));
            assert!(!part.is_ready());
        }
        assert!(health.dead().is_some_and(|why| why.contains("stalled at 0")));
    }

    #[tokio::test(start_paused = true)]
    async fn who_moves_waits_or_has_nothing_to_do_is_well() {
        let health = Health::default();
        let part = health.part("shard");
        part.ready();
        let cases: [(&str, bool, Option<u64>); 3] =
            [("at the end", false, Some(5)), ("waits", true, Some(9)), ("moves", false, Some(u64::MAX))];
        for (name, waits, end) in cases {
            let progress = Progress::default();
            progress.applied(5);
            progress.waits(waits);
            let moving = progress.clone();
            let end = move || {
                if name == "moves" {
                    moving.0.applied.fetch_add(1, Ordering::AcqRel);
                }
                async move { end }
            };
            let watched = progress.until_stalled(&part, end);
            assert!(tokio::time::timeout(Duration::from_mins(5), watched).await.is_err(), "{name}");
            assert!(part.is_ready(), "{name}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_input_that_cannot_be_asked_for_is_waited_for() {
        let health = Health::default();
        let part = health.part("shard");
        let watched = Progress::default();
        let watched = watched.until_stalled(&part, || async { None });
        assert!(tokio::time::timeout(Duration::from_mins(5), watched).await.is_err());
        assert!(!part.is_ready());
    }
}
