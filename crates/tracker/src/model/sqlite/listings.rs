//! The table of the directory of merchants: one row for each entry and shard.

use std::sync::Arc;

use sqlx::{Row, Sqlite, SqlitePool, Transaction};
use twqr_order::{ListingChange, POLICY_SHARD};
use twqr_wire::convert::{RecordFault, decode_listing_change, encode_listing_change};

/// The number of rows in one statement.
const ROWS_MAX: usize = 128;

/// Stores the newest versions of entries, unless newer ones are stored.
pub(super) async fn store(
    transaction: &mut Transaction<'_, Sqlite>,
    shard: u32,
    changes: &[Arc<ListingChange>],
) -> Result<(), sqlx::Error> {
    for rows in changes.chunks(ROWS_MAX) {
        let mut query = sqlx::QueryBuilder::new("INSERT INTO listings (shard, listing_key, version, change) ");
        query.push_values(rows, |mut row, change| {
            row.push_bind(i64::from(shard))
                .push_bind(change.key.to_bytes())
                .push_bind(change.version.cast_signed())
                .push_bind(encode_listing_change(&stored(shard, change)));
        });
        query.push(
            " ON CONFLICT (shard, listing_key) DO UPDATE SET version = excluded.version, change = excluded.change \
             WHERE excluded.version >= listings.version",
        );
        query.build().execute(&mut **transaction).await?;
    }
    Ok(())
}

/// The stored part of a change: for shards that only follow, the key and the version.
fn stored(shard: u32, change: &ListingChange) -> ListingChange {
    let ListingChange { key, version, at, .. } = change.clone();
    if shard == u32::from(POLICY_SHARD.0) {
        change.clone()
    } else {
        ListingChange { key, version, at, listing: None, who: "".into(), why: "".into() }
    }
}

/// Reads the newest versions of a shard; the inner error says why this build cannot read one.
pub(super) async fn read(
    readers: &SqlitePool,
    shard: u32,
) -> Result<Result<Vec<Arc<ListingChange>>, RecordFault>, sqlx::Error> {
    let rows =
        sqlx::query("SELECT change FROM listings WHERE shard = ?").bind(i64::from(shard)).fetch_all(readers).await?;
    Ok(rows.iter().map(|row| decode_listing_change(row.get(0)).map(Arc::new)).collect())
}
