//! Decodes records of `order-states` into a batch, the same way for the alarms and for the read
//! model.

use std::sync::Arc;

use bytes::Bytes;
use twqr_consumer::beginnings_read;
use twqr_journal::{Offset, Record};
use twqr_order::ListingChange;
use twqr_wire::convert::{BeginningsRead, RecordFault, StateBody, UnreadableState, decode_state, unreadable_state};

use crate::{model::StoredOrder, policies::ShardPolicies};

/// The content of several records of `order-states`, in their order.
#[derive(Debug, Default)]
pub(crate) struct StatesBatch {
    /// The batch covers all records from this offset on.
    pub(crate) from: Offset,
    /// The batch ends before this offset.
    pub(crate) next: Offset,
    pub(crate) orders: Vec<StoredOrder>,
    /// The newest versions of the policy.
    pub(crate) policies: Option<ShardPolicies>,
    /// The newest versions of entries of the directory of merchants.
    pub(crate) listings: Vec<Arc<ListingChange>>,
    /// The highest marker: every state that comes from records of `orders` below it has been read.
    pub(crate) marker: u64,
    /// The markers and beginnings, each with its offset.
    pub(crate) beginnings: Vec<(Offset, BeginningsRead)>,
    /// The offset of the first unreadable state of an order or of the policy.
    pub(crate) unreadable: Option<Offset>,
    /// Every record that cannot be decoded.
    pub(crate) faults: Vec<UnreadableRecord>,
}

/// A record that this build cannot decode.
#[derive(Debug)]
pub(crate) struct UnreadableRecord {
    pub(crate) offset: Offset,
    pub(crate) value: Bytes,
    pub(crate) fault: RecordFault,
}

impl StatesBatch {
    /// Decodes records that were read from the offset `from`.
    pub(crate) fn decode(from: Offset, records: Vec<Record>) -> Self {
        let mut batch = Self { from, next: from, ..Self::default() };
        for record in records {
            batch.next = record.offset + 1;
            batch.beginnings.extend(beginnings_read(&record).map(|read| (record.offset, read)));
            if let Some(value) = record.entry.value {
                batch.add(record.offset, &record.entry.key, value);
            }
        }
        batch
    }

    fn add(&mut self, offset: Offset, key: &Bytes, value: Bytes) {
        match decode_state(value.clone()).map(|entry| (entry.position, entry.body)) {
            Ok((position, StateBody::Order(order))) => {
                self.orders.push(StoredOrder { order: *order, position, is_only_state: false });
            }
            Ok((position, StateBody::Policies(versions))) => {
                if self.policies.as_ref().is_none_or(|known| known.position <= position) {
                    self.policies = Some(ShardPolicies { position, versions: Arc::new(versions) });
                }
            }
            Ok((_, StateBody::Listing(versions))) => self.listings.extend(versions.newest().cloned()),
            Ok((_, StateBody::Beginning { .. })) => {}
            Ok((position, StateBody::Marker)) => self.marker = self.marker.max(position),
            Err(fault) => {
                match unreadable_state(key, value.clone()) {
                    UnreadableState::Order { .. } | UnreadableState::Policies | UnreadableState::Listing => {
                        self.unreadable.get_or_insert(offset);
                    }
                    UnreadableState::Other => {}
                }
                self.faults.push(UnreadableRecord { offset, value, fault });
            }
        }
    }
}
