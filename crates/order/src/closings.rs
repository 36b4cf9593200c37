//! The closings of a shard's books. Accounting files list the movements that count before a
//! closing, so a movement that is decided later must not count before it.
//!
//! A movement counts at the time of the record that decides it. The writer's clock sets that time,
//! possibly long before the record is in the log. But every reader sees the same order of the
//! record and a closing. So a movement that is decided behind a closing counts at the end of the
//! closed time, if the time of its record is earlier.

use std::collections::BTreeMap;

use twqr_types::UnixMs;

use crate::{Policy, replay_starts::needed_by};

/// The protocol version from which on a shard's books can be closed.
pub const CLOSINGS_SINCE: u32 = 2;
/// How many closings are kept for replays, which begin a few seconds back;
/// [`Closings::drop_surplus`] drops the oldest.
const CLOSINGS_KEPT: usize = 64;

/// The closings of one shard, each by the offset of its record. The times grow with the offsets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closings(BTreeMap<u64, UnixMs>);

impl Closings {
    /// The time up to which the books are closed for the record at `offset`; `None` if they never
    /// were.
    pub fn closed_until(&self, offset: u64) -> Option<UnixMs> {
        self.0.range(..offset).next_back().map(|(_, until)| *until)
    }

    /// Takes the closing in the record at `offset`, written at `at`, unless the books are closed up
    /// to `until` already, the time is not over, or `policy` has a lower protocol version than
    /// [`CLOSINGS_SINCE`]. Returns whether it was taken. Only earlier closings are compared, so a
    /// replay takes the same ones again.
    pub fn take(&mut self, offset: u64, at: UnixMs, until: UnixMs, policy: Option<&Policy>) -> bool {
        let can_close = policy.is_some_and(|policy| policy.protocol_version >= CLOSINGS_SINCE);
        let is_taken = can_close && until <= at && self.closed_until(offset).is_none_or(|closed| closed < until);
        if is_taken {
            self.insert(offset, until);
        }
        is_taken
    }

    /// Puts a closing at the offset where it was taken.
    pub fn insert(&mut self, offset: u64, until: UnixMs) {
        self.0.insert(offset, until);
    }

    /// Drops the oldest closings until few are left. What a replay from one of these positions
    /// needs stays, and so does the newest.
    pub(crate) fn drop_surplus(&mut self, replay_starts: &[u64]) {
        let needed = needed_by(&self.0, replay_starts);
        while self.0.len() > CLOSINGS_KEPT {
            let Some(oldest) = self.0.keys().find(|offset| !needed.contains(*offset)).copied() else { return };
            self.0.remove(&oldest);
        }
    }

    /// All closings, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (u64, UnixMs)> {
        self.0.iter().map(|(offset, until)| (*offset, *until))
    }
}
