//! Restores a shard when it is taken over: first from the local store, then from the newer records
//! of `order-states` (protocol rule P5). The end of `order-states` is asked for again after each
//! batch. Otherwise compaction could hide an order: it deletes an old state when a newer one
//! follows, which may be behind the first end.

use std::time::Duration;

use bytes::Bytes;
use tracing::{error, warn};
use twqr_consumer::witness_of;
use twqr_journal::{Journal, Partition, Record, Topic, check_end};
use twqr_order::PolicyVersions;
use twqr_service::Stalled;
use twqr_types::ShardId;
use twqr_wire::convert::{
    RecordFault, StateBody, StatesEntry, UnreadableState, decode_marker_witness, decode_state, unreadable_state,
};

use crate::{
    Error,
    loading::{listing_key, number_index},
    metrics,
    shard::{POLICIES_KEY, Shard},
    store::{ShardStore, StoreMark, StoredState},
    superseded::Superseded,
};

/// How many records of `order-states` are read at once.
const BATCH_RECORDS_MAX: usize = 1024;

/// How long to wait for records that are known to exist. The owner never continues without them:
/// after this time the shard is claimed again.
const SCAN_WAIT: Duration = Duration::from_secs(20);

/// Restores the shard up to the highest marker; applying continues at `Shard::next`.
pub(crate) async fn restore(
    id: ShardId,
    journal: &dyn Journal,
    store: ShardStore,
) -> Result<(Shard, StoreMark), Error> {
    let partition = Partition { topic: Topic::OrderStates, index: u32::from(id.0) };
    let mut scan = Scan::begin(id, mark_to_scan_from(&store).await?);
    check_end(journal, partition, scan.next).await?;
    let mut reader = journal.reader(partition, scan.next).await?;
    // The end can always be reached, since compaction keeps the newest record of a partition.
    while scan.next.max(journal.start(partition).await?) < journal.end(partition).await? {
        let read = tokio::time::timeout(SCAN_WAIT, reader.next(BATCH_RECORDS_MAX)).await;
        let records = read.map_err(|_| Stalled { next: scan.next })??;
        metrics::states_read("restore", records.len());
        for record in records {
            scan.take(record)?;
        }
        let (states, mark) = scan.batch();
        let superseded = store.put(states, mark).await?;
        scan.add_superseded(superseded);
    }
    let versions = policy_versions(&store).await?;
    check_protocol(&versions)?;
    let mut shard = Shard::new(id, store, versions, scan.mark.position);
    shard.witness = scan.mark.witness;
    shard.first_unreadable = scan.first_unreadable;
    shard.superseded = scan.superseded;
    Ok((shard, scan.mark))
}

/// The store's mark, from which `order-states` is read. If an earlier build has stored the mark, it
/// has skipped the listings, which it does not know. So everything is read again where there may be
/// some.
pub(crate) async fn mark_to_scan_from(store: &ShardStore) -> Result<StoreMark, Error> {
    let mark = store.mark().await?;
    let is_earlier = mark.position > 0 && mark.epoch.is_none();
    let has_listings = |versions: PolicyVersions| versions.iter().any(|(_, change)| change.policy.takes_listings());
    if is_earlier && has_listings(policy_versions(store).await?) {
        return Ok(StoreMark { states_offset: 0, ..mark });
    }
    Ok(mark)
}

/// Fails if the newest policy has a protocol version that this build does not know: it would decide
/// by other rules than a build that knows it.
pub(crate) fn check_protocol(versions: &PolicyVersions) -> Result<(), Error> {
    let unknown = versions.newest().and_then(|newest| newest.policy.unknown_protocol());
    unknown.map_or(Ok(()), |fault| Err(Error::UnknownProtocol(fault)))
}

/// What was read from `order-states` so far.
pub(crate) struct Scan {
    shard: ShardId,
    mark: StoreMark,
    /// The offset of the next record to read.
    pub(crate) next: u64,
    /// The offset of the first state that this build cannot read.
    first_unreadable: Option<u64>,
    /// The states of the batch.
    states: Vec<StoredState>,
    /// The keys of the batch that were deleted.
    deleted: Vec<Bytes>,
    superseded: Superseded,
}

impl Scan {
    pub(crate) fn begin(shard: ShardId, mark: StoreMark) -> Self {
        let next = mark.states_offset;
        let (states, deleted, superseded) = (Vec::new(), Vec::new(), Superseded::default());
        Self { shard, mark, next, first_unreadable: None, states, deleted, superseded }
    }

    pub(crate) fn take(&mut self, record: Record) -> Result<(), Error> {
        self.next = record.offset + 1;
        let Some(value) = record.entry.value else {
            // An order's state of a newer epoch exists.
            self.deleted.push(record.entry.key);
            return Ok(());
        };
        match decode_state(value.clone()) {
            Ok(entry) => self.take_state(entry, value),
            Err(fault) => self.take_unreadable(record.offset, &record.entry.key, value, fault)?,
        }
        Ok(())
    }

    fn take_state(&mut self, entry: StatesEntry, record: Bytes) {
        let key = match entry.body {
            StateBody::Order(order) => {
                self.states.extend(number_index(&order, entry.position));
                order.key().to_bytes().into()
            }
            StateBody::Policies(_) => POLICIES_KEY.into(),
            StateBody::Listing(versions) => {
                let Some(newest) = versions.newest() else { return };
                listing_key(&newest.key).into()
            }
            StateBody::Marker => {
                if entry.position >= self.mark.position {
                    self.mark.position = entry.position;
                    self.mark.epoch = Some(entry.epoch);
                    self.mark.witness = decode_marker_witness(record).map(witness_of);
                }
                self.superseded.add_marker(entry.epoch);
                return;
            }
        };
        self.states.push(StoredState { key, position: entry.position, record });
    }

    fn take_unreadable(&mut self, offset: u64, key: &Bytes, value: Bytes, fault: RecordFault) -> Result<(), Error> {
        let shard = self.shard.0;
        match unreadable_state(key, value.clone()) {
            UnreadableState::Order { key, position } => {
                error!(
                    shard, offset, %fault,
                    "an order's state cannot be read by this build; records for it are written to dead-letters"
                );
                self.states.push(StoredState { key, position, record: value });
                self.first_unreadable.get_or_insert(offset);
            }
            UnreadableState::Policies => return Err(Error::UnreadablePolicy(fault)),
            UnreadableState::Listing => return Err(Error::UnreadableListing(fault)),
            UnreadableState::Other => warn!(shard, offset, %fault, "a marker cannot be read and is skipped"),
        }
        Ok(())
    }

    /// The states of the batch, and the mark to store with them. The mark never passes the first
    /// unreadable state, so that the next restore reads from there again, perhaps by a build that
    /// can read it.
    pub(crate) fn batch(&mut self) -> (Vec<StoredState>, StoreMark) {
        self.mark.states_offset = self.first_unreadable.unwrap_or(self.next);
        (std::mem::take(&mut self.states), self.mark)
    }

    /// Notes what the store returned for the batch.
    fn add_superseded(&mut self, keys: Vec<Bytes>) {
        self.superseded.extend(keys);
        self.superseded.forget(&std::mem::take(&mut self.deleted));
    }
}

/// The policy's versions from the local store.
async fn policy_versions(store: &ShardStore) -> Result<PolicyVersions, Error> {
    let stored = store.run(|store, shard| store.get(shard, POLICIES_KEY)).await?;
    let Some((_, record)) = stored else { return Ok(PolicyVersions::default()) };
    match decode_state(record).map_err(Error::UnreadablePolicy)?.body {
        StateBody::Policies(versions) => Ok(versions),
        StateBody::Order(_) | StateBody::Listing(_) | StateBody::Marker => {
            Err(Error::UnreadablePolicy(RecordFault::Missing("policies")))
        }
    }
}
