//! The card keys of a process: read before its services start, and followed while it runs. A
//! process that runs every service on the embedded journal makes and renews its own.

use std::sync::Arc;

use tracing::{error, warn};
use twqr_card_keys::{CardKeys, Hour, KeyDirectory, KeySet, KeySource, follow, keep_renewed};
use twqr_config::Config;
use twqr_service::{CancellationToken, Clock, Health, Part};

use super::{Running, Service};

/// The part in the health report.
const HEALTH_PART: &str = "card-keys";
/// Below so many hours of keys ahead, an operator must look: their renewal has stopped.
const HOURS_LEFT_LOW: i64 = 12;

/// Opens the keys, if one of these services needs them, and follows them until `stop` fires.
pub(super) async fn open(
    services: &[Service],
    config: &Config,
    clock: Arc<dyn Clock>,
    health: &Health,
    (stop, running): (CancellationToken, &mut Running),
) -> anyhow::Result<CardKeys> {
    let keys = CardKeys::default();
    let needs_keys = |service: &Service| match service {
        Service::Ingress | Service::WalletWorker | Service::FiscWorker => true,
        Service::Router | Service::Tracker => false,
    };
    if !services.iter().any(needs_keys) {
        return Ok(keys);
    }
    let part = health.side_part(HEALTH_PART);
    let Some(path) = config.card_keys_dir() else {
        warn!("card_keys_dir is empty: from protocol version 3 on, no payment can be taken or sent without card keys");
        part.degraded("card_keys_dir is empty");
        return Ok(keys);
    };
    let directory = KeyDirectory::new(path);
    let is_own = config.own_card_keys_dir().is_some();
    let (read, at) = (directory.clone(), clock.now());
    let read = tokio::task::spawn_blocking(move || {
        if is_own {
            read.renew(at)?;
        }
        read.read()
    });
    match read.await? {
        Ok((read, faults)) => {
            for fault in faults {
                error!(%fault, "a card key cannot be used");
            }
            keys.replace(read);
        }
        Err(fault) if is_own => return Err(fault.into()),
        Err(fault) => error!(%fault, "the card keys cannot be read; they are read as soon as they are there"),
    }
    let (followed, now) = (keys.clone(), clock.clone());
    report(&part, &keys.present(), Hour::of(now.now()));
    running.spawn(async move {
        let source: Arc<dyn KeySource> = Arc::new(directory.clone());
        let renewing =
            async { if is_own { keep_renewed(directory, || clock.now()).await } else { std::future::pending().await } };
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            () = renewing => Ok(()),
            () = follow(source, followed, |keys| report(&part, keys, Hour::of(now.now()))) => Ok(()),
        }
    });
    Ok(keys)
}

fn report(part: &Part, keys: &KeySet, hour: Hour) {
    let hours_left = keys.hours_left(hour);
    match keys.lacks(hour) {
        Some(lacking) => part.degraded(lacking),
        None if hours_left < HOURS_LEFT_LOW => {
            part.degraded(format!("there are sealing keys for {hours_left} further hours only; see `twqr keys renew`"));
        }
        None => part.ready(),
    }
}

/// What a process with this configuration would miss to protect and open card tokens; `None` if it
/// misses nothing. Before protocol version 3 it could do without.
pub(super) fn missing(config: &Config, hour: Hour) -> Option<String> {
    if config.own_card_keys_dir().is_some() {
        return None;
    }
    let Some(path) = config.card_keys_dir() else {
        return Some("card_keys_dir is empty: on Kafka every ingress and worker needs the same card keys".to_owned());
    };
    let place = format!("card_keys_dir {}", path.display());
    match KeyDirectory::new(path).read() {
        Err(fault) => Some(format!("card_keys_dir: {fault}")),
        Ok((keys, faults)) => {
            let unusable = faults.first().map(ToString::to_string);
            unusable.or_else(|| keys.lacks(hour)).map(|what| format!("{place}: {what}"))
        }
    }
}
