//! What was settled, streamed page by page, once the read model has what was written before the call.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use twqr_journal::{Journal, Partition, Topic};
use twqr_wire::{
    convert::order_from,
    ops::{ListSettlementRequest, ListSettlementResponse, SettlementEntry, settlement_entry::Kind},
};

use super::{invalid, unavailable};
use crate::{
    model::{SettledBy, SettlementFilter, SqliteModel},
    settlement::entries_of,
};

/// Orders in one page.
const PAGE_SIZE: i64 = 1_000;
/// Entries that wait for a slow caller.
const WAITING_MAX: usize = 2 * PAGE_SIZE as usize;
/// How long the read model may take to catch up, in attempts of [`PAUSE_MS`].
const ATTEMPTS_MAX: u32 = 300;
const PAUSE_MS: u64 = 100;

pub(super) type Entries = ReceiverStream<Result<ListSettlementResponse, Status>>;

/// The entries of the range.
pub(super) async fn list(
    model: Arc<SqliteModel>,
    journal: &dyn Journal,
    request: ListSettlementRequest,
) -> Result<Entries, Status> {
    let ListSettlementRequest { from_ms, to_ms, merchant_id } = request;
    if to_ms <= from_ms {
        return Err(invalid("to_ms", "must be later than from_ms"));
    }
    caught_up(&model, journal).await?;
    let (entries, stream) = mpsc::channel(WAITING_MAX);
    tokio::spawn(async move {
        for by in [SettledBy::Settled, SettledBy::Cancelled] {
            let merchant_id = merchant_id.clone();
            let mut filter = SettlementFilter { by, from_ms, to_ms, merchant_id, after: None, size: PAGE_SIZE };
            while let Some(after) = send_page(&model, &filter, &entries).await {
                filter.after = Some(after);
            }
        }
    });
    Ok(ReceiverStream::new(stream))
}

/// Sends a page; the place after it, unless it was the last or nobody listens any more.
async fn send_page(
    model: &SqliteModel,
    filter: &SettlementFilter,
    entries: &mpsc::Sender<Result<ListSettlementResponse, Status>>,
) -> Option<(i64, String, String)> {
    let page = match model.settled(filter.clone()).await {
        Ok(page) => page,
        Err(failure) => {
            let _gone = entries.send(Err(unavailable(failure))).await;
            return None;
        }
    };
    for order in page.orders {
        let order = match order_from(order) {
            Ok(order) => order,
            Err(fault) => {
                let _gone = entries.send(Err(Status::internal(format!("an order cannot be read: {fault}")))).await;
                return None;
            }
        };
        let sought = |entry: &SettlementEntry| (entry.kind() == Kind::Cancel) == (filter.by == SettledBy::Cancelled);
        for entry in entries_of(&order).into_iter().filter(sought) {
            entries.send(Ok(ListSettlementResponse { entry: Some(entry) })).await.ok()?;
        }
    }
    page.next
}

/// Waits until every shard is applied up to where it ends now.
async fn caught_up(model: &SqliteModel, journal: &dyn Journal) -> Result<(), Status> {
    let mut ends = HashMap::new();
    for index in 0..journal.partitions(Topic::OrderStates) {
        let partition = Partition { topic: Topic::OrderStates, index };
        let end = journal.end(partition).await.map_err(|error| Status::unavailable(error.to_string()))?;
        ends.insert(index, end);
    }
    ends.retain(|_, end| *end > 0);
    for _ in 0..ATTEMPTS_MAX {
        for (shard, next) in model.positions().await.map_err(unavailable)? {
            if ends.get(&shard).is_some_and(|end| *end <= next) {
                ends.remove(&shard);
            }
        }
        if ends.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await;
    }
    let shards = ends.len();
    Err(Status::unavailable(format!("the read model is behind in {shards} shards, see GetStatus.lag; try again")))
}
