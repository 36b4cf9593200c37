//! Where each partition begins after trimming. Records below a partition's floor are not read any
//! more; the next compaction of their topic removes them from the disk.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use fjall::compaction::filter::{CompactionFilter, CompactionFilterResult, Context, Factory, ItemAccessor, Verdict};

use super::record_key::{index_of, offset_of};
use crate::{Offset, Partition, Topic};

/// The floors of all partitions; shared by readers and by the compactions in the background.
#[derive(Clone, Debug, Default)]
pub(super) struct Floors(Arc<RwLock<BTreeMap<Partition, Offset>>>);

impl Floors {
    /// The lowest offset that may be read.
    pub(super) fn of(&self, partition: Partition) -> Offset {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&partition).copied().unwrap_or(0)
    }

    pub(super) fn raise(&self, partition: Partition, floor: Offset) {
        let mut floors = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let known = floors.entry(partition).or_default();
        *known = floor.max(*known);
    }

    /// The filter by which compactions of this topic remove records below the floors.
    pub(super) fn filter(&self, topic: Topic) -> Arc<dyn Factory> {
        Arc::new(TrimFilter { topic, floors: self.clone() })
    }
}

#[derive(Clone)]
struct TrimFilter {
    topic: Topic,
    floors: Floors,
}

impl Factory for TrimFilter {
    fn name(&self) -> &'static str {
        "trim"
    }

    fn make_filter(&self, _context: &Context) -> Box<dyn CompactionFilter> {
        Box::new(self.clone())
    }
}

impl CompactionFilter for TrimFilter {
    fn filter_item(&mut self, item: ItemAccessor<'_>, _context: &Context) -> CompactionFilterResult {
        let key = item.key();
        let floor = self.floors.of(Partition { topic: self.topic, index: index_of(key) });
        // A record is written once and never replaced, so no older version of it can return.
        Ok(if offset_of(key) < floor { Verdict::Destroy } else { Verdict::Keep })
    }
}
