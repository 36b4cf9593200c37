//! The versions of the policy that each shard has, as read from `order-states`. The followers
//! update them. The operators' API answers from them, and waits here for the decision on a change.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::watch;
use twqr_order::{POLICY_SHARD, PolicyChange, PolicyVersions};

/// The versions of one shard.
#[derive(Clone, Debug)]
pub(crate) struct ShardPolicies {
    /// The versions reflect all records of the shard below this offset.
    pub(crate) position: u64,
    pub(crate) versions: Arc<PolicyVersions>,
}

/// The versions of every shard, shared by the followers and the operators' API.
#[derive(Debug, Default)]
pub(crate) struct Policies(watch::Sender<BTreeMap<u32, ShardPolicies>>);

impl Policies {
    /// Replaces a shard's versions, unless they are older.
    pub(crate) fn update(&self, shard: u32, newer: ShardPolicies) {
        self.0.send_if_modified(|shards| {
            let is_newer = shards.get(&shard).is_none_or(|known| known.position <= newer.position);
            if is_newer {
                shards.insert(shard, newer);
            }
            is_newer
        });
    }

    /// A shard's versions; `None` until they have been read.
    pub(crate) fn of(&self, shard: u32) -> Option<Arc<PolicyVersions>> {
        self.0.borrow().get(&shard).map(|policies| policies.versions.clone())
    }

    /// The versions of the shard that decides whether a change is taken.
    pub(crate) fn deciding(&self) -> Option<Arc<PolicyVersions>> {
        self.of(u32::from(POLICY_SHARD.0))
    }

    /// Waits until the deciding shard has `version` or a newer one, then returns its versions.
    pub(crate) async fn wait_for(&self, version: u64) -> Option<Arc<PolicyVersions>> {
        let shard = u32::from(POLICY_SHARD.0);
        let has = |policies: &ShardPolicies| newest(&policies.versions) >= version;
        let mut shards = self.0.subscribe();
        let shards = shards.wait_for(|shards| shards.get(&shard).is_some_and(has)).await.ok()?;
        shards.get(&shard).map(|policies| policies.versions.clone())
    }
}

/// The number of the newest version; 0 if there is none.
pub(crate) fn newest(versions: &PolicyVersions) -> u64 {
    versions.newest().map_or(0, |change| change.version)
}

/// A version by its number; `None` if it does not exist or is no longer kept.
pub(crate) fn version(versions: &PolicyVersions, version: u64) -> Option<Arc<PolicyChange>> {
    versions.iter().map(|(_, change)| change).find(|change| change.version == version).cloned()
}
