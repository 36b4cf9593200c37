//! What was settled, streamed page by page, once the read model has what was written before the
//! call.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use twqr_journal::{Journal, Partition, Topic};
use twqr_types::UnixMs;
use twqr_wire::{
    convert::order_from,
    ops::{ListSettlementRequest, ListSettlementResponse, SettlementEntry, settlement_entry::Kind},
};

use super::{invalid, unavailable};
use crate::{
    model::{SettledBy, SettlementFilter, SqliteModel, Upto},
    settlement::entries_of,
};

/// Orders in one page.
const PAGE_SIZE: i64 = 1_000;
/// Entries that wait for a slow caller.
const WAITING_MAX: usize = 2 * PAGE_SIZE as usize;
/// How long routers and the read model may take to catch up each time, in attempts of [`PAUSE_MS`].
const ATTEMPTS_MAX: u32 = 100;
const PAUSE_MS: u64 = 100;
/// A record may let its router write another one to another shard under the same time: a refund
/// asks its payment, the payment answers. So the ends of `orders` are taken so many times, each
/// time once everything before is decided.
const ROUNDS: usize = 3;

pub(super) type Entries = ReceiverStream<Result<ListSettlementResponse, Status>>;

/// The entries of the range. One that is over is complete, or refused.
pub(super) async fn list(
    model: Arc<SqliteModel>,
    journal: &dyn Journal,
    now: UnixMs,
    request: ListSettlementRequest,
) -> Result<Entries, Status> {
    let ListSettlementRequest { from_ms, to_ms, merchant_id } = request;
    if to_ms <= from_ms {
        return Err(invalid("to_ms", "must be later than from_ms"));
    }
    caught_up(&model, journal, to_ms <= now.0).await?;
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

/// Waits until every shard is applied up to where `order-states` ends now; and where everything
/// must be there, until every router has decided all that stands in `orders` now.
async fn caught_up(model: &SqliteModel, journal: &dyn Journal, must_be_complete: bool) -> Result<(), Status> {
    let ends = ends(journal, Topic::OrderStates).await?;
    reached(model, ends, |upto| upto.next).await?.map_err(|behind| {
        Status::unavailable(format!(
            "the read model is behind: {behind} states are applied; try again, see GetStatus.lag"
        ))
    })?;
    for _ in 0..if must_be_complete { ROUNDS } else { 0 } {
        let ends = self::ends(journal, Topic::Orders).await?;
        reached(model, ends, |upto| upto.marker).await?.map_err(|behind| {
            Status::unavailable(format!(
                "the range is not complete: {behind} records of orders are decided and in the read model; see whether that shard's router \
                 is ready (/readyz), then try again. Only of a day that is not over yet there is a part, with --partial"
            ))
        })?;
    }
    Ok(())
}

/// Where each shard ends now.
async fn ends(journal: &dyn Journal, topic: Topic) -> Result<BTreeMap<u32, u64>, Status> {
    let mut ends = BTreeMap::new();
    for index in 0..journal.partitions(topic) {
        let end = journal.end(Partition { topic, index }).await;
        ends.insert(index, end.map_err(|error| Status::unavailable(error.to_string()))?);
    }
    ends.retain(|_, end| *end > 0);
    Ok(ends)
}

/// Waits until each shard is there; says of the first that is not in time how far it is.
async fn reached(
    model: &SqliteModel,
    mut ends: BTreeMap<u32, u64>,
    place: impl Fn(&Upto) -> u64,
) -> Result<Result<(), String>, Status> {
    let mut behind = String::new();
    for _ in 0..ATTEMPTS_MAX {
        let positions = model.positions().await.map_err(unavailable)?;
        let place = |shard: u32| positions.get(&shard).map_or(0, &place);
        ends.retain(|shard, end| place(*shard) < *end);
        let Some((shard, end)) = ends.first_key_value() else { return Ok(Ok(())) };
        behind = format!("in shard {shard} (and {} others) {} of {end}", ends.len() - 1, place(*shard));
        tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await;
    }
    Ok(Err(behind))
}
