//! The hops of the unfinished tasks whose calls asked for hops or are traced. Each task is in one
//! hop at a time: the worker, the queue of its lane, or the backend.

use std::collections::HashMap;

use tokio::time::Instant;
use twqr_journal::Offset;
use twqr_wire::{convert::HopTimes, hops::Hop};

use super::task_spans::TaskSpans;

/// The measured tasks, by offset.
#[derive(Debug, Default)]
pub(super) struct TaskHops(HashMap<Offset, TaskStay>);

#[derive(Debug)]
struct TaskStay {
    times: HopTimes,
    hop: Hop,
    since: Instant,
    /// Absent unless spans of the task are exported.
    spans: Option<TaskSpans>,
}

impl TaskStay {
    fn enter(&mut self, hop: Hop) {
        let now = Instant::now();
        let us = i64::try_from(now.duration_since(self.since).as_micros()).unwrap_or(i64::MAX);
        self.times.add(self.hop, us);
        if let Some(spans) = &mut self.spans {
            spans.leave(self.hop, self.since, now);
        }
        (self.hop, self.since) = (hop, now);
    }
}

impl TaskHops {
    /// Begins to measure a task that was read at `now_us`: Unix µs by this process' clock.
    pub(super) fn begin(&mut self, task: Offset, mut times: HopTimes, now_us: i64) {
        let spans = TaskSpans::begin(&times);
        times.add_wait(Hop::TasksWait, now_us);
        if let Some(spans) = &spans {
            times.trace = Some(spans.context());
        }
        self.0.insert(task, TaskStay { times, hop: Hop::Worker, since: Instant::now(), spans });
    }

    /// Notes that a task enters a hop, if it is measured.
    pub(super) fn enter(&mut self, task: Offset, hop: Hop) {
        if let Some(stay) = self.0.get_mut(&task) {
            stay.enter(hop);
        }
    }

    /// The hops so far of a task, if it is measured.
    pub(super) fn of(&self, task: Offset) -> Option<&HopTimes> {
        self.0.get(&task).map(|stay| &stay.times)
    }

    /// Ends the measurement of a task, whose outcome is written at `now_us`; returns its hops and
    /// its spans, if it was measured.
    pub(super) fn end(&mut self, task: Offset, now_us: impl FnOnce() -> i64) -> Option<(HopTimes, Option<TaskSpans>)> {
        let mut stay = self.0.remove(&task)?;
        stay.enter(Hop::Worker);
        stay.times.appended_us = now_us();
        Some((stay.times, stay.spans))
    }
}
