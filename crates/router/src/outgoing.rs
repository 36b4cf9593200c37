//! Effects for one partition, and the hops of those whose calls asked for hops. Measured times
//! never reach the machine, so they cannot change its decisions.

use tokio::time::Instant;
use twqr_journal::Entry;
use twqr_order::Command;
use twqr_service::Clock;
use twqr_wire::{
    convert::{HopTimes, with_hops},
    hops::Hop,
};

/// When a batch was read. The stay in the router is measured with the monotonic clock, from here to
/// the append of the effects.
#[derive(Clone, Copy)]
pub(crate) struct Reading<'a> {
    clock: &'a dyn Clock,
    at: Instant,
}

impl<'a> Reading<'a> {
    /// A batch that was read now.
    pub(crate) fn now(clock: &'a dyn Clock) -> Self {
        Self { clock, at: Instant::now() }
    }

    /// When the batch was read.
    pub(crate) fn at(&self) -> Instant {
        self.at
    }

    /// The hops of a record's call after the record was read.
    pub(crate) fn arrived(&self, mut times: HopTimes, command: &Command) -> HopTimes {
        times.add_wait(queue_of(command), self.stay().0);
        times
    }

    /// When the batch was read, and now, in Unix µs.
    pub(crate) fn stay(&self) -> (i64, i64) {
        let now_us = self.clock.now_us();
        (now_us.saturating_sub(self.stay_us()), now_us)
    }

    /// The hops of an effect's call when the effect is appended.
    fn departed(&self, mut times: HopTimes) -> HopTimes {
        times.add(Hop::Router, self.stay_us());
        times.appended_us = self.clock.now_us();
        times
    }

    fn stay_us(&self) -> i64 {
        i64::try_from(self.at.elapsed().as_micros()).unwrap_or(i64::MAX)
    }
}

/// The queue in which a record has waited. A router reads outcomes as a second visit of the call;
/// anything else is on its way to the issuer.
pub(crate) fn queue_of(command: &Command) -> Hop {
    let is_outcome = matches!(command, Command::Outcome(_) | Command::RefundResult(_));
    if is_outcome { Hop::OutcomesWait } else { Hop::OrdersWait }
}

/// The records to append to one partition.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    entries: Vec<Entry>,
    /// The hops of some entries, by index.
    hops: Vec<(usize, HopTimes)>,
}

impl Outgoing {
    /// Adds a record, with the hops of its call if that asked for them.
    pub(crate) fn push(&mut self, entry: Entry, hops: Option<HopTimes>) {
        self.hops.extend(hops.map(|times| (self.entries.len(), times)));
        self.entries.push(entry);
    }

    /// Adds records that belong to no call.
    pub(crate) fn extend(&mut self, entries: &[Entry]) {
        self.entries.extend_from_slice(entries);
    }

    /// The records, which are appended now.
    pub(crate) fn into_entries(self, reading: Reading<'_>) -> Vec<Entry> {
        let mut entries = self.entries;
        for (index, times) in self.hops {
            if let Some(Entry { value: Some(record), .. }) = entries.get_mut(index) {
                *record = with_hops(record, &reading.departed(times));
            }
        }
        entries
    }
}
