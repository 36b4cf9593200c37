//! What operators ask of the SQLite model.

use std::collections::HashMap;

use prost::Message;
use sqlx::Row;
use twqr_wire::{
    bus,
    convert::{RecordFault, order_from},
    ops,
};

use super::{ModelError, SqliteModel, Upto, phase_name, status_code};

/// Which orders to list.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListFilter {
    pub(crate) in_progress_only: bool,
    pub(crate) contradicted_only: bool,
    pub(crate) merchant_id: String,
    /// After this one.
    pub(crate) after: Option<Cursor>,
    pub(crate) size: i64,
}

/// By which of an order's times it is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SettledBy {
    /// A payment was paid, a refund given back.
    Settled,
    /// A payment was taken back.
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

/// What was settled when, and whose.
#[derive(Clone, Debug)]
pub(crate) struct SettlementFilter {
    pub(crate) by: SettledBy,
    /// Unix ms at which the range begins.
    pub(crate) from_ms: i64,
    /// Unix ms at which it ends; this one is not in it any more.
    pub(crate) to_ms: i64,
    /// Empty: everybody's.
    pub(crate) merchant_id: String,
    /// After this one.
    pub(crate) after: Option<Cursor>,
    pub(crate) size: i64,
}

/// A place in the list.
pub(crate) type Cursor = (i64, String, String);

/// A page of the list, and where the next one begins.
pub(crate) struct Page {
    pub(crate) orders: Vec<bus::Order>,
    pub(crate) next: Option<Cursor>,
}

/// Numbers over all orders.
#[derive(Clone, Debug, Default)]
pub(crate) struct Status {
    pub(crate) orders: i64,
    pub(crate) contradicted: i64,
    /// Unix ms of acceptance of each order in progress, oldest first.
    pub(crate) in_progress: Vec<i64>,
    /// The sum of all positions in `order-states`.
    pub(crate) applied: i64,
}

impl SqliteModel {
    pub(crate) async fn list(&self, filter: ListFilter) -> Result<Page, ModelError> {
        let (at, merchant, number) = filter.after.unwrap_or((i64::MIN, String::new(), String::new()));
        let rows = sqlx::query(
            "SELECT state, accepted_at_ms, merchant_id, merchant_trade_no FROM orders \
             WHERE (accepted_at_ms, merchant_id, merchant_trade_no) > (?, ?, ?) \
             AND (? = 0 OR is_final = 0) AND (? = 0 OR is_contradicted = 1) AND (? = '' OR merchant_id = ?) \
             ORDER BY accepted_at_ms, merchant_id, merchant_trade_no LIMIT ?",
        )
        .bind(at)
        .bind(merchant)
        .bind(number)
        .bind(i64::from(filter.in_progress_only))
        .bind(i64::from(filter.contradicted_only))
        .bind(filter.merchant_id.clone())
        .bind(filter.merchant_id)
        .bind(filter.size)
        .fetch_all(&self.readers)
        .await
        .map_err(|error| self.failed(&error))?;
        self.page(&rows, filter.size)
    }

    /// Orders that settled something in the range, by when they did.
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
        self.page(&rows, filter.size)
    }

    /// The states and the place after them, of rows that begin with state, time, and both parts of
    /// the key.
    fn page(&self, rows: &[sqlx::sqlite::SqliteRow], size: i64) -> Result<Page, ModelError> {
        let full = i64::try_from(rows.len()).is_ok_and(|length| length == size);
        let next = rows.last().filter(|_| full).map(|row| (row.get(1), row.get(2), row.get(3)));
        let order = |row: &sqlx::sqlite::SqliteRow| bus::Order::decode(row.get::<&[u8], _>(0));
        let orders = rows.iter().map(order).collect::<Result<_, _>>().map_err(|error| self.failed(&error))?;
        Ok(Page { orders, next })
    }

    pub(crate) async fn order(
        &self,
        merchant_id: &str,
        merchant_trade_no: &str,
    ) -> Result<Option<(bus::Order, Vec<ops::TimelineEntry>)>, ModelError> {
        let failed = |error: sqlx::Error| self.failed(&error);
        let state = sqlx::query("SELECT state, position FROM orders WHERE merchant_id = ? AND merchant_trade_no = ?")
            .bind(merchant_id)
            .bind(merchant_trade_no)
            .fetch_optional(&self.readers)
            .await
            .map_err(failed)?;
        let Some(state) = state else { return Ok(None) };
        let order = bus::Order::decode(state.get::<&[u8], _>(0)).map_err(|error| self.failed(&error))?;
        let rows = sqlx::query(
            "SELECT at_ms, phase, status_code, position FROM timeline \
             WHERE merchant_id = ? AND merchant_trade_no = ? ORDER BY position",
        )
        .bind(merchant_id)
        .bind(merchant_trade_no)
        .fetch_all(&self.readers)
        .await
        .map_err(failed)?;
        let entry = |row: &sqlx::sqlite::SqliteRow| ops::TimelineEntry {
            at_ms: row.get(0),
            phase: row.get(1),
            status_code: row.get(2),
            position: row.get::<i64, _>(3).cast_unsigned(),
        };
        let mut timeline: Vec<ops::TimelineEntry> = rows.iter().map(entry).collect();
        let position = state.get::<i64, _>(1).cast_unsigned();
        if timeline.iter().all(|entry| entry.position < position) {
            timeline.push(whole(&order, position).map_err(|error| self.failed(&error))?);
        }
        Ok(Some((order, timeline)))
    }

    /// How far each shard is applied.
    pub(crate) async fn positions(&self) -> Result<HashMap<u32, Upto>, ModelError> {
        let rows = sqlx::query("SELECT shard, next, marker FROM positions").fetch_all(&self.readers).await;
        let number = |row: &sqlx::sqlite::SqliteRow, column: usize| row.get::<i64, _>(column).cast_unsigned();
        let position =
            |row: &sqlx::sqlite::SqliteRow| (row.get(0), Upto { next: number(row, 1), marker: number(row, 2) });
        Ok(rows.map_err(|error| self.failed(&error))?.iter().map(position).collect())
    }

    pub(crate) async fn status(&self) -> Result<Status, ModelError> {
        let failed = |error: sqlx::Error| self.failed(&error);
        let number = |query: &'static str| sqlx::query_scalar::<_, i64>(query).fetch_one(&self.readers);
        let in_progress =
            sqlx::query_scalar("SELECT accepted_at_ms FROM orders WHERE is_final = 0 ORDER BY accepted_at_ms");
        Ok(Status {
            orders: number("SELECT COUNT(*) FROM orders").await.map_err(failed)?,
            contradicted: number("SELECT COUNT(*) FROM orders WHERE is_contradicted = 1").await.map_err(failed)?,
            in_progress: in_progress.fetch_all(&self.readers).await.map_err(failed)?,
            applied: number("SELECT CAST(COALESCE(SUM(next), 0) AS BIGINT) FROM positions").await.map_err(failed)?,
        })
    }
}

/// The end of a timeline, which stands with the order itself.
fn whole(order: &bus::Order, position: u64) -> Result<ops::TimelineEntry, RecordFault> {
    let order = order_from(order.clone())?;
    Ok(ops::TimelineEntry {
        at_ms: order.changed_at().0,
        phase: phase_name(&order).to_owned(),
        status_code: status_code(&order).map_or_else(String::new, String::from),
        position,
    })
}
