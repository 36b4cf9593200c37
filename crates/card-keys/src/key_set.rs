//! The keys in memory.

use std::{collections::BTreeMap, fmt};

use aws_lc_rs::{
    aead::{AES_256_GCM, RandomizedNonceKey},
    hmac,
};
use twqr_types::{KeyName, UnixMs};

use crate::Hour;

/// How many bytes a key of either kind has.
pub(crate) const KEY_LEN: usize = 32;

/// The keys of one process. Its Debug output has their names only. The library wipes the memory of
/// a key that is dropped.
#[derive(Default)]
pub struct KeySet {
    comparison: BTreeMap<String, (KeyName, hmac::Key)>,
    sealing: BTreeMap<String, (Hour, RandomizedNonceKey)>,
}

impl KeySet {
    /// Keys of no source: one for MACs, and one for each of these hours.
    pub(crate) fn in_memory(first: UnixMs, hours: i64) -> Self {
        let mut keys = Self::default();
        if let Ok(name) = KeyName::parse("memory".to_owned()) {
            keys.add_comparison(name, &rand::random());
        }
        for hour in (-Hour::USED_LATE..=hours).map(|hours| Hour::of(first).plus(hours)) {
            keys.add_sealing(hour.name(), hour, &rand::random());
        }
        keys
    }

    /// Adds a key for MACs.
    pub(crate) fn add_comparison(&mut self, name: KeyName, key: &[u8; KEY_LEN]) {
        let name_text = name.as_str().to_owned();
        self.comparison.insert(name_text, (name, hmac::Key::new(hmac::HMAC_SHA256, key)));
    }

    /// Adds the key of an hour. The library cannot refuse a key of this length; if it did, the key
    /// would be missing.
    pub(crate) fn add_sealing(&mut self, name: String, hour: Hour, key: &[u8; KEY_LEN]) {
        if let Ok(key) = RandomizedNonceKey::new(&AES_256_GCM, key) {
            self.sealing.insert(name, (hour, key));
        }
    }

    /// The keys for MACs, by name.
    pub(crate) fn comparison(&self) -> impl ExactSizeIterator<Item = &(KeyName, hmac::Key)> {
        self.comparison.values()
    }

    /// The key that seals in this hour: its own, or that of the hour before.
    pub(crate) fn sealing_in(&self, hour: Hour) -> Option<(&str, &RandomizedNonceKey)> {
        let usable = self.sealing.iter().filter(|(_, (of, _))| (hour.plus(-Hour::USED_LATE)..=hour).contains(of));
        usable.max_by_key(|(name, (of, _))| (*of, *name)).map(|(name, (_, key))| (name.as_str(), key))
    }

    /// The key with this name, to open what it sealed.
    pub(crate) fn sealing_named(&self, name: &str) -> Option<&RandomizedNonceKey> {
        self.sealing.get(name).map(|(_, key)| key)
    }

    /// Whether there is a key of this hour itself.
    pub(crate) fn has_key_of(&self, hour: Hour) -> bool {
        self.sealing.values().any(|(of, _)| *of == hour)
    }

    /// The keys that are missing to protect a payment in this hour, for operators; `None` if none
    /// is.
    pub fn lacks(&self, hour: Hour) -> Option<String> {
        if self.comparison.is_empty() {
            return Some("there is no comparison key".to_owned());
        }
        self.lacks_sealing(hour)
    }

    /// The keys that are missing to encrypt tokens in this hour and to decrypt earlier ones; `None`
    /// if none is.
    pub fn lacks_sealing(&self, hour: Hour) -> Option<String> {
        self.sealing_in(hour).is_none().then(|| format!("there is no sealing key of the hour {} (UTC)", hour.name()))
    }

    /// For how many further hours there is a key; 0 if this is the last one, or there is none.
    pub fn hours_left(&self, hour: Hour) -> i64 {
        let is_there = |ahead: &i64| self.has_key_of(hour.plus(*ahead));
        (1..=Hour::MADE_AHEAD).take_while(is_there).last().unwrap_or(0)
    }

    /// The names of all keys.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.comparison.keys().chain(self.sealing.keys()).map(String::as_str)
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}
