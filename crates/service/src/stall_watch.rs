//! Detects a consumer that stalls: its input grows, but it applies nothing. A stalled consumer
//! first becomes unready. Then it is ended, and its owner starts it again. After several restarts
//! without progress its part is reported as dead, which means that the process must be restarted.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use tracing::{error, warn};

use crate::{
    Metric, Part,
    metrics::{LAG, POSITION, STALLED},
};

/// The time between two checks, in ms.
const CHECK_MS: u64 = 1_000;
/// The number of checks without progress after which the part is not ready.
const CHECKS_TO_UNREADY: u32 = 3;
/// The number of checks without progress after which the consumer is started again.
const CHECKS_TO_RESTART: u32 = 8;
/// The number of restarts without progress after which the part is dead.
const RESTARTS_MAX: u32 = 3;

/// The progress of one consumer, shared between the consumer and its watch. It outlives restarts of
/// the consumer, so that they are counted.
#[derive(Clone, Debug, Default)]
pub struct StallWatch(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// The position after the last applied record.
    applied: AtomicU64,
    /// Whether the consumer does not read now, because it must finish other work first.
    is_paused: AtomicBool,
    /// Restarts since the last progress.
    restarts: AtomicU32,
}

/// A consumer read nothing although its input grew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no record from offset {next} on was read, although the input has more")]
pub struct Stalled {
    /// The offset of the next record to read.
    pub next: u64,
}

impl StallWatch {
    /// Notes that the consumer has applied every record below `next`.
    pub fn set_applied(&self, next: u64) {
        self.0.applied.store(next, Ordering::Release);
    }

    /// Sets whether the consumer is paused. A paused consumer must finish other work before it
    /// reads, and never counts as stalled.
    pub fn set_paused(&self, is_paused: bool) {
        self.0.is_paused.store(is_paused, Ordering::Release);
    }

    /// Returns when the consumer has stalled and must be started again. `end` returns the end of
    /// its input, or `None` while the end is unknown: then the part becomes unready, but the
    /// consumer is not ended.
    pub async fn until_stalled<F>(&self, part: &Part, end: impl Fn() -> F) -> Stalled
    where
        F: Future<Output = Option<u64>>,
    {
        let mut last = self.0.applied.load(Ordering::Acquire);
        let mut checks = 0;
        let gauges = ConsumerGauges::of(part);
        loop {
            tokio::time::sleep(Duration::from_millis(CHECK_MS)).await;
            let end = end().await;
            let applied = self.0.applied.load(Ordering::Acquire);
            let is_behind = end.is_none_or(|end| end > applied);
            gauges.set(applied, end);
            if applied != last || !is_behind || self.0.is_paused.load(Ordering::Acquire) {
                if applied != last {
                    self.0.restarts.store(0, Ordering::Release);
                }
                if checks >= CHECKS_TO_UNREADY {
                    warn!(applied, "the consumer makes progress again");
                    part.ready();
                }
                (last, checks) = (applied, 0);
                continue;
            }
            checks += 1;
            if checks >= CHECKS_TO_UNREADY {
                let end = end.map_or_else(|| "is unknown".to_owned(), |end| format!("is {end}"));
                let stalled_ms = u64::from(checks) * CHECK_MS;
                part.not_ready(format!("no progress beyond {applied} for {stalled_ms} ms; the end of its input {end}"));
            }
            if checks >= CHECKS_TO_RESTART && end.is_some() {
                self.count_restart(part, applied);
                return Stalled { next: applied };
            }
        }
    }

    fn count_restart(&self, part: &Part, applied: u64) {
        STALLED.counter(&[part.name()]).increment(1);
        let restarts = self.0.restarts.fetch_add(1, Ordering::AcqRel) + 1;
        error!(applied, restarts, "the consumer has stalled and is restarted");
        if restarts >= RESTARTS_MAX {
            part.dead(&format!("stalled at {applied}, and {restarts} restarts did not help"));
        }
    }
}

/// Shows how far a consumer is, until it ends.
struct ConsumerGauges {
    position: metrics::Gauge,
    lag: metrics::Gauge,
}

impl ConsumerGauges {
    fn of(part: &Part) -> Self {
        [POSITION, LAG, STALLED].iter().for_each(Metric::describe);
        STALLED.touch(&[part.name()]);
        Self { position: POSITION.gauge(&[part.name()]), lag: LAG.gauge(&[part.name()]) }
    }

    /// While the end is not known, the lag stays as it was.
    fn set(&self, applied: u64, end: Option<u64>) {
        self.position.set(applied as f64);
        if let Some(end) = end {
            self.lag.set(end.saturating_sub(applied) as f64);
        }
    }
}

impl Drop for ConsumerGauges {
    fn drop(&mut self) {
        self.position.set(0.0);
        self.lag.set(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Health;

    #[tokio::test(start_paused = true)]
    async fn a_stalled_consumer_turns_unready_then_ends_and_is_dead_after_several_restarts() {
        let health = Health::default();
        let part = health.part("shard");
        let watch = StallWatch::default();
        part.ready();
        for round in 1..=RESTARTS_MAX {
            assert_eq!(health.dead(), None, "round {round}");
            let began = tokio::time::Instant::now();
            assert_eq!(watch.until_stalled(&part, || async { Some(7) }).await, Stalled { next: 0 });
            assert!(began.elapsed() >= Duration::from_millis(u64::from(CHECKS_TO_RESTART) * CHECK_MS));
            assert!(!part.is_ready());
        }
        assert!(health.dead().is_some_and(|why| why.contains("stalled at 0")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_consumer_stays_ready_while_it_progresses_is_paused_or_is_at_the_end() {
        let health = Health::default();
        let part = health.part("shard");
        part.ready();
        let cases: [(&str, bool, Option<u64>); 3] =
            [("at the end", false, Some(5)), ("paused", true, Some(9)), ("moves", false, Some(u64::MAX))];
        for (name, is_paused, end) in cases {
            let watch = StallWatch::default();
            watch.set_applied(5);
            watch.set_paused(is_paused);
            let moving = watch.clone();
            let end = move || {
                if name == "moves" {
                    moving.0.applied.fetch_add(1, Ordering::AcqRel);
                }
                async move { end }
            };
            let stalled = watch.until_stalled(&part, end);
            assert!(tokio::time::timeout(Duration::from_mins(5), stalled).await.is_err(), "{name}");
            assert!(part.is_ready(), "{name}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_consumer_is_not_ended_while_the_end_of_its_input_is_unknown() {
        let health = Health::default();
        let part = health.part("shard");
        let watch = StallWatch::default();
        let stalled = watch.until_stalled(&part, || async { None });
        assert!(tokio::time::timeout(Duration::from_mins(5), stalled).await.is_err());
        assert!(!part.is_ready());
    }
}
