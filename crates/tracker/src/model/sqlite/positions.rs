//! How far `order-states` was read, for each shard; and the beginnings by which it is recognised.

use std::collections::HashMap;

use sqlx::{
    Row, Sqlite, Transaction,
    sqlite::{SqlitePool, SqliteRow},
};
use twqr_consumer::KnownBeginnings;
use twqr_journal::Witness;

use crate::model::Watermark;

/// Reads the watermark of each shard; shards without a record are absent.
pub(in crate::model) async fn read_all(pool: &SqlitePool) -> Result<HashMap<u32, Watermark>, sqlx::Error> {
    const ALL: &str = "SELECT shard, next, marker, beginning_offset, beginning_mark, newest_beginning FROM positions";
    Ok(sqlx::query(ALL).fetch_all(pool).await?.iter().map(|row| (row.get(0), watermark(row))).collect())
}

/// Reads the watermark of a shard; `None` before the first write.
pub(super) async fn read(pool: &SqlitePool, shard: u32) -> Result<Option<Watermark>, sqlx::Error> {
    const ONE: &str = "SELECT shard, next, marker, beginning_offset, beginning_mark, newest_beginning FROM positions \
                       WHERE shard = ?";
    Ok(sqlx::query(ONE).bind(i64::from(shard)).fetch_optional(pool).await?.as_ref().map(watermark))
}

fn watermark(row: &SqliteRow) -> Watermark {
    let number = |column| row.get::<Option<i64>, usize>(column).map(i64::cast_unsigned);
    let first = number(3).zip(number(4)).map(|(offset, mark)| Witness { offset, mark });
    Watermark {
        next: number(1).unwrap_or_default(),
        marker: number(2).unwrap_or_default(),
        beginnings: KnownBeginnings { first, newest: number(5) },
    }
}

/// Stores a shard's watermark. The marker is never lowered: a follower starts with 0, and a router
/// that has lost its shard may still write a lower one.
pub(super) async fn store(
    transaction: &mut Transaction<'_, Sqlite>,
    shard: u32,
    watermark: Watermark,
) -> Result<(), sqlx::Error> {
    let query = sqlx::query(
        "INSERT INTO positions (shard, next, marker, beginning_offset, beginning_mark, newest_beginning) \
         VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (shard) DO UPDATE SET \
         next = excluded.next, beginning_offset = excluded.beginning_offset, \
         beginning_mark = excluded.beginning_mark, newest_beginning = excluded.newest_beginning, \
         marker = CASE WHEN excluded.marker > positions.marker THEN excluded.marker ELSE positions.marker END",
    );
    let Watermark { next, marker, beginnings } = watermark;
    query
        .bind(i64::from(shard))
        .bind(next.cast_signed())
        .bind(marker.cast_signed())
        .bind(beginnings.first.map(|first| first.offset.cast_signed()))
        .bind(beginnings.first.map(|first| first.mark.cast_signed()))
        .bind(beginnings.newest.map(u64::cast_signed))
        .execute(&mut **transaction)
        .await
        .map(|_| ())
}
