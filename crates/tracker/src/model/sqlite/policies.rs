//! The versions of the rules, a row for each shard.

use prost::Message;
use sqlx::{Row, Sqlite, SqlitePool, Transaction};
use twqr_order::PolicyVersions;
use twqr_wire::{
    bus,
    convert::{policy_versions_from, policy_versions_out},
};

/// Keeps a shard's versions unless newer ones are kept.
pub(super) async fn keep(
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
    query.bind(policy_versions_out(versions).encode_to_vec()).execute(&mut **transaction).await.map(|_| ())
}

/// A shard's versions and the position that they reflect.
pub(super) async fn read(readers: &SqlitePool, shard: u32) -> Result<Option<(u64, PolicyVersions)>, sqlx::Error> {
    let row = sqlx::query("SELECT position, versions FROM policies WHERE shard = ?")
        .bind(i64::from(shard))
        .fetch_optional(readers)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let unreadable = |error: &dyn std::fmt::Display| {
        sqlx::Error::Decode(format!("the rules cannot be read ({error}); delete the file, it is built anew").into())
    };
    let versions = bus::PolicyVersions::decode(row.get::<&[u8], _>(1)).map_err(|error| unreadable(&error))?;
    let versions = policy_versions_from(versions).map_err(|fault| unreadable(&fault))?;
    Ok(Some((row.get::<i64, _>(0).cast_unsigned(), versions)))
}
