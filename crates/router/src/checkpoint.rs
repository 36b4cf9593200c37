//! Writes checkpoints (protocol rule P5) in this order, each part once the part before it is
//! acknowledged:
//!
//! 1. The effects of all records up to a position, which the batches emit.
//! 2. The states that changed up to there.
//! 3. The marker.
//! 4. The local store.

use std::sync::Arc;

use bytes::Bytes;
use twqr_consumer::stored_witness;
use twqr_journal::{Entry, Group, Journal, Partition, Position, Topic, Witness};
use twqr_order::ListingKey;
use twqr_types::OrderKey;
use twqr_wire::convert::{StateBody, StatesEntry, encode_marker, encode_order_state, encode_state};

use crate::{
    Error,
    loading::{listing_key, number_index},
    metrics,
    shard::{POLICIES_KEY, Shard},
    store::{ShardStore, StoreMark, StoredState},
};

/// How many signs of life may follow the last marker: about four seconds of them. Whoever waits
/// until all records are decided waits for a marker.
const SIGNS_PER_MARKER: u64 = 16;

/// The states that changed since the last checkpoint, as they are at a position.
pub(crate) struct Checkpoint {
    shard: u16,
    epoch: u64,
    /// The states reflect every record below this offset.
    pub(crate) position: u64,
    /// A record below the position.
    witness: Option<Witness>,
    keys: Vec<OrderKey>,
    listings: Vec<ListingKey>,
    entries: Vec<Entry>,
    states: Vec<StoredState>,
}

/// The result of a written checkpoint.
pub(crate) struct Written {
    /// The orders that are in the local store now.
    pub(crate) keys: Vec<OrderKey>,
    /// The entries of the directory of merchants that are in the local store now.
    pub(crate) listings: Vec<ListingKey>,
    /// The keys in `order-states` of the older epochs' states of these orders.
    pub(crate) superseded: Vec<Bytes>,
    /// The store's mark.
    pub(crate) mark: StoreMark,
}

impl Checkpoint {
    /// Takes everything that has changed up to the position that the shard has applied; `mark` is
    /// that of the last checkpoint.
    pub(crate) fn take(shard: &mut Shard, epoch: u64, mark: &StoreMark) -> Self {
        let (position, witness) = (shard.next, shard.witness);
        let keys = shard.take_dirty();
        shard.replay_starts = [mark.position, position];
        let mut taken = Self {
            shard: shard.id.0,
            epoch,
            position,
            witness,
            keys: Vec::new(),
            listings: Vec::new(),
            entries: Vec::new(),
            states: Vec::new(),
        };
        if std::mem::take(&mut shard.versions_dirty) {
            taken.add(POLICIES_KEY.to_vec(), StateBody::Policies(shard.versions.clone()));
        }
        for (key, versions) in shard.directory.take_dirty(mark.position) {
            taken.add(listing_key(&key), StateBody::Listing(versions));
            taken.listings.push(key);
        }
        for key in &keys {
            if let Some(order) = shard.hot(key) {
                taken.states.extend(number_index(order, position));
                taken.push(key.to_bytes(), encode_order_state(epoch, position, order));
            }
        }
        taken.keys = keys;
        taken
    }

    /// Whether there is something to write. Records that changed nothing count too: the marker
    /// shows its readers that they miss nothing up to its position. From `worked_to` on there are
    /// only signs of life, which need a marker only when there are many.
    pub(crate) fn is_due(shard: &Shard, mark: &StoreMark, worked_to: u64) -> bool {
        let signs = shard.next.saturating_sub(mark.position);
        shard.needs_checkpoint() || worked_to > mark.position || signs >= SIGNS_PER_MARKER
    }

    /// Adds entries that delete superseded records. The marker follows them, so a reader never
    /// waits for the newest record of the partition in vain.
    pub(crate) fn delete(&mut self, entries: Vec<Entry>) {
        self.entries.extend(entries);
    }

    fn add(&mut self, store_key: Vec<u8>, body: StateBody) {
        let entry = StatesEntry { epoch: self.epoch, position: self.position, body };
        self.push(store_key, encode_state(&entry));
    }

    fn push(&mut self, store_key: Vec<u8>, (key, record): (Bytes, Bytes)) {
        self.states.push(StoredState { key: store_key.into(), position: self.position, record: record.clone() });
        self.entries.push(Entry { key, value: Some(record) });
    }

    /// Writes the checkpoint; every effect up to its position must be acknowledged.
    pub(crate) async fn write(
        self,
        journal: Arc<dyn Journal>,
        store: ShardStore,
        mut mark: StoreMark,
    ) -> Result<Written, Error> {
        let partition = Partition { topic: Topic::OrderStates, index: u32::from(self.shard) };
        metrics::checkpointed(self.entries.iter().filter(|entry| entry.value.is_some()).count());
        if !self.entries.is_empty() {
            journal.append(partition, self.entries).await?;
        }
        let (key, value) =
            encode_marker(self.epoch, self.position, self.witness.map(stored_witness), mark.beginnings.newest);
        journal.append(partition, vec![Entry { key, value: Some(value) }]).await?;
        mark.position = self.position;
        mark.witness = self.witness;
        mark.epoch = Some(self.epoch);
        // The mark's end of `order-states` was taken before the marker was appended.
        mark.marker_follows = true;
        let superseded = store.put(self.states, mark).await?;
        if !journal.is_shared() {
            // The embedded journal may delete what no restore reads any more. A failure is
            // harmless: the next checkpoint stores its position.
            let orders = Partition { topic: Topic::Orders, index: u32::from(self.shard) };
            drop(journal.commit(Group::Routers, orders, Position { next: mark.position, metadata: Bytes::new() }));
        }
        Ok(Written { keys: self.keys, listings: self.listings, superseded, mark })
    }
}
