//! The keys of one process, and which keys it needs: whether tokens are protected at all, and which
//! missing key a token has named.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;
use twqr_types::UnixMs;

use crate::{Hour, KeySet};

/// How much of a key's name in a record is kept, in characters: it may be of any length, and those
/// of keys are shorter.
const NAME_LEN_MAX: usize = 32;

/// The keys of this process, which may be replaced while they are used.
#[derive(Clone, Debug, Default)]
pub struct CardKeys(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    keys: ArcSwap<KeySet>,
    replaced: watch::Sender<()>,
    are_needed: AtomicBool,
    /// The missing key that was asked for last.
    awaited: Mutex<Option<AwaitedKey>>,
}

/// A sealing key that a token names and that this process does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwaitedKey {
    /// The key's name.
    pub name: String,
    /// The key's hour.
    pub hour: Hour,
    /// Whether this process has no key of that hour at all, so that it lacks keys. Otherwise the
    /// ingress that wrote the token has other keys than this process.
    pub hour_is_missing: bool,
}

/// The reason why a sealed token cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotOpen {
    /// This process does not have the key, but may still get it: its hour is not over for long.
    #[error("the sealing key {0} is missing")]
    MissingKey(String),
    /// The key does not exist any more: every key of its hour is destroyed. Or the name is none of
    /// a key.
    #[error("the sealing key {0} was destroyed, or never existed")]
    DestroyedKey(String),
    /// It was sealed for another order, or changed since.
    #[error("the sealed card token does not belong to this order, or was changed")]
    Forged,
}

impl CardKeys {
    /// Begins with these keys.
    pub fn new(keys: KeySet) -> Self {
        let shared = Self::default();
        shared.replace(keys);
        shared
    }

    /// Keys that only this process ever has, valid in every hour that it may run: for systems
    /// within one process that write no disk, such as tests in virtual time.
    pub fn in_memory(first: UnixMs, hours: i64) -> Self {
        Self::new(KeySet::in_memory(first, hours))
    }

    /// Uses these keys from now on.
    pub fn replace(&self, keys: KeySet) {
        self.0.keys.store(Arc::new(keys));
        self.0.replaced.send_replace(());
    }

    /// Changes whenever the keys are replaced.
    pub fn replaced(&self) -> watch::Receiver<()> {
        self.0.replaced.subscribe()
    }

    /// The keys of the present moment.
    pub fn present(&self) -> Arc<KeySet> {
        self.0.keys.load_full()
    }

    pub(crate) fn loaded(&self) -> Guard<Arc<KeySet>> {
        self.0.keys.load()
    }

    /// Whether there is a sealing key with this name.
    pub fn has_sealing(&self, name: &str) -> bool {
        self.loaded().sealing_named(name).is_some()
    }

    /// Notes that tokens are written under keys, so that this process needs them.
    pub fn need(&self) {
        if !self.are_needed() {
            self.0.are_needed.store(true, Ordering::Relaxed);
        }
    }

    /// Whether this process is known to need keys.
    pub fn are_needed(&self) -> bool {
        self.0.are_needed.load(Ordering::Relaxed)
    }

    /// Whether this process needs keys and has none of the present hour, or of the hour of a token
    /// that it could not open. Then another process should open tokens instead.
    pub fn cannot_open(&self, now: UnixMs) -> bool {
        let lacks = || self.loaded().lacks_sealing(Hour::of(now)).is_some();
        self.are_needed() && (lacks() || self.awaited(now).is_some_and(|awaited| awaited.hour_is_missing))
    }

    /// The key that a token named last and that this process does not have; `None` once it is
    /// there, or every key of its hour is destroyed.
    pub fn awaited(&self, now: UnixMs) -> Option<AwaitedKey> {
        let mut awaited = self.0.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = self.loaded();
        *awaited = awaited.take().filter(|key| keys.sealing_named(&key.name).is_none() && !key.hour.is_over(now));
        awaited.clone().map(|key| AwaitedKey { hour_is_missing: !keys.has_key_of(key.hour), ..key })
    }

    /// Notes that a token names this key, which is not there.
    pub(crate) fn missing(&self, name: &str, now: UnixMs) -> CannotOpen {
        let name: String = name.chars().take(NAME_LEN_MAX).collect();
        match Hour::of_name(&name) {
            Some(hour) if !hour.is_over(now) => {
                let awaited = AwaitedKey { name: name.clone(), hour, hour_is_missing: true };
                *self.0.awaited.lock().unwrap_or_else(PoisonError::into_inner) = Some(awaited);
                CannotOpen::MissingKey(name)
            }
            Some(_) | None => CannotOpen::DestroyedKey(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1_795_941_599_000);

    fn keys_of(hours: &[i64]) -> KeySet {
        let mut keys = KeySet::default();
        for hour in hours.iter().map(|ahead| Hour::of(NOW).plus(*ahead)) {
            keys.add_sealing(format!("{}-aaaa", hour.name()), hour, &[1; 32]);
        }
        keys
    }

    #[test]
    fn a_key_that_may_still_arrive_is_missing_and_one_whose_hour_is_over_is_destroyed() {
        let keys = CardKeys::default();
        let name = |ahead| format!("{}-bbbb", Hour::of(NOW).plus(ahead).name());
        for (name, is_missing) in
            [(name(1), true), (name(0), true), (name(-2), true), (name(-3), false), ("x".repeat(900), false)]
        {
            let expected = if is_missing { CannotOpen::MissingKey } else { CannotOpen::DestroyedKey };
            assert_eq!(keys.missing(&name, NOW), expected(name.chars().take(NAME_LEN_MAX).collect()));
        }
    }

    #[test]
    fn a_process_that_needs_no_keys_or_meets_only_a_foreign_key_leaves_nothing_to_others() {
        let keys = CardKeys::default();
        assert!(!keys.cannot_open(NOW), "no token was sealed yet");
        keys.need();
        assert!(keys.cannot_open(NOW), "there is no key");
        keys.replace(keys_of(&[0]));
        assert!(!keys.cannot_open(NOW));
        keys.missing(&format!("{}-bbbb", Hour::of(NOW).name()), NOW);
        assert!(keys.awaited(NOW).is_some_and(|key| !key.hour_is_missing) && !keys.cannot_open(NOW));
        keys.missing(&format!("{}-aaaa", Hour::of(NOW).plus(1).name()), NOW);
        assert!(keys.cannot_open(NOW), "a token is sealed in an hour of which there is no key");
        keys.replace(keys_of(&[0, 1]));
        assert_eq!((keys.awaited(NOW), keys.cannot_open(NOW)), (None, false));
    }

    #[test]
    fn a_key_is_awaited_until_its_hour_is_over() {
        let keys = CardKeys::new(keys_of(&[0, 1, 2, 3]));
        keys.missing(&format!("{}-bbbb", Hour::of(NOW).name()), NOW);
        assert!(keys.awaited(NOW.plus(2 * 3_600_000)).is_some());
        assert_eq!(keys.awaited(NOW.plus(3 * 3_600_000)), None);
    }
}
