//! Taking over a shard: the local store, then what `order-states` has beyond it, read to an end
//! that is taken after the scan, so that compaction meanwhile hides nothing.

use std::sync::Arc;

use tracing::{error, warn};
use twqr_journal::{Journal, Partition, Topic};
use twqr_order::PolicyVersions;
use twqr_service::Stalled;
use twqr_types::ShardId;
use twqr_wire::convert::{RecordFault, StateBody, StatesEntry, UnreadableState, decode_state, unreadable_state};

use crate::{
    Error,
    shard::{POLICIES_KEY, Shard, number_index},
    store::{StateStore, StoreMark, StoredState},
};

/// How many records of `order-states` are taken at once.
const BATCH_RECORDS_MAX: usize = 1024;

/// The shard as of the highest marker; applying goes on at `Shard::next`.
pub(crate) async fn restore(
    id: ShardId,
    journal: &dyn Journal,
    store: Arc<dyn StateStore>,
) -> Result<(Shard, StoreMark), Error> {
    let mut mark = store.mark(id.0)?;
    let partition = Partition { topic: Topic::OrderStates, index: u32::from(id.0) };
    let mut reader = journal.reader(partition, mark.states_offset).await?;
    let (mut next, mut unreadable) = (mark.states_offset, None);
    // The newest record of a compacted topic stays, so that the end is always reached; one taken
    // after a scan covers what the scan missed.
    while next.max(journal.start(partition).await?) < journal.end(partition).await? {
        let mut states = Vec::new();
        let read = tokio::time::timeout(SCAN_WAIT, reader.next(BATCH_RECORDS_MAX)).await;
        let read = read.map_err(|_| Stalled { next })??;
        for record in read {
            next = record.offset + 1;
            let Some(value) = record.entry.value else { continue };
            match decode_state(value.clone()) {
                Ok(entry) => take(entry, value, &mut states, &mut mark),
                Err(fault) => match unreadable_state(&record.entry.key, value.clone()) {
                    UnreadableState::Order { key, position } => {
                        error!(shard = id.0, offset = record.offset, %fault, "an order's state cannot be read by this build; what comes for it goes to the dead letters");
                        states.push(StoredState { key, position, record: value });
                        unreadable.get_or_insert(record.offset);
                    }
                    UnreadableState::Policies => return Err(Error::UnreadableRules(fault)),
                    UnreadableState::Other => {
                        warn!(shard = id.0, offset = record.offset, %fault, "a marker cannot be read; passed over");
                    }
                },
            }
        }
        // From the first one that cannot be read, everything is read again by whoever comes next:
        // it may be a build that can.
        mark.states_offset = unreadable.unwrap_or(next);
        store.put(id.0, &states, mark)?;
    }
    let versions = match store.get(id.0, POLICIES_KEY)?.map(|(_, record)| decode_state(record).map(|entry| entry.body))
    {
        None => PolicyVersions::default(),
        Some(Ok(StateBody::Policies(versions))) => versions,
        Some(Ok(StateBody::Order(_) | StateBody::Marker)) => {
            return Err(Error::UnreadableRules(RecordFault::Missing("policies")));
        }
        Some(Err(fault)) => return Err(Error::UnreadableRules(fault)),
    };
    let mut shard = Shard::new(id, store, versions, mark.position);
    shard.has_unreadable = unreadable.is_some();
    Ok((shard, mark))
}

/// How long records that are there may take to come; then the shard is claimed anew. Never a reason
/// to go on without them.
const SCAN_WAIT: std::time::Duration = std::time::Duration::from_secs(20);

fn take(entry: StatesEntry, record: bytes::Bytes, states: &mut Vec<StoredState>, mark: &mut StoreMark) {
    let key = match entry.body {
        StateBody::Order(order) => {
            states.extend(number_index(&order, entry.position));
            order.key().to_bytes().into()
        }
        StateBody::Policies(_) => POLICIES_KEY.into(),
        StateBody::Marker => {
            mark.position = mark.position.max(entry.position);
            return;
        }
    };
    states.push(StoredState { key, position: entry.position, record });
}
