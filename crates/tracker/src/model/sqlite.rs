//! In a SQLite file. It is only a reading aid: a file that is lost or damaged may be deleted, and
//! is built anew from `order-states`. One task writes for all shards, whatever has come in one
//! transaction: neighbours share pages, and the disk belongs to the journal.

mod policies;

use std::{collections::HashSet, path::Path, str::FromStr, sync::Arc};

use async_trait::async_trait;
use prost::Message;
use sqlx::{
    Row, Sqlite, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::{mpsc, oneshot};
use tracing::warn;
use twqr_order::PolicyVersions;
use twqr_types::{MerchantId, MerchantTradeNo, OrderKey};
use twqr_wire::{
    bus,
    convert::{order_from, order_out},
};

use super::{Known, ModelError, ReadModel, Seen, Upto, institution_and_amount, phase_name, status_code};
use crate::settlement::{cancelled_at, settled_at};

/// Shards' writes in one transaction.
const WRITES_MAX: usize = 1_024;
/// Rows in one statement.
const ROWS_MAX: usize = 128;
/// How nice the writer's thread is: 0 to 19.
const NICE: i32 = 10;
/// Connections that read.
const READERS: u32 = 4;

/// A model in a file.
pub struct SqliteModel {
    pub(super) readers: SqlitePool,
    writer: mpsc::UnboundedSender<Write>,
    place: String,
}

/// What a shard has to write; who waits hears which orders changed.
struct Write {
    shard: u32,
    what: What,
    written: oneshot::Sender<Result<Arc<HashSet<OrderKey>>, ModelError>>,
}

/// What is to be written.
enum What {
    /// Orders, and how far their shard is applied with them.
    Orders(Upto, Arc<Vec<Seen>>),
    /// The versions of the rules, and the position that they reflect.
    Policies(u64, Arc<PolicyVersions>),
}

fn model_error(place: &str, error: &dyn std::fmt::Display) -> ModelError {
    ModelError { place: Some(place.to_owned()), reason: error.to_string() }
}

impl SqliteModel {
    /// Opens or creates the file, and brings its schema up to date.
    pub async fn open(file: &Path) -> Result<Self, ModelError> {
        let place = file.display().to_string();
        let failed = |error: &dyn std::fmt::Display| ModelError {
            place: Some(place.clone()),
            reason: format!("{error}; if it is damaged, delete it: it is built anew from order-states"),
        };
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder).map_err(|error| failed(&error))?;
        }
        let options = SqliteConnectOptions::from_str("sqlite:").map_err(|error| failed(&error))?;
        let options = options
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal);
        let writer = connect_in_background(options.clone()).await.map_err(|error| failed(&error))?;
        sqlx::migrate!().run(&writer).await.map_err(|error| failed(&error))?;
        let readers = SqlitePoolOptions::new().max_connections(READERS).connect_with(options);
        let readers = readers.await.map_err(|error| failed(&error))?;
        let (sender, queue) = mpsc::unbounded_channel();
        tokio::spawn(write_all(writer, queue, place.clone()));
        Ok(Self { readers, writer: sender, place })
    }

    pub(super) fn failed(&self, error: &dyn std::fmt::Display) -> ModelError {
        model_error(&self.place, error)
    }

    async fn write(&self, shard: u32, what: What) -> Result<Arc<HashSet<OrderKey>>, ModelError> {
        let (written, result) = oneshot::channel();
        let gone = || self.failed(&"its writer is gone; restart the tracker");
        self.writer.send(Write { shard, what, written }).map_err(|_| gone())?;
        result.await.unwrap_or_else(|_| Err(gone()))
    }

    async fn read(&self, shard: u32) -> Result<Known, sqlx::Error> {
        let next: Option<i64> = sqlx::query_scalar("SELECT next FROM positions WHERE shard = ?")
            .bind(i64::from(shard))
            .fetch_optional(&self.readers)
            .await?;
        let rows = sqlx::query("SELECT state, position FROM orders WHERE shard = ? AND is_final = 0")
            .bind(i64::from(shard))
            .fetch_all(&self.readers)
            .await?;
        // An order in progress that cannot be read would lose its alarm: better to build everything
        // anew.
        let unreadable = |error: &dyn std::fmt::Display| {
            sqlx::Error::Decode(
                format!("an order in progress cannot be read ({error}); delete the file, it is built anew").into(),
            )
        };
        let seen = |row: &sqlx::sqlite::SqliteRow| {
            let order = bus::Order::decode(row.get::<&[u8], _>(0)).map_err(|error| unreadable(&error))?;
            let order = order_from(order).map_err(|error| unreadable(&error))?;
            Ok(Seen { order, position: row.get::<i64, _>(1).cast_unsigned(), is_whole: false })
        };
        Ok(Known {
            next: next.unwrap_or_default().cast_unsigned(),
            in_progress: rows.iter().map(seen).collect::<Result<_, sqlx::Error>>()?,
            policies: policies::read(&self.readers, shard).await?,
        })
    }
}

/// A connection whose thread gives way to everybody else: payments come first. A thread inherits
/// how nice it is from whoever starts it.
async fn connect_in_background(options: SqliteConnectOptions) -> Result<SqlitePool, sqlx::Error> {
    let connect = move || {
        if let Err(error) = rustix::process::setpriority_process(None, NICE) {
            warn!(%error, "the read model's writer cannot give way to payments");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(sqlx::Error::Io)?;
        runtime.block_on(
            SqlitePoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None).connect_with(options),
        )
    };
    let thread = std::thread::Builder::new().name("read-model".to_owned()).spawn(connect).map_err(sqlx::Error::Io)?;
    let joined = tokio::task::spawn_blocking(move || thread.join()).await;
    joined.ok().and_then(Result::ok).unwrap_or(Err(sqlx::Error::WorkerCrashed))
}

/// Writes until the model is dropped.
async fn write_all(pool: SqlitePool, mut writes: mpsc::UnboundedReceiver<Write>, place: String) {
    let mut batch = Vec::new();
    while writes.recv_many(&mut batch, WRITES_MAX).await > 0 {
        let result = write(&pool, &batch).await.map(Arc::new).map_err(|error| model_error(&place, &error));
        for Write { written, .. } in batch.drain(..) {
            let _gone = written.send(result.clone());
        }
    }
}

/// One transaction; returns the orders that changed.
async fn write(pool: &SqlitePool, batch: &[Write]) -> Result<HashSet<OrderKey>, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    let mut changed = HashSet::new();
    for Write { shard, what, .. } in batch {
        match what {
            What::Orders(upto, seen) => {
                for rows in seen.chunks(ROWS_MAX) {
                    upsert(&mut transaction, *shard, rows, &mut changed).await?;
                    add_timeline(&mut transaction, rows).await?;
                }
                advance(&mut transaction, *shard, *upto).await?;
            }
            What::Policies(position, versions) => {
                policies::keep(&mut transaction, *shard, *position, versions).await?;
            }
        }
    }
    transaction.commit().await?;
    Ok(changed)
}

async fn advance(transaction: &mut Transaction<'_, Sqlite>, shard: u32, upto: Upto) -> Result<(), sqlx::Error> {
    let query = sqlx::query(
        "INSERT INTO positions (shard, next, marker) VALUES (?, ?, ?) ON CONFLICT (shard) DO UPDATE SET \
         next = excluded.next, \
         marker = CASE WHEN excluded.marker > positions.marker THEN excluded.marker ELSE positions.marker END",
    );
    let Upto { next, marker } = upto;
    query
        .bind(i64::from(shard))
        .bind(next.cast_signed())
        .bind(marker.cast_signed())
        .execute(&mut **transaction)
        .await
        .map(|_| ())
}

/// The orders whose state is newer than the one kept.
async fn upsert(
    transaction: &mut Transaction<'_, Sqlite>,
    shard: u32,
    rows: &[Seen],
    changed: &mut HashSet<OrderKey>,
) -> Result<(), sqlx::Error> {
    let mut query = sqlx::QueryBuilder::new(
        "INSERT INTO orders (merchant_id, merchant_trade_no, shard, position, phase, institution, trade_no, \
         trade_amount, accepted_at_ms, is_final, is_contradicted, settled_at_ms, cancelled_at_ms, state) ",
    );
    query.push_values(rows, |mut row, Seen { order, position, .. }| {
        let (institution, trade_amount) = institution_and_amount(order);
        row.push_bind(order.key().merchant_id.as_str())
            .push_bind(order.key().merchant_trade_no.as_str())
            .push_bind(i64::from(shard))
            .push_bind(position.cast_signed())
            .push_bind(phase_name(order))
            .push_bind(institution)
            .push_bind(order.trade_no().map_or_else(String::new, |number| number.to_string()))
            .push_bind(trade_amount)
            .push_bind(order.accepted_at().0)
            .push_bind(i64::from(order.is_at_rest()))
            .push_bind(i64::from(order.contradiction().is_some()))
            .push_bind(settled_at(order).map(|at| at.0))
            .push_bind(cancelled_at(order).map(|at| at.0))
            .push_bind(order_out(order).encode_to_vec());
    });
    query.push(
        " ON CONFLICT (merchant_id, merchant_trade_no) DO UPDATE SET position = excluded.position, \
         phase = excluded.phase, institution = excluded.institution, trade_no = excluded.trade_no, \
         trade_amount = excluded.trade_amount, is_final = excluded.is_final, \
         is_contradicted = excluded.is_contradicted, settled_at_ms = excluded.settled_at_ms, \
         cancelled_at_ms = excluded.cancelled_at_ms, state = excluded.state WHERE excluded.position >= orders.position \
         RETURNING merchant_id, merchant_trade_no",
    );
    for row in query.build().fetch_all(&mut **transaction).await? {
        let merchant_id = MerchantId::parse(row.get(0));
        let merchant_trade_no = MerchantTradeNo::parse(row.get(1));
        if let (Ok(merchant_id), Ok(merchant_trade_no)) = (merchant_id, merchant_trade_no) {
            changed.insert(OrderKey { merchant_id, merchant_trade_no });
        }
    }
    Ok(())
}

async fn add_timeline(transaction: &mut Transaction<'_, Sqlite>, rows: &[Seen]) -> Result<(), sqlx::Error> {
    let mut parts = Vec::with_capacity(rows.len());
    for seen in rows {
        if !seen.is_whole {
            parts.push(seen);
        }
    }
    if parts.is_empty() {
        return Ok(());
    }
    let mut query = sqlx::QueryBuilder::new(
        "INSERT INTO timeline (merchant_id, merchant_trade_no, position, at_ms, phase, status_code) ",
    );
    query.push_values(parts, |mut row, Seen { order, position, .. }| {
        row.push_bind(order.key().merchant_id.as_str())
            .push_bind(order.key().merchant_trade_no.as_str())
            .push_bind(position.cast_signed())
            .push_bind(order.changed_at().0)
            .push_bind(phase_name(order))
            .push_bind(status_code(order).map_or_else(String::new, String::from));
    });
    query.push(" ON CONFLICT DO NOTHING");
    query.build().execute(&mut **transaction).await.map(|_| ())
}

#[async_trait]
impl ReadModel for SqliteModel {
    async fn begin(&self, shard: u32) -> Result<Known, ModelError> {
        self.read(shard).await.map_err(|error| self.failed(&error))
    }

    async fn apply(&self, shard: u32, upto: Upto, seen: Arc<Vec<Seen>>) -> Result<Arc<HashSet<OrderKey>>, ModelError> {
        self.write(shard, What::Orders(upto, seen)).await
    }

    async fn keep_policies(&self, shard: u32, position: u64, versions: Arc<PolicyVersions>) -> Result<(), ModelError> {
        self.write(shard, What::Policies(position, versions)).await.map(|_| ())
    }
}
