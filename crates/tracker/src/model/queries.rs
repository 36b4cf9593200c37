//! The queries of operators, answered from the SQLite read model.

use std::collections::{HashMap, HashSet};

use sqlx::{QueryBuilder, Row, Sqlite, sqlite::SqliteRow};
use twqr_order::Order;
use twqr_types::{OrderKey, UnixMs};
use twqr_wire::convert::{RecordFault, decode_order};

use super::{ModelError, SqliteModel, Watermark, phase_name, sqlite::positions, status_code};

/// Which orders to list.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListFilter {
    pub(crate) in_progress_only: bool,
    pub(crate) contradicted_only: bool,
    pub(crate) attention_only: bool,
    pub(crate) merchant_id: String,
    /// The list begins after this position.
    pub(crate) after: Option<Cursor>,
    pub(crate) size: i64,
}

/// The movement of an order by whose time in the books orders are selected and sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SettledBy {
    /// The payment, or the refund.
    Settled,
    /// The reversal of a payment.
    Cancelled,
}

macro_rules! settled_query {
    ($time:literal) => {
        concat!(
            "SELECT state, ",
            $time,
            ", merchant_id, merchant_trade_no FROM orders WHERE ",
            $time,
            " IS NOT NULL AND ",
            $time,
            " < ? AND (",
            $time,
            ", merchant_id, merchant_trade_no) > (?, ?, ?) AND (? = '' OR merchant_id = ?) \
             ORDER BY ",
            $time,
            ", merchant_id, merchant_trade_no LIMIT ?",
        )
    };
}

impl SettledBy {
    const fn query(self) -> &'static str {
        match self {
            Self::Settled => settled_query!("settled_at_ms"),
            Self::Cancelled => settled_query!("cancelled_at_ms"),
        }
    }
}

/// Which settled orders to list.
#[derive(Clone, Debug)]
pub(crate) struct SettlementFilter {
    pub(crate) by: SettledBy,
    /// Unix ms at which the range begins.
    pub(crate) from_ms: i64,
    /// Unix ms at which the range ends; exclusive.
    pub(crate) to_ms: i64,
    /// An empty text means the orders of all merchants.
    pub(crate) merchant_id: String,
    /// The list begins after this position.
    pub(crate) after: Option<Cursor>,
    pub(crate) size: i64,
}

/// A position in a list: the time by which the list is sorted, MerchantID and MerchantTradeNo.
pub(crate) type Cursor = (i64, String, String);

/// A page of a list. In place of an unreadable order it has the error, so that the caller decides
/// whether the list is useful without that order.
pub(crate) struct Page {
    pub(crate) orders: Vec<Result<Order, UnreadableOrder>>,
    /// The position of the last order; absent if this was the last page.
    pub(crate) next: Option<Cursor>,
}

/// An order whose stored state cannot be read: it is damaged, or a newer build wrote it.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "the stored state of order {merchant_id}/{merchant_trade_no} cannot be read ({fault}); run the build that wrote it \
     or a newer one, or stop the tracker, delete {place} and start it again: the file is built anew from order-states"
)]
pub(crate) struct UnreadableOrder {
    pub(crate) merchant_id: String,
    pub(crate) merchant_trade_no: String,
    pub(crate) fault: RecordFault,
    /// The path of the read model's file.
    pub(crate) place: String,
}

/// The newest state of an order, and the states before it.
pub(crate) struct OrderHistory {
    pub(crate) order: Order,
    /// The oldest state first.
    pub(crate) timeline: Vec<TimelineEntry>,
}

/// A state in the timeline of an order.
pub(crate) struct TimelineEntry {
    /// When the order entered the state.
    pub(crate) at: UnixMs,
    pub(crate) phase: String,
    /// The StatusCode of a failure; empty otherwise.
    pub(crate) status_code: String,
    /// The state reflects all records of the order's shard below this offset.
    pub(crate) position: u64,
}

/// Counts over all orders.
#[derive(Clone, Debug, Default)]
pub(crate) struct Status {
    pub(crate) orders: i64,
    pub(crate) contradicted: i64,
    pub(crate) attention: i64,
    /// Unix ms of acceptance of each order in progress, oldest first.
    pub(crate) in_progress: Vec<i64>,
    /// How many records of `order-states` are applied, over all shards.
    pub(crate) applied: i64,
}

/// The number of orders of all shards.
const ORDERS: &str = "SELECT CAST(COALESCE(SUM(orders), 0) AS BIGINT) FROM counts";
const CONTRADICTED: &str = "SELECT COUNT(*) FROM orders WHERE is_contradicted = 1";
const ATTENTION: &str = "SELECT COUNT(*) FROM orders WHERE needs_attention = 1";
/// When each order in progress was accepted.
const IN_PROGRESS: &str = "SELECT accepted_at_ms FROM orders WHERE is_final = 0 ORDER BY accepted_at_ms";
const APPLIED: &str = "SELECT CAST(COALESCE(SUM(next), 0) AS BIGINT) FROM positions";

/// The query that lists orders, behind `prefix`. A condition on a partial index is written out,
/// because a planner uses such an index only if the text of the query implies its condition.
fn list_query(prefix: &str, filter: ListFilter) -> QueryBuilder<Sqlite> {
    let (at, merchant, number) = filter.after.unwrap_or((i64::MIN, String::new(), String::new()));
    let mut query = QueryBuilder::new(prefix);
    query.push(
        "SELECT state, accepted_at_ms, merchant_id, merchant_trade_no FROM orders \
         WHERE (accepted_at_ms, merchant_id, merchant_trade_no) > (",
    );
    query.push_bind(at).push(", ").push_bind(merchant).push(", ").push_bind(number).push(")");
    if filter.in_progress_only {
        query.push(" AND is_final = 0");
    }
    if filter.contradicted_only {
        query.push(" AND is_contradicted = 1");
    }
    if filter.attention_only {
        query.push(" AND needs_attention = 1");
    }
    query.push(" AND (").push_bind(filter.merchant_id.clone()).push(" = '' OR merchant_id = ");
    query.push_bind(filter.merchant_id).push(") ORDER BY accepted_at_ms, merchant_id, merchant_trade_no LIMIT ");
    query.push_bind(filter.size);
    query
}

/// The number of orders in one query for superseded states.
const SUPERSEDED_MAX: usize = 128;

/// The query for those of these orders whose stored state is newer, behind `prefix`. It joins a
/// list of values, because SQLite reads the whole table for pairs `IN` such a list.
fn superseded_query(prefix: &str, states: &[(OrderKey, u64)]) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::new(prefix);
    query.push("WITH due (merchant_id, merchant_trade_no, position) AS (");
    query.push_values(states, |mut row, (key, position)| {
        row.push_bind(key.merchant_id.to_string())
            .push_bind(key.merchant_trade_no.to_string())
            .push_bind(position.cast_signed());
    });
    query.push(
        ") SELECT orders.merchant_id, orders.merchant_trade_no FROM due JOIN orders \
         ON orders.merchant_id = due.merchant_id AND orders.merchant_trade_no = due.merchant_trade_no \
         WHERE orders.position > due.position",
    );
    query
}

impl SqliteModel {
    /// Returns those of these orders whose stored state is newer than the position.
    pub(super) async fn superseded_orders(&self, states: &[(OrderKey, u64)]) -> Result<HashSet<OrderKey>, sqlx::Error> {
        let mut superseded = HashSet::new();
        for states in states.chunks(SUPERSEDED_MAX) {
            let rows = superseded_query("", states).build().fetch_all(&self.readers).await?;
            let found: HashSet<(&str, &str)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
            let keys = states.iter().map(|(key, _)| key);
            superseded.extend(
                keys.filter(|key| found.contains(&(key.merchant_id.as_str(), key.merchant_trade_no.as_str()))).cloned(),
            );
        }
        Ok(superseded)
    }

    /// Lists orders, sorted by the time at which they were accepted.
    pub(crate) async fn list(&self, filter: ListFilter) -> Result<Page, ModelError> {
        let size = filter.size;
        let rows = list_query("", filter).build().fetch_all(&self.readers).await;
        Ok(self.page(&rows.map_err(|error| self.failed(&error))?, size))
    }

    /// Lists the orders whose [`SettledBy`] time is in the range, sorted by that time.
    pub(crate) async fn settled(&self, filter: SettlementFilter) -> Result<Page, ModelError> {
        let (at, merchant, number) = filter.after.unwrap_or((filter.from_ms, String::new(), String::new()));
        let rows = sqlx::query(filter.by.query())
            .bind(filter.to_ms)
            .bind(at)
            .bind(merchant)
            .bind(number)
            .bind(filter.merchant_id.clone())
            .bind(filter.merchant_id)
            .bind(filter.size)
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.failed(&error))?;
        Ok(self.page(&rows, filter.size))
    }

    /// Reads a page from rows of state, time, MerchantID and MerchantTradeNo.
    fn page(&self, rows: &[SqliteRow], size: i64) -> Page {
        let full = i64::try_from(rows.len()).is_ok_and(|length| length == size);
        let next = rows.last().filter(|_| full).map(|row| (row.get(1), row.get(2), row.get(3)));
        let order = |row: &SqliteRow| self.stored_order(row.get(0), row.get(2), row.get(3));
        Page { orders: rows.iter().map(order).collect(), next }
    }

    /// Reads the stored state of an order.
    fn stored_order(&self, state: &[u8], merchant_id: &str, merchant_trade_no: &str) -> Result<Order, UnreadableOrder> {
        decode_order(state).map_err(|fault| UnreadableOrder {
            merchant_id: merchant_id.to_owned(),
            merchant_trade_no: merchant_trade_no.to_owned(),
            fault,
            place: self.place().to_owned(),
        })
    }

    /// Returns the newest state of an order and its timeline, oldest state first.
    pub(crate) async fn order(
        &self,
        merchant_id: &str,
        merchant_trade_no: &str,
    ) -> Result<Option<Result<OrderHistory, UnreadableOrder>>, ModelError> {
        let failed = |error: sqlx::Error| self.failed(&error);
        let state = sqlx::query("SELECT state, position FROM orders WHERE merchant_id = ? AND merchant_trade_no = ?")
            .bind(merchant_id)
            .bind(merchant_trade_no)
            .fetch_optional(&self.readers)
            .await
            .map_err(failed)?;
        let Some(state) = state else { return Ok(None) };
        let order = match self.stored_order(state.get(0), merchant_id, merchant_trade_no) {
            Ok(order) => order,
            Err(unreadable) => return Ok(Some(Err(unreadable))),
        };
        let rows = sqlx::query(
            "SELECT at_ms, phase, status_code, position FROM timeline \
             WHERE merchant_id = ? AND merchant_trade_no = ? ORDER BY position",
        )
        .bind(merchant_id)
        .bind(merchant_trade_no)
        .fetch_all(&self.readers)
        .await
        .map_err(failed)?;
        let entry = |row: &SqliteRow| TimelineEntry {
            at: UnixMs(row.get(0)),
            phase: row.get(1),
            status_code: row.get(2),
            position: row.get::<i64, _>(3).cast_unsigned(),
        };
        let mut timeline: Vec<TimelineEntry> = rows.iter().map(entry).collect();
        let position = state.get::<i64, _>(1).cast_unsigned();
        // An order with one state only has no timeline rows: see `StoredOrder::is_only_state`.
        if timeline.iter().all(|entry| entry.position < position) {
            timeline.push(TimelineEntry {
                at: order.changed_at(),
                phase: phase_name(&order).to_owned(),
                status_code: status_code(&order).map_or_else(String::new, String::from),
                position,
            });
        }
        Ok(Some(Ok(OrderHistory { order, timeline })))
    }

    /// The watermark of each shard; shards without a record are absent.
    pub(crate) async fn watermarks(&self) -> Result<HashMap<u32, Watermark>, ModelError> {
        positions::read_all(&self.readers).await.map_err(|error| self.failed(&error))
    }

    /// Counts over all orders, for `GetStatus`.
    pub(crate) async fn status(&self) -> Result<Status, ModelError> {
        let failed = |error: sqlx::Error| self.failed(&error);
        let number = |query: &'static str| sqlx::query_scalar::<_, i64>(query).fetch_one(&self.readers);
        Ok(Status {
            orders: number(ORDERS).await.map_err(failed)?,
            contradicted: number(CONTRADICTED).await.map_err(failed)?,
            attention: number(ATTENTION).await.map_err(failed)?,
            in_progress: sqlx::query_scalar(IN_PROGRESS).fetch_all(&self.readers).await.map_err(failed)?,
            applied: number(APPLIED).await.map_err(failed)?,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
