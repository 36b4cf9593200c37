//! `[router]`: decides every order.

use std::{path::Path, sync::Arc};

use twqr_order::Policy;
use twqr_router::{DiskStore, Settings, StoreError};

use super::table::table;

table! {
    /// The router decides every order by the rules of [policy].
    Router {
        /// How long changed orders may wait for their checkpoint, in ms. A restart reads again what is newer.
        checkpoint_interval_ms: u64 = 200, 10..=10_000;
    }
}

impl Router {
    /// The router's settings; opens its store of orders under the data folder.
    pub(crate) fn settings(&self, member: &str, policy: Policy, data: &Path) -> Result<Settings, StoreError> {
        Ok(Settings {
            member: member.to_owned(),
            policy,
            checkpoint_interval_ms: self.checkpoint_interval_ms,
            store: Arc::new(DiskStore::open(&data.join("orders"))?),
        })
    }
}
