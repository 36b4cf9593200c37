//! All versions of the policy that a shard has had: a record is decided by the version at its own offset, also when it is replayed
//! from a checkpoint taken later.

use std::{collections::BTreeMap, sync::Arc};

use crate::Policy;

/// Versions by the offset of the record that brought them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyVersions(BTreeMap<u64, Arc<Policy>>);

impl PolicyVersions {
    /// The version that decides the record at `offset`; none before the first.
    pub fn at(&self, offset: u64) -> Option<&Arc<Policy>> {
        self.0.range(..offset).next_back().map(|(_, policy)| policy)
    }

    /// Takes the version that the record at `offset` brought. Taking it again changes nothing.
    pub fn insert(&mut self, offset: u64, policy: Arc<Policy>) {
        self.0.insert(offset, policy);
    }

    /// Every version, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Arc<Policy>)> {
        self.0.iter().map(|(offset, policy)| (*offset, policy))
    }

    /// The newest version.
    pub fn newest(&self) -> Option<&Arc<Policy>> {
        self.0.values().next_back()
    }
}
