//! The source of a process's keys, as a trait.

use std::{collections::BTreeMap, time::SystemTime};

use crate::KeySet;

/// A source of keys: a directory, or the client of a key management service.
pub trait KeySource: Send + Sync + 'static {
    /// Identifies the present keys without reading them, so that they are read only once they have
    /// changed: a name and a time for each.
    fn version(&self) -> Result<BTreeMap<String, Option<SystemTime>>, KeyFault>;

    /// Reads all keys; with the faults of those that cannot be used.
    fn read(&self) -> Result<(KeySet, Vec<KeyFault>), KeyFault>;
}

/// The reason why a key, or the directory, cannot be used. Never contains a part of a key.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {what}")]
pub struct KeyFault {
    /// The file or directory.
    pub(crate) place: String,
    /// The fault, and the allowed values.
    pub(crate) what: String,
}
