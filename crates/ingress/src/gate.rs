//! A bounded number of things at once, without a queue: who does not get in is told so.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use metrics::Gauge;

/// Lets up to `max` in.
pub(crate) struct Gate {
    inside: AtomicUsize,
    max: usize,
    gauge: Gauge,
}

/// Whoever holds one is inside.
pub(crate) struct Pass(Arc<Gate>);

impl Gate {
    pub(crate) fn new(max: usize, gauge: Gauge) -> Arc<Self> {
        Arc::new(Self { inside: AtomicUsize::new(0), max, gauge })
    }

    /// None: it is full.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Pass> {
        let before = self.inside.fetch_add(1, Ordering::Relaxed);
        if before >= self.max {
            self.inside.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        self.gauge.increment(1.0);
        Some(Pass(Arc::clone(self)))
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::Relaxed);
        self.0.gauge.decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_than_the_maximum() {
        let gate = Gate::new(2, Gauge::noop());
        let first = gate.enter();
        let second = gate.enter();
        assert!(first.is_some() && second.is_some() && gate.enter().is_none() && gate.enter().is_none());
        drop(first);
        assert!(gate.enter().is_some());
    }
}
