//! The table of policy versions: one row for each shard.

use sqlx::{Row, Sqlite, SqlitePool, Transaction};
use twqr_order::PolicyVersions;
use twqr_wire::convert::{RecordFault, decode_policy_versions, encode_policy_versions};

/// Stores a shard's versions, unless newer ones are stored.
pub(super) async fn store(
    transaction: &mut Transaction<'_, Sqlite>,
    shard: u32,
    position: u64,
    versions: &PolicyVersions,
) -> Result<(), sqlx::Error> {
    let query = sqlx::query(
        "INSERT INTO policies (shard, position, versions) VALUES (?, ?, ?) ON CONFLICT (shard) DO UPDATE SET \
         position = excluded.position, versions = excluded.versions WHERE excluded.position >= policies.position",
    );
    let query = query.bind(i64::from(shard)).bind(position.cast_signed());
    query.bind(encode_policy_versions(versions)).execute(&mut **transaction).await.map(|_| ())
}

/// Reads a shard's versions and the position that they reflect; the inner error says why this build
/// cannot read them.
pub(super) async fn read(
    readers: &SqlitePool,
    shard: u32,
) -> Result<Option<(u64, Result<PolicyVersions, RecordFault>)>, sqlx::Error> {
    let row = sqlx::query("SELECT position, versions FROM policies WHERE shard = ?")
        .bind(i64::from(shard))
        .fetch_optional(readers)
        .await?;
    Ok(row.map(|row| (row.get::<i64, _>(0).cast_unsigned(), decode_policy_versions(row.get(1)))))
}
