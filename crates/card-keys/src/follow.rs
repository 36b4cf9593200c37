//! Follows a source of keys while a process runs, and renews those of a process that makes its own.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tracing::{error, info, warn};
use twqr_types::UnixMs;

use crate::{CardKeys, KeyDirectory, KeyFault, KeySource};

/// How often the source is checked for a change.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// How often a process that maintains its own keys renews them.
const RENEW_EVERY: Duration = Duration::from_mins(10);

/// Replaces `keys` whenever the source changes, and calls `checked` after every check, since the
/// needed keys also change with time. Never returns. If the source cannot be read, the keys stay as
/// they are. `faults` are those of the first reading, which were logged; `checked` gets the present
/// ones.
pub async fn follow(
    source: Arc<dyn KeySource>,
    keys: CardKeys,
    faults: Vec<String>,
    checked: impl Fn(&[String]) + Send + Sync,
) {
    let mut last = LastCheck { version: None, faults };
    loop {
        last.check(&source, &keys).await;
        checked(&last.faults);
        tokio::time::sleep(CHECK_EVERY).await;
    }
}

/// The result of the last check of a source.
struct LastCheck {
    /// The version that was read last.
    version: Option<BTreeMap<String, Option<SystemTime>>>,
    /// The faults that were logged: of the source, or of single keys.
    faults: Vec<String>,
}

impl LastCheck {
    /// Reads the keys if they have changed, or if some could not be read: permissions that allow
    /// it, or a disk that works again, do not change their version.
    async fn check(&mut self, source: &Arc<dyn KeySource>, keys: &CardKeys) {
        let asked = source.clone();
        let known = if self.faults.is_empty() { self.version.clone() } else { None };
        let read = tokio::task::spawn_blocking(move || {
            let version = asked.version()?;
            let is_new = known.as_ref() != Some(&version);
            is_new.then(|| asked.read()).transpose().map(|read| (version, read))
        });
        match read.await {
            Ok(Ok((version, Some((read, faults))))) => {
                let is_new = self.version.as_ref() != Some(&version);
                self.version = Some(version);
                let has_other_faults = self.note(&faults, "a card key cannot be used");
                if is_new || has_other_faults {
                    info!(keys = ?read, "card keys read");
                    keys.replace(read);
                }
            }
            Ok(Ok((_, None))) => {}
            Ok(Err(fault)) => {
                self.note(&[fault], "the card keys cannot be read; the earlier ones stay in use");
            }
            Err(ended) => warn!(%ended, "the card keys were not read"),
        }
    }

    /// Notes the present faults, and logs those that are new. Returns whether they differ from the
    /// earlier ones.
    fn note(&mut self, faults: &[KeyFault], effect: &str) -> bool {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        for fault in faults.iter().filter(|fault| !self.faults.contains(fault)) {
            error!(%fault, "{effect}");
        }
        let differ = faults != self.faults;
        self.faults = faults;
        differ
    }
}

/// Makes and destroys the keys of the directory as time passes. Never returns.
pub async fn keep_renewed(directory: KeyDirectory, now: impl Fn() -> UnixMs + Send + Sync) {
    loop {
        let (renewed, at) = (directory.clone(), now());
        match tokio::task::spawn_blocking(move || renewed.renew(at)).await {
            Ok(Ok(renewed)) if renewed.is_empty() => {}
            Ok(Ok(renewed)) => info!(?renewed, "card keys renewed"),
            Ok(Err(fault)) => error!(%fault, "the card keys cannot be renewed"),
            Err(ended) => warn!(%ended, "the card keys were not renewed"),
        }
        tokio::time::sleep(RENEW_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _};

    use super::*;

    const NOW: UnixMs = UnixMs(1_795_941_599_000);

    /// Permissions that a process needs, or a disk that fails for a moment, leave no trace in the
    /// version of a file; here the unusable key and the usable one have the same version.
    #[tokio::test]
    async fn a_key_that_could_not_be_used_is_read_again_from_an_unchanged_file() {
        let folder = tempfile::tempdir().unwrap();
        let directory = KeyDirectory::new(folder.path().to_owned());
        directory.renew(NOW).unwrap();
        let name = directory.list().unwrap()[0].file_name();
        let path = folder.path().join(&name);
        let key = fs::read_to_string(&path).unwrap();
        let write = |text: &str| {
            let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_hours(500_000)).unwrap();
            directory.version().unwrap()
        };
        let source: Arc<dyn KeySource> = Arc::new(directory.clone());
        let (keys, mut last) = (CardKeys::default(), LastCheck { version: None, faults: Vec::new() });
        let version = write(&"-".repeat(key.len()));
        for _ in 0..2 {
            last.check(&source, &keys).await;
            assert!(matches!(&last.faults[..], [fault] if fault.contains(&name)), "{:?}", last.faults);
            assert_eq!(keys.present().comparison().len(), 0, "the other keys are used");
        }
        assert_eq!(write(&key), version);
        last.check(&source, &keys).await;
        assert_eq!((keys.present().comparison().len(), last.faults.len()), (1, 0));
    }

    #[tokio::test]
    async fn keys_stay_as_they_are_while_the_directory_cannot_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let (path, away) = (folder.path().join("keys"), folder.path().join("away"));
        let directory = KeyDirectory::new(path.clone());
        let source: Arc<dyn KeySource> = Arc::new(directory.clone());
        let (keys, mut last) = (CardKeys::default(), LastCheck { version: None, faults: Vec::new() });
        last.check(&source, &keys).await;
        assert_eq!(last.faults.len(), 1, "it does not exist yet");
        directory.renew(NOW).unwrap();
        last.check(&source, &keys).await;
        assert_eq!((keys.present().comparison().len(), last.faults.len()), (1, 0));
        let mut replaced = keys.replaced();
        replaced.mark_unchanged();
        fs::rename(&path, &away).unwrap();
        for _ in 0..2 {
            last.check(&source, &keys).await;
            assert_eq!((keys.present().comparison().len(), last.faults.len()), (1, 1));
        }
        assert!(!replaced.has_changed().unwrap());
        fs::rename(&away, &path).unwrap();
        last.check(&source, &keys).await;
        assert!(last.faults.is_empty() && replaced.has_changed().unwrap());
    }
}
