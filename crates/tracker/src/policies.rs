//! The rules as each shard has them, from `order-states`: what the operators' API answers from, and
//! waits for.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::watch;
use twqr_order::{POLICY_SHARD, PolicyChange, PolicyVersions};

/// The versions of a shard, and the position that they reflect.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) position: u64,
    pub(crate) versions: Arc<PolicyVersions>,
}

/// Every shard's versions, shared by the followers and the operators' API.
#[derive(Debug, Default)]
pub(crate) struct Policies(watch::Sender<BTreeMap<u32, Kept>>);

impl Policies {
    /// Takes a shard's versions; older ones than are known change nothing.
    pub(crate) fn learn(&self, shard: u32, newer: Kept) {
        self.0.send_if_modified(|shards| {
            let is_newer = shards.get(&shard).is_none_or(|known| known.position <= newer.position);
            if is_newer {
                shards.insert(shard, newer);
            }
            is_newer
        });
    }

    /// A shard's versions; none before it has any.
    pub(crate) fn of(&self, shard: u32) -> Option<Arc<PolicyVersions>> {
        self.0.borrow().get(&shard).map(|kept| kept.versions.clone())
    }

    /// The versions of the shard that decides which is next.
    pub(crate) fn deciding(&self) -> Option<Arc<PolicyVersions>> {
        self.of(u32::from(POLICY_SHARD.0))
    }

    /// Waits until that shard has `version` or a newer one; its versions then.
    pub(crate) async fn decided(&self, version: u64) -> Option<Arc<PolicyVersions>> {
        let shard = u32::from(POLICY_SHARD.0);
        let has = |kept: &Kept| newest(&kept.versions) >= version;
        let mut shards = self.0.subscribe();
        let shards = shards.wait_for(|shards| shards.get(&shard).is_some_and(has)).await.ok()?;
        shards.get(&shard).map(|kept| kept.versions.clone())
    }
}

/// The newest version; 0 where there is none.
pub(crate) fn newest(versions: &PolicyVersions) -> u64 {
    versions.newest().map_or(0, |change| change.version)
}

/// A version, if it is kept.
pub(crate) fn version(versions: &PolicyVersions, version: u64) -> Option<Arc<PolicyChange>> {
    versions.iter().map(|(_, change)| change).find(|change| change.version == version).cloned()
}
