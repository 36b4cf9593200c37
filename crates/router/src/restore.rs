//! Restores a shard when it is taken over: first from the local store, then from the newer records
//! of `order-states` (protocol rule P5). The end of `order-states` is read again after each batch.
//! Otherwise compaction could hide an order: it deletes an old state when a newer one follows, and
//! that one may be behind the first end.

use std::time::Duration;

use bytes::Bytes;
use tracing::{error, warn};
use twqr_consumer::{BeginningsCheck, witness_of};
use twqr_journal::{Entry, Journal, JournalError, Partition, Reader, Record, Topic};
use twqr_order::PolicyVersions;
use twqr_service::Stalled;
use twqr_types::ShardId;
use twqr_wire::convert::{
    RecordFault, StateBody, StatesEntry, UnreadableState, decode_marker_witness, decode_state, encode_state,
    unreadable_state,
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

/// The record with which the owner of a claim begins to write to `order-states`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beginning {
    /// The offset of the claim.
    pub(crate) epoch: u64,
    /// A number that another topic does not have at the same offset.
    pub(crate) number: u64,
}

/// Restores the shard up to the highest marker; applying continues at `Shard::next`. An owner
/// writes its beginning at the end of what it has read.
pub(crate) async fn restore(
    id: ShardId,
    journal: &dyn Journal,
    store: ShardStore,
    beginning: Option<Beginning>,
) -> Result<(Shard, StoreMark), Error> {
    let partition = states_of(id);
    let mut scan = Scan::begin(id, mark_to_scan_from(&store).await?);
    let mut reader = scan.check.open(journal, scan.next).await?;
    read_to_end(&mut scan, &mut *reader, journal, &store).await?;
    check_marker(journal, &scan).await?;
    if let Some(Beginning { epoch, number }) = beginning {
        let body = StateBody::Beginning { number, newest: scan.check.known().newest };
        let (key, value) = encode_state(&StatesEntry { epoch, position: 0, body });
        journal.append(partition, vec![Entry { key, value: Some(value) }]).await?;
        // Its offset is known only once it was read.
        read_to_end(&mut scan, &mut *reader, journal, &store).await?;
    }
    let versions = policy_versions(&store).await?;
    check_protocol(&versions)?;
    register_issuers_of_newest(&versions);
    let mut shard = Shard::new(id, store, versions, scan.mark.position);
    shard.witness = scan.mark.witness;
    shard.first_unreadable = scan.first_unreadable;
    shard.superseded = scan.superseded;
    Ok((shard, scan.mark))
}

/// The shard's partition of `order-states`.
pub(crate) fn states_of(id: ShardId) -> Partition {
    Partition { topic: Topic::OrderStates, index: u32::from(id.0) }
}

/// Reads to the end of `order-states`, which can always be reached, since compaction keeps the
/// newest record of a partition.
async fn read_to_end(
    scan: &mut Scan,
    reader: &mut dyn Reader,
    journal: &dyn Journal,
    store: &ShardStore,
) -> Result<(), Error> {
    let partition = states_of(scan.shard);
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
    Ok(())
}

/// Fails if the topic has no marker where it must have one: only records of `orders` below a marker
/// are ever deleted, and the local store follows the marker.
async fn check_marker(journal: &dyn Journal, scan: &Scan) -> Result<(), Error> {
    let partition = states_of(scan.shard);
    let position = scan.mark.position;
    if scan.mark.marker_follows && scan.marker_at.is_none() {
        let what = format!(
            "its marker of the position {position} of orders is gone: it lost its newest records, or the topic is another one"
        );
        return Err(JournalError::NotWhole { partition, reason: what.into() }.into());
    }
    let start = journal.start(Partition { topic: Topic::Orders, index: partition.index }).await?;
    if position > 0 || start == 0 {
        return Ok(());
    }
    let what = format!(
        "it has no marker, although orders/{} begins at offset {start}: it lost its records, or the topic is another one",
        partition.index
    );
    Err(JournalError::NotWhole { partition, reason: what.into() }.into())
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

/// Makes the metrics of the issuers that the newest policy names exist.
fn register_issuers_of_newest(versions: &PolicyVersions) {
    metrics::register_issuers(versions.newest().map(|newest| &newest.policy));
}

/// The same, with the newest policy in the local store. A policy that cannot be read is reported
/// when the shard is restored.
pub(crate) async fn register_stored_issuers(store: &ShardStore) {
    if let Ok(versions) = policy_versions(store).await {
        register_issuers_of_newest(&versions);
    }
}

/// The records that were read from `order-states` so far.
pub(crate) struct Scan {
    shard: ShardId,
    mark: StoreMark,
    pub(crate) check: BeginningsCheck,
    /// The offset of the newest marker that was read, if none was newer before.
    marker_at: Option<u64>,
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
        let check = BeginningsCheck::new(states_of(shard), next, mark.beginnings);
        let (states, deleted, superseded) = (Vec::new(), Vec::new(), Superseded::default());
        Self { shard, mark, check, marker_at: None, next, first_unreadable: None, states, deleted, superseded }
    }

    pub(crate) fn take(&mut self, record: Record) -> Result<(), Error> {
        self.check.take(&record)?;
        self.next = record.offset + 1;
        let Some(value) = record.entry.value else {
            // An order's state of a newer epoch exists.
            self.deleted.push(record.entry.key);
            return Ok(());
        };
        match decode_state(value.clone()) {
            Ok(entry) => self.take_state(record.offset, entry, value),
            Err(fault) => self.take_unreadable(record.offset, &record.entry.key, value, fault)?,
        }
        Ok(())
    }

    fn take_state(&mut self, offset: u64, entry: StatesEntry, record: Bytes) {
        let key = match entry.body {
            StateBody::Order(order) => {
                self.states.extend(number_index(&order, entry.position));
                order.key().to_bytes().into()
            }
            StateBody::Policies(versions) => {
                register_issuers_of_newest(&versions);
                POLICIES_KEY.into()
            }
            StateBody::Listing(versions) => {
                let Some(newest) = versions.newest() else { return };
                listing_key(&newest.key).into()
            }
            StateBody::Marker => {
                if entry.position >= self.mark.position {
                    self.marker_at = Some(offset);
                    self.mark.position = entry.position;
                    self.mark.epoch = Some(entry.epoch);
                    self.mark.witness = decode_marker_witness(record).map(witness_of);
                }
                self.superseded.add_marker(entry.epoch);
                return;
            }
            StateBody::Beginning { .. } => return,
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
            UnreadableState::Other => {
                warn!(shard, offset, %fault, "a marker cannot be read and is skipped");
                self.marker_at = Some(offset);
            }
        }
        Ok(())
    }

    /// The states of the batch, and the mark to store with them. The mark never passes the first
    /// unreadable state, so that the next restore reads from there again, perhaps by a build that
    /// can read it.
    pub(crate) fn batch(&mut self) -> (Vec<StoredState>, StoreMark) {
        self.mark.states_offset = self.first_unreadable.unwrap_or(self.next);
        self.mark.beginnings = self.check.known();
        if let Some(marker) = self.marker_at {
            self.mark.marker_follows = marker >= self.mark.states_offset;
        }
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
        StateBody::Order(_) | StateBody::Listing(_) | StateBody::Marker | StateBody::Beginning { .. } => {
            Err(Error::UnreadablePolicy(RecordFault::Missing("policies")))
        }
    }
}
