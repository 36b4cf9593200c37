//! What a replay needs of the entries that are in force from an offset on: versions of the policy,
//! and closings.

use std::collections::{BTreeMap, BTreeSet};

/// The offsets of the entries that are in force at one of these positions, and of the newest entry.
pub(crate) fn needed_by<V>(entries: &BTreeMap<u64, V>, positions: &[u64]) -> BTreeSet<u64> {
    let in_force = positions.iter().filter_map(|position| entries.range(..*position).next_back());
    in_force.chain(entries.last_key_value()).map(|(offset, _)| *offset).collect()
}
