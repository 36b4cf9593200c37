//! `ListSettlement`: the movements that count in a time range, streamed page by page. The stream
//! starts once the read model has everything that had been written when the call arrived. A range
//! may be closed first; then every later call returns the same movements.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use twqr_journal::{Journal, Partition, Topic};
use twqr_types::UnixMs;
use twqr_wire::ops::{
    ListSettlementRequest, ListSettlementResponse, OperatorRefusalReason, SettlementEntry, settlement_entry::Kind,
};

use super::{
    closing::{Writer, close_books},
    no_journal,
    open_streams::PlacedStream,
    refusal::{closing_undecided, invalid, refuse, refuse_with_delay},
    settlement_entries::entries_of,
    unavailable, unreadable,
};
use crate::model::{SettledBy, SettlementFilter, SqliteModel, Watermark};

/// The number of orders in one page.
const PAGE_SIZE: i64 = 1_000;
/// How many entries may wait for a slow caller.
const WAITING_MAX: usize = 2 * PAGE_SIZE as usize;
/// How often each round checks whether routers and the read model have caught up, before the call
/// fails. The pause between two checks is [`PAUSE_MS`].
const ATTEMPTS_MAX: u32 = 100;
const PAUSE_MS: u64 = 100;
/// How many rounds there are. Deciding a record may write another one with the same time to another
/// shard: a refund sends a reservation to its payment, and the payment answers. So each round reads
/// the ends of `orders` again, and waits until all records before them are decided.
const ROUNDS: usize = 3;

/// How long after the end of a range its books can be closed, in ms. Clocks differ, and what is on
/// its way at the end takes a moment: what lands behind the closing counts in the next range.
const CLOSING_DELAY_MS: i64 = 60_000;

pub(super) type Entries = PlacedStream<ListSettlementResponse>;

/// Lists the entries of a range. If the range is over, the list is complete or the call is refused.
/// If the caller closes the range, the list is also final.
pub(super) async fn list(
    model: Arc<SqliteModel>,
    writer: &Writer<'_>,
    request: ListSettlementRequest,
) -> Result<ReceiverStream<Result<ListSettlementResponse, Status>>, Status> {
    let ListSettlementRequest { from_ms, to_ms, merchant_id, close } = request;
    if to_ms <= from_ms {
        return Err(invalid("to_ms", "must be later than from_ms"));
    }
    let (journal, now) = (writer.journal, writer.now);
    let is_over = to_ms <= now.0;
    let can_close_at = UnixMs(to_ms).plus(CLOSING_DELAY_MS);
    if close && now < can_close_at {
        let text = format!(
            "the books up to {} cannot be closed before {}: it is {} by the tracker's clock; try again after that \
             time, or check the clocks",
            UnixMs(to_ms).taipei(),
            can_close_at.taipei(),
            now.taipei()
        );
        let left = Duration::from_millis(can_close_at.0.saturating_sub(now.0).unsigned_abs());
        return Err(refuse_with_delay(OperatorRefusalReason::ClosingTooEarly, text, left));
    }
    wait_until_caught_up(&model, journal, is_over).await?;
    // What is on its way by now was waited for, so that it counts in its own range.
    if close {
        close_books(writer, UnixMs(to_ms)).await?;
        wait_until_decided(&model, journal).await.map_err(|cause| closing_undecided(&cause))?;
    }
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

/// Sends a page and returns the position after it. Returns `None` after the last page, after an
/// error, and if the caller has ended the call.
async fn send_page(
    model: &SqliteModel,
    filter: &SettlementFilter,
    entries: &mpsc::Sender<Result<ListSettlementResponse, Status>>,
) -> Option<(i64, String, String)> {
    let page = match model.settled(filter.clone()).await {
        Ok(page) => page,
        Err(failure) => {
            let _caller_is_gone = entries.send(Err(unavailable(failure))).await;
            return None;
        }
    };
    for order in page.orders {
        let order = match order {
            Ok(order) => order,
            Err(order) => {
                // A list without this order would look complete.
                let _caller_is_gone = entries.send(Err(unreadable(order))).await;
                return None;
            }
        };
        let is_wanted = |entry: &SettlementEntry| (entry.kind() == Kind::Cancel) == (filter.by == SettledBy::Cancelled);
        for entry in entries_of(&order).into_iter().filter(is_wanted) {
            entries.send(Ok(ListSettlementResponse { entry: Some(entry) })).await.ok()?;
        }
    }
    page.next
}

/// Waits until the read model has all records of `order-states` that exist now. If the range must
/// be complete, also waits until all records of `orders` that exist now are decided and applied.
async fn wait_until_caught_up(
    model: &SqliteModel,
    journal: &dyn Journal,
    must_be_complete: bool,
) -> Result<(), Status> {
    let ends = ends(journal, Topic::OrderStates).await?;
    wait_for(model, ends, |watermark| watermark.next).await?.map_err(|behind| {
        let text = format!("the read model is behind: {behind} states are applied; try again, see GetStatus.lag");
        refuse(OperatorRefusalReason::ReadModelBehind, text)
    })?;
    for _ in 0..if must_be_complete { ROUNDS } else { 0 } {
        wait_until_decided(model, journal).await?;
    }
    Ok(())
}

/// Waits until all records of `orders` that exist now are decided, and applied to the read model.
async fn wait_until_decided(model: &SqliteModel, journal: &dyn Journal) -> Result<(), Status> {
    let ends = ends(journal, Topic::Orders).await?;
    wait_for(model, ends, |watermark| watermark.marker).await?.map_err(|behind| {
        let text = format!(
            "the range is not complete: {behind} records of orders are decided and in the read model; check whether \
             that shard's router is ready (/readyz), then try again. --partial helps only with a day that has not ended"
        );
        refuse(OperatorRefusalReason::ReadModelBehind, text)
    })
}

/// The present end of each partition of a topic, without empty partitions.
async fn ends(journal: &dyn Journal, topic: Topic) -> Result<BTreeMap<u32, u64>, Status> {
    let mut ends = BTreeMap::new();
    for index in 0..journal.partitions(topic) {
        let end = journal.end(Partition { topic, index }).await;
        ends.insert(index, end.map_err(|error| no_journal("the ends of the topics cannot be read now", &error))?);
    }
    ends.retain(|_, end| *end > 0);
    Ok(ends)
}

/// Waits until the read model has reached these ends. The inner error says how far the first shard
/// is that did not reach its end in time.
async fn wait_for(
    model: &SqliteModel,
    mut ends: BTreeMap<u32, u64>,
    place: impl Fn(&Watermark) -> u64,
) -> Result<Result<(), String>, Status> {
    let mut behind = String::new();
    for _ in 0..ATTEMPTS_MAX {
        let watermarks = model.watermarks().await.map_err(unavailable)?;
        let place = |shard: u32| watermarks.get(&shard).map_or(0, &place);
        ends.retain(|shard, end| place(*shard) < *end);
        let Some((shard, end)) = ends.first_key_value() else { return Ok(Ok(())) };
        behind = format!("in shard {shard} (and {} others) {} of {end}", ends.len() - 1, place(*shard));
        tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await;
    }
    Ok(Err(behind))
}
