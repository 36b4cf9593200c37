//! Counters of a run under way, shared by the pacer, the sending threads and the live line.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use crate::schedule::Segment;

/// The share of a level's calls that may be slower than the knee's limit.
const SLOW_SHARE_MAX: f64 = 0.01;

/// The counters of one segment, and what a staircase needs of it.
#[derive(Debug)]
struct SegmentCount {
    rate: f64,
    knee_us: f64,
    started: AtomicU64,
    ended: AtomicU64,
    slow: AtomicU64,
}

/// The counters of a run.
#[derive(Debug)]
pub struct LoadProgress {
    segments: Vec<SegmentCount>,
    started: AtomicU64,
    answered: AtomicU64,
    errors: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) in_flight: AtomicU64,
    pub(super) stop: AtomicBool,
    pub(super) pacing_ended: AtomicBool,
    /// Latencies in µs since the live line last took them, at most [`RECENT_MAX`].
    recent: Mutex<Vec<u64>>,
    tasks: Mutex<Vec<String>>,
}

/// How many latencies the live line looks at.
const RECENT_MAX: usize = 4_096;

/// The counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgressNow {
    /// Calls that were handed to a sending thread.
    pub started: u64,
    /// Calls that ended, with an answer or without.
    pub ended: u64,
    /// Calls that ended as errors.
    pub errors: u64,
    /// Starts that were left out.
    pub dropped: u64,
    /// Calls in flight.
    pub in_flight: u64,
    /// The segment of the latest start.
    pub segment: usize,
    /// Whether every call was handed over.
    pub pacing_ended: bool,
}

impl LoadProgress {
    pub(super) fn new(segments: &[Segment]) -> Self {
        let count = |segment: &Segment| SegmentCount {
            rate: segment.rate,
            knee_us: segment.knee_p99_ms * 1_000.0,
            started: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            slow: AtomicU64::new(0),
        };
        Self {
            segments: segments.iter().map(count).collect(),
            started: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            pacing_ended: AtomicBool::new(false),
            recent: Mutex::new(Vec::with_capacity(RECENT_MAX)),
            tasks: Mutex::new(Vec::new()),
        }
    }

    pub(super) fn begin(&self, segment: u16) {
        self.started.fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        if let Some(count) = self.segments.get(usize::from(segment)) {
            count.started.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn end(&self, segment: u16, latency_us: u64, is_error: bool) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.errors.fetch_add(u64::from(is_error), Ordering::Relaxed);
        if let Some(count) = self.segments.get(usize::from(segment)) {
            count.ended.fetch_add(1, Ordering::Relaxed);
            count.slow.fetch_add(u64::from(is_error || latency_us as f64 > count.knee_us), Ordering::Relaxed);
        }
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() < RECENT_MAX {
            recent.push(latency_us);
        }
    }

    /// Whether more than 1 % of a level's calls are slower than its limit. Calls in flight count as
    /// slow as far as they are more than the level's rate explains.
    pub(super) fn is_past_knee(&self, level: u16) -> bool {
        let Some(count) = self.segments.get(usize::from(level)) else { return false };
        let started = count.started.load(Ordering::Relaxed);
        let in_flight = started.saturating_sub(count.ended.load(Ordering::Relaxed)) as f64;
        let late = (in_flight - count.rate * count.knee_us / 1e6).max(0.0);
        count.slow.load(Ordering::Relaxed) as f64 + late > started as f64 * SLOW_SHARE_MAX
    }

    /// The counters now.
    pub fn now(&self) -> ProgressNow {
        ProgressNow {
            started: self.started.load(Ordering::Relaxed),
            ended: self.answered.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            segment: self
                .segments
                .iter()
                .rposition(|count| count.started.load(Ordering::Relaxed) > 0)
                .unwrap_or_default(),
            pacing_ended: self.pacing_ended.load(Ordering::Relaxed),
        }
    }

    /// Takes the latencies in µs since the last call, at most the first 4,096 of them.
    pub fn take_recent_us(&self) -> Vec<u64> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut recent, Vec::with_capacity(RECENT_MAX))
    }

    /// Ends the run early: nothing more starts.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(super) fn name_task(&self, task: String) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(task);
    }

    /// The folders under /proc of the sending threads.
    pub fn sender_tasks(&self) -> Vec<String> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{scenario::Scenario, schedule::segments};

    #[test]
    fn a_level_is_past_the_knee_if_more_than_one_in_a_hundred_is_slow() {
        let text =
            "[[phase]]\nkind = \"steps\"\nseconds = 5\nrate = 200\nto_rate = 400\nstep = 100\nknee_p99_ms = 50\n";
        let levels = segments(&Scenario::parse(text).unwrap());
        for (slow, unanswered, expected) in [(0, 0, false), (10, 0, false), (11, 0, true), (0, 9, false), (0, 25, true)]
        {
            let progress = LoadProgress::new(&levels);
            for n in 0..1_000 {
                progress.begin(0);
                if n >= unanswered {
                    progress.end(0, if n - unanswered < slow { 60_000 } else { 40_000 }, false);
                }
            }
            assert_eq!(progress.is_past_knee(0), expected, "{slow} slow, {unanswered} unanswered");
        }
    }
}
