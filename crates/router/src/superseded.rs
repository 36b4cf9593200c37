//! Deletes records of older epochs from `order-states`, so that it keeps one state for each order.
//!
//! A record may be deleted once a record of a newer epoch about the same order is known to be in
//! `order-states`. An owner's positions are at most the next owner's claim, and the next owner
//! writes only positions past its claim. So whatever an older owner has written or may still write
//! about the order is older than the newer record, and no restore needs it. The record with an
//! order's newest epoch is never deleted, and the deletion of another one is never the end of the
//! order: readers skip it.
//!
//! Keys that are lost here, by a crash or because there are too many, are found again by the next
//! restore that reads both records.

use std::collections::BTreeSet;

use bytes::Bytes;
use twqr_journal::Entry;
use twqr_wire::convert::{StateSubject, epoch_key};

use crate::store::stored_epoch;

/// How many keys are remembered.
const KEYS_MAX: usize = 65_536;
/// How many records one checkpoint deletes at most.
const DELETED_AT_ONCE_MAX: usize = 512;

/// The keys of records that may be deleted.
#[derive(Debug, Default)]
pub(crate) struct Superseded {
    keys: BTreeSet<Bytes>,
    /// The highest epoch of which there is a marker.
    newest_marker: Option<u64>,
}

impl Superseded {
    pub(crate) fn extend(&mut self, keys: Vec<Bytes>) {
        let room = KEYS_MAX.saturating_sub(self.keys.len());
        self.keys.extend(keys.into_iter().take(room));
    }

    /// Notes a marker in `order-states`: those of older epochs may be deleted.
    pub(crate) fn add_marker(&mut self, epoch: u64) {
        let older = self.newest_marker.filter(|newest| *newest != epoch).map(|newest| newest.min(epoch));
        self.extend(older.map(|older| epoch_key(older, StateSubject::Marker)).into_iter().collect());
        self.newest_marker = self.newest_marker.max(Some(epoch));
    }

    /// Notes that these records are deleted already.
    pub(crate) fn forget(&mut self, keys: &[Bytes]) {
        for key in keys {
            self.keys.remove(key);
        }
    }

    /// Takes some of the keys, as entries that delete their records.
    pub(crate) fn take_deletions(&mut self) -> Vec<Entry> {
        let taken = std::iter::from_fn(|| self.keys.pop_first()).take(DELETED_AT_ONCE_MAX);
        taken.map(|key| Entry { key, value: None }).collect()
    }
}

/// Of two states in the local store under one key, each with its position, returns the key in
/// `order-states` of the older one, if it belongs to an older epoch.
pub(crate) fn superseded_key(subject: StateSubject<'_>, first: (u64, &[u8]), second: (u64, &[u8])) -> Option<Bytes> {
    let (older, newer) = if first.0 <= second.0 { (first.1, second.1) } else { (second.1, first.1) };
    let (older, newer) = (stored_epoch(older)?, stored_epoch(newer)?);
    (older < newer).then(|| epoch_key(older, subject))
}
