//! A read model whose file is opened as soon as possible. Until then every call fails, and alarms
//! work without it: a full disk must not stop them at the start either.

use std::{collections::HashSet, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use tokio::sync::OnceCell;
use twqr_order::{ListingChange, PolicyVersions};
use twqr_types::OrderKey;

use super::{ModelError, ReadModel, ShardSnapshot, SqliteModel, StoredOrder, Watermark};

/// A read model in a SQLite file that may not be open yet. Each call tries to open it.
pub(crate) struct LateModel {
    file: PathBuf,
    opened: OnceCell<Arc<SqliteModel>>,
}

impl LateModel {
    pub(crate) fn new(file: PathBuf) -> Self {
        Self { file, opened: OnceCell::new() }
    }

    /// Opens the file, unless it is open.
    pub(crate) async fn open(&self) -> Result<&Arc<SqliteModel>, ModelError> {
        self.opened.get_or_try_init(|| async { SqliteModel::open(&self.file).await.map(Arc::new) }).await
    }
}

#[async_trait]
impl ReadModel for LateModel {
    async fn snapshot(&self, shard: u32) -> Result<ShardSnapshot, ModelError> {
        self.open().await?.snapshot(shard).await
    }

    async fn superseded(&self, shard: u32, states: Vec<(OrderKey, u64)>) -> Result<HashSet<OrderKey>, ModelError> {
        self.open().await?.superseded(shard, states).await
    }

    async fn apply(&self, shard: u32, watermark: Watermark, states: Arc<Vec<StoredOrder>>) -> Result<(), ModelError> {
        self.open().await?.apply(shard, watermark, states).await
    }

    async fn store_policies(&self, shard: u32, position: u64, versions: Arc<PolicyVersions>) -> Result<(), ModelError> {
        self.open().await?.store_policies(shard, position, versions).await
    }

    async fn listings(&self, shard: u32) -> Result<Vec<Arc<ListingChange>>, ModelError> {
        self.open().await?.listings(shard).await
    }

    async fn store_listings(&self, shard: u32, changes: Arc<Vec<Arc<ListingChange>>>) -> Result<(), ModelError> {
        self.open().await?.store_listings(shard, changes).await
    }
}
