//! Follows a source of keys while a process runs, and renews those of a process that makes its own.

use std::{sync::Arc, time::Duration};

use tracing::{error, info, warn};
use twqr_types::UnixMs;

use crate::{CardKeys, KeyDirectory, KeySource};

/// How often the source is checked for a change.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// How often a process that maintains its own keys renews them.
const RENEW_EVERY: Duration = Duration::from_mins(10);

/// Replaces `keys` whenever the source changes, and calls `checked` after every check, since the
/// needed keys also change with time. Never returns. If the source cannot be read, the keys stay as
/// they are.
pub async fn follow(source: Arc<dyn KeySource>, keys: CardKeys, checked: impl Fn() + Send + Sync) {
    let mut last = None;
    loop {
        let asked = source.clone();
        let known = last.clone();
        let read = tokio::task::spawn_blocking(move || {
            let version = asked.version()?;
            let is_new = known.as_ref() != Some(&version);
            is_new.then(|| asked.read()).transpose().map(|read| (version, read))
        });
        match read.await {
            Ok(Ok((version, read))) => {
                if let Some((read, faults)) = read {
                    for fault in faults {
                        error!(%fault, "a card key cannot be used");
                    }
                    info!(keys = ?read, "card keys read");
                    keys.replace(read);
                }
                last = Some(version);
            }
            Ok(Err(fault)) if last.is_some() => {
                last = None;
                error!(%fault, "the card keys cannot be read; the earlier ones stay in use");
            }
            Ok(Err(_)) => {}
            Err(ended) => warn!(%ended, "the card keys were not read"),
        }
        checked();
        tokio::time::sleep(CHECK_EVERY).await;
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
