//! A read model in a SQLite file. No order depends on the file: if it is damaged, it may be
//! deleted. A missing file is built again from `order-states`.
//!
//! One task writes for all shards and puts all waiting writes into one transaction: rows of
//! different shards share pages, so this writes less to the disk, which the journal needs.

mod listings;
mod policies;
pub(super) mod positions;

use std::{
    collections::HashSet,
    io::ErrorKind,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use async_trait::async_trait;
use sqlx::{
    Row, Sqlite, Transaction,
    migrate::MigrateError,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::{mpsc, oneshot};
use tracing::warn;
use twqr_order::{ListingChange, PolicyVersions};
use twqr_types::OrderKey;
use twqr_wire::convert::{RecordFault, decode_order, encode_order};

use super::{
    ModelError, ReadModel, ShardSnapshot, StoredOrder, Watermark, booked_at, completed_reversal,
    institution_and_amount, newest_states, phase_name, status_code,
};

/// How many writes wait for the writing task, and how many it puts into one transaction. There are
/// at most 1,024 shards, and each waits for the result of its write before it sends another one.
const WRITES_MAX: usize = 1_024;
/// The number of rows in one statement.
const ROWS_MAX: usize = 128;
/// The nice value of the writer's thread, 0 to 19.
const NICE: i32 = 10;
/// The number of connections for reading.
const READERS: u32 = 4;

/// A read model in a SQLite file.
pub struct SqliteModel {
    pub(super) readers: SqlitePool,
    writer: mpsc::Sender<WriteRequest>,
    place: String,
}

/// One shard's write.
struct WriteRequest {
    shard: u32,
    content: WriteContent,
    /// Receives whether it was stored.
    result: oneshot::Sender<Result<(), ModelError>>,
}

/// The content of a write.
enum WriteContent {
    /// States of orders, and the watermark that holds once they are stored.
    Orders(Watermark, Arc<Vec<StoredOrder>>),
    /// The versions of the policy, and the position that they reflect.
    Policies(u64, Arc<PolicyVersions>),
    /// The newest versions of entries of the directory of merchants.
    Listings(Arc<Vec<Arc<ListingChange>>>),
}

fn model_error(place: &str, error: &dyn std::fmt::Display) -> ModelError {
    ModelError { place: Some(place.to_owned()), reason: error.to_string(), is_damaged: false }
}

/// The reason why a file cannot be opened.
fn open_error(place: &str, error: &dyn std::fmt::Display, is_damaged: bool) -> ModelError {
    let reason = format!("{error}; if it is damaged, delete it: it is built anew from order-states");
    ModelError { place: Some(place.to_owned()), reason, is_damaged }
}

/// Whether the file is damaged or is no database: trying again does not help.
fn is_damage(error: &sqlx::Error) -> bool {
    /// The primary result codes `SQLITE_CORRUPT` and `SQLITE_NOTADB` of SQLite.
    const DAMAGE: [u32; 2] = [11, 26];
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
    code.is_some_and(|code| DAMAGE.contains(&(code & 0xff)))
}

/// Whether a migration failed for a reason that lies in the file, or in the build.
fn is_permanent(error: &MigrateError) -> bool {
    if let MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) = error {
        return is_damage(error);
    }
    true
}

impl SqliteModel {
    /// Opens or creates the file, and brings its schema up to date. A file with the schema of a
    /// newer build is set aside as `*.newer`, and another one is built.
    pub async fn open(file: &Path) -> Result<Self, ModelError> {
        let place = file.display().to_string();
        let failed = |error: &dyn std::fmt::Display| open_error(&place, error, false);
        let failed_in_database = |error: sqlx::Error| open_error(&place, &error, is_damage(&error));
        if let Some(folder) = file.parent() {
            tokio::fs::create_dir_all(folder).await.map_err(|error| failed(&error))?;
        }
        let options = SqliteConnectOptions::from_str("sqlite:").map_err(|error| failed(&error))?;
        let options = options
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal);
        let writer = connect_in_background(options.clone()).await.map_err(failed_in_database)?;
        // Applied migrations are compared by checksum, so the files in `migrations/` must never
        // change, not even their comments.
        let migrated = sqlx::migrate!().run(&writer).await;
        if let Err(MigrateError::VersionMissing(newer)) = migrated {
            warn!(
                place,
                newer, "the read model has the schema of a newer build; it is moved aside, and another one is built"
            );
            writer.close().await;
            set_aside(file).await.map_err(|error| failed(&error))?;
            return Box::pin(Self::open(file)).await;
        }
        migrated.map_err(|error| open_error(&place, &error, is_permanent(&error)))?;
        let readers = SqlitePoolOptions::new().max_connections(READERS).connect_with(options);
        let readers = readers.await.map_err(failed_in_database)?;
        let (sender, queue) = mpsc::channel(WRITES_MAX);
        tokio::spawn(write_all(writer, queue, place.clone()));
        Ok(Self { readers, writer: sender, place })
    }

    /// The path of the file.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    pub(super) fn failed(&self, error: &dyn std::fmt::Display) -> ModelError {
        model_error(&self.place, error)
    }

    async fn write(&self, shard: u32, content: WriteContent) -> Result<(), ModelError> {
        let (result, written) = oneshot::channel();
        let stopped = || self.failed(&"its writing task has stopped; restart the tracker");
        self.writer.send(WriteRequest { shard, content, result }).await.map_err(|_| stopped())?;
        written.await.unwrap_or_else(|_| Err(stopped()))
    }

    async fn read(&self, shard: u32) -> Result<ShardSnapshot, sqlx::Error> {
        let watermark = positions::read(&self.readers, shard).await?;
        let rows = sqlx::query("SELECT state, position FROM orders WHERE shard = ? AND is_final = 0")
            .bind(i64::from(shard))
            .fetch_all(&self.readers)
            .await?;
        let mut snapshot = ShardSnapshot::default();
        if let Some(Watermark { next, beginnings, .. }) = watermark {
            (snapshot.next, snapshot.beginnings) = (next, beginnings);
        }
        let problem = |what: &str, fault: RecordFault| {
            let place = &self.place;
            format!(
                "{what} cannot be read ({fault}); if {place} is damaged, stop the tracker and delete the file, which \
                 is then built anew from order-states"
            )
        };
        for row in &rows {
            let position = row.get::<i64, _>(1).cast_unsigned();
            match decode_order(row.get(0)) {
                Ok(order) => snapshot.in_progress.push(StoredOrder { order, position, is_only_state: false }),
                Err(fault) => snapshot.unreadable.push(problem("an order in progress", fault)),
            }
        }
        match policies::read(&self.readers, shard).await? {
            Some((position, Ok(versions))) => snapshot.policies = Some((position, versions)),
            Some((_, Err(fault))) => snapshot.unreadable.push(problem("the policy", fault)),
            None => {}
        }
        Ok(snapshot)
    }
}

/// Opens the writing connection. Its thread has a low priority, so that it does not delay payments.
/// The connection's thread inherits its nice value from the thread that starts it, so it is started
/// by a thread of our own.
async fn connect_in_background(options: SqliteConnectOptions) -> Result<SqlitePool, sqlx::Error> {
    let connect = move || {
        if let Err(error) = rustix::process::setpriority_process(None, NICE) {
            warn!(%error, "the priority of the read model's writer cannot be lowered");
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

/// Renames the file to `*.newer`. What SQLite keeps beside an open file is gone or empty by now.
async fn set_aside(file: &Path) -> std::io::Result<()> {
    let with = |ending: &str| {
        let mut name = file.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    tokio::fs::rename(file, with(".newer")).await?;
    for beside in ["-wal", "-shm"].map(with) {
        match tokio::fs::remove_file(&beside).await {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// The writing task: runs until the model is dropped.
async fn write_all(pool: SqlitePool, mut writes: mpsc::Receiver<WriteRequest>, place: String) {
    let mut batch = Vec::new();
    while writes.recv_many(&mut batch, WRITES_MAX).await > 0 {
        let written = write(&pool, &batch).await.map_err(|error| model_error(&place, &error));
        for WriteRequest { result, .. } in batch.drain(..) {
            // A follower that was cancelled does not wait for its result.
            let _cancelled = result.send(written.clone());
        }
    }
}

/// Writes a batch in one transaction.
async fn write(pool: &SqlitePool, batch: &[WriteRequest]) -> Result<(), sqlx::Error> {
    let mut transaction = pool.begin().await?;
    for WriteRequest { shard, content, .. } in batch {
        match content {
            WriteContent::Orders(watermark, states) => {
                // Most orders have two states or more in a batch; only the newest is stored. The
                // oldest order comes first, so that indexes of times grow at their ends.
                let mut newest: Vec<&StoredOrder> = newest_states(states).collect();
                newest.sort_unstable_by_key(|stored| stored.position);
                let mut new_orders = 0;
                for rows in newest.chunks(ROWS_MAX) {
                    new_orders += upsert(&mut transaction, *shard, rows).await?;
                }
                for rows in states.chunks(ROWS_MAX) {
                    add_timeline(&mut transaction, rows).await?;
                }
                add_to_count(&mut transaction, *shard, new_orders).await?;
                positions::store(&mut transaction, *shard, *watermark).await?;
            }
            WriteContent::Policies(position, versions) => {
                policies::store(&mut transaction, *shard, *position, versions).await?;
            }
            WriteContent::Listings(changes) => listings::store(&mut transaction, *shard, changes).await?,
        }
    }
    transaction.commit().await
}

/// Adds to the number of orders of a shard.
async fn add_to_count(
    transaction: &mut Transaction<'_, Sqlite>,
    shard: u32,
    new_orders: i64,
) -> Result<(), sqlx::Error> {
    if new_orders == 0 {
        return Ok(());
    }
    let query = sqlx::query(
        "INSERT INTO counts (shard, orders) VALUES (?, ?) ON CONFLICT (shard) DO UPDATE SET \
         orders = counts.orders + excluded.orders",
    );
    query.bind(i64::from(shard)).bind(new_orders).execute(&mut **transaction).await.map(|_| ())
}

/// Stores the states that are not older than the stored ones. Returns how many orders are new.
async fn upsert(
    transaction: &mut Transaction<'_, Sqlite>,
    shard: u32,
    rows: &[&StoredOrder],
) -> Result<i64, sqlx::Error> {
    let mut query = sqlx::QueryBuilder::new(
        "INSERT INTO orders (merchant_id, merchant_trade_no, shard, position, phase, institution, trade_no, \
         trade_amount, accepted_at_ms, is_final, is_contradicted, needs_attention, settled_at_ms, cancelled_at_ms, \
         state) ",
    );
    query.push_values(rows, |mut row, stored| {
        let StoredOrder { order, position, .. } = stored;
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
            .push_bind(i64::from(order.wake_at().is_none()))
            .push_bind(i64::from(order.contradiction().is_some()))
            .push_bind(i64::from(order.attention().is_some()))
            // The columns' names are older than late bookings.
            .push_bind(booked_at(order).map(|at| at.0))
            .push_bind(completed_reversal(order).map(|reversal| reversal.booked_at().0))
            .push_bind(encode_order(order));
    });
    query.push(
        " ON CONFLICT (merchant_id, merchant_trade_no) DO UPDATE SET position = excluded.position, \
         phase = excluded.phase, institution = excluded.institution, trade_no = excluded.trade_no, \
         trade_amount = excluded.trade_amount, is_final = excluded.is_final, \
         is_contradicted = excluded.is_contradicted, needs_attention = excluded.needs_attention, \
         settled_at_ms = excluded.settled_at_ms, \
         cancelled_at_ms = excluded.cancelled_at_ms, state = excluded.state, \
         replaced = orders.replaced + 1 WHERE excluded.position >= orders.position RETURNING replaced",
    );
    let replaced: Vec<i64> = query.build_query_scalar().fetch_all(&mut **transaction).await?;
    Ok(replaced.iter().map(|replaced| i64::from(*replaced == 0)).sum())
}

async fn add_timeline(transaction: &mut Transaction<'_, Sqlite>, rows: &[StoredOrder]) -> Result<(), sqlx::Error> {
    let states: Vec<&StoredOrder> = rows.iter().filter(|stored| !stored.is_only_state).collect();
    if states.is_empty() {
        return Ok(());
    }
    let mut query = sqlx::QueryBuilder::new(
        "INSERT INTO timeline (merchant_id, merchant_trade_no, position, at_ms, phase, status_code) ",
    );
    query.push_values(states, |mut row, StoredOrder { order, position, .. }| {
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
    async fn snapshot(&self, shard: u32) -> Result<ShardSnapshot, ModelError> {
        self.read(shard).await.map_err(|error| self.failed(&error))
    }

    async fn superseded(&self, _: u32, states: Vec<(OrderKey, u64)>) -> Result<HashSet<OrderKey>, ModelError> {
        self.superseded_orders(&states).await.map_err(|error| self.failed(&error))
    }

    async fn apply(&self, shard: u32, watermark: Watermark, states: Arc<Vec<StoredOrder>>) -> Result<(), ModelError> {
        self.write(shard, WriteContent::Orders(watermark, states)).await
    }

    async fn store_policies(&self, shard: u32, position: u64, versions: Arc<PolicyVersions>) -> Result<(), ModelError> {
        self.write(shard, WriteContent::Policies(position, versions)).await
    }

    async fn listings(&self, shard: u32) -> Result<Vec<Arc<ListingChange>>, ModelError> {
        let read = listings::read(&self.readers, shard).await.map_err(|error| self.failed(&error))?;
        read.map_err(|fault| self.failed(&format!("an entry of the directory of merchants cannot be read ({fault})")))
    }

    async fn store_listings(&self, shard: u32, changes: Arc<Vec<Arc<ListingChange>>>) -> Result<(), ModelError> {
        self.write(shard, WriteContent::Listings(changes)).await
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
