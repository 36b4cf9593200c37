//! The card keys of a process: read before its services start, and followed while it runs. A
//! process that runs every service on the embedded journal makes and renews its own.

use std::sync::Arc;

use tracing::error;
use twqr_card_keys::{AwaitedKey, CardKeys, Hour, KeyDirectory, KeySource, follow, keep_renewed};
use twqr_config::Config;
use twqr_service::{CARD_KEYS_PART, CancellationToken, Clock, Health, PartState};
use twqr_types::UnixMs;

use super::{Running, Service};

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
    let part = health.side_part(CARD_KEYS_PART);
    let directory = KeyDirectory::new(config.card_keys_dir().unwrap_or_default());
    let is_own = config.own_card_keys_dir().is_some();
    let (read, at) = (directory.clone(), clock.now());
    let read = tokio::task::spawn_blocking(move || {
        if is_own {
            read.renew(at)?;
        }
        read.read()
    });
    let faults = match read.await? {
        Ok((read, faults)) => {
            for fault in &faults {
                error!(%fault, "a card key cannot be used");
            }
            keys.replace(read);
            faults
        }
        Err(fault) if is_own => return Err(fault.into()),
        Err(fault) => {
            error!(%fault, "the card keys cannot be read; this process reads them as soon as it can");
            vec![fault]
        }
    };
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    let report = {
        let (keys, clock) = (keys.clone(), clock.clone());
        let process = KeyUser { place: place(config), protects: services.contains(&Service::Ingress) };
        move |faults: &[String]| part.set(process.state(&keys, faults, clock.now()))
    };
    report(&faults);
    let followed = keys.clone();
    running.spawn(async move {
        let source: Arc<dyn KeySource> = Arc::new(directory.clone());
        let renewing =
            async { if is_own { keep_renewed(directory, || clock.now()).await } else { std::future::pending().await } };
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            () = renewing => Ok(()),
            () = follow(source, followed, faults, report) => Ok(()),
        }
    });
    Ok(keys)
}

/// The text that tells operators where the keys of a process must be.
fn place(config: &Config) -> String {
    match config.card_keys_dir() {
        Some(path) => format!("card_keys_dir {}", path.display()),
        None => "card_keys_dir is empty, set it to the directory of the keys".to_owned(),
    }
}

/// The use of keys in a process.
struct KeyUser {
    /// The text that tells where its keys must be.
    place: String,
    /// Whether it protects tokens, and not only opens them.
    protects: bool,
}

impl KeyUser {
    /// The state of the process' part: not ready if it cannot do its work for payments any more.
    /// `faults` are those of keys that cannot be used, or of the whole directory.
    fn state(&self, keys: &CardKeys, faults: &[String], now: UnixMs) -> PartState {
        let (present, hour, place) = (keys.present(), Hour::of(now), &self.place);
        let lacking = if self.protects { present.lacks(hour) } else { present.lacks_sealing(hour) };
        if let Some(lacking) = lacking {
            let why = format!(
                "{place}: {lacking}; give this process the keys of the others, see `twqr keys list` and \
                 `twqr keys renew`"
            );
            return if keys.are_needed() { PartState::NotReady(why) } else { PartState::Degraded(why) };
        }
        match keys.awaited(now) {
            Some(AwaitedKey { name, hour_is_missing: true, .. }) => {
                return PartState::NotReady(format!(
                    "{place}: charges wait for the sealing key {name}, and there is no key of its hour; give this \
                     process the keys of the ingresses"
                ));
            }
            Some(AwaitedKey { name, .. }) => {
                return PartState::Degraded(format!(
                    "{place}: charges wait for the sealing key {name}, which is missing; check that all ingresses and \
                     workers read the same keys"
                ));
            }
            None => {}
        }
        match (present.hours_left(hour), faults.first()) {
            (left @ ..HOURS_LEFT_LOW, _) => PartState::Degraded(format!(
                "{place}: there are sealing keys for only {left} more hours; see `twqr keys renew`"
            )),
            (_, Some(fault)) => PartState::Degraded(format!(
                "{place}: {fault}; this process works with the keys that it has, and tries again every second"
            )),
            (_, None) => PartState::Ready,
        }
    }
}

/// The keys that a process with this configuration would lack to protect and decrypt card tokens;
/// `None` if it misses nothing. Before protocol version 3 it could do without.
pub(super) fn missing(config: &Config, hour: Hour) -> Option<String> {
    if config.own_card_keys_dir().is_some() {
        return None;
    }
    let Some(path) = config.card_keys_dir() else {
        return Some("card_keys_dir is empty: on Kafka every ingress and worker needs the same card keys".to_owned());
    };
    let place = place(config);
    match KeyDirectory::new(path).read() {
        Err(fault) => Some(format!("card_keys_dir: {fault}")),
        Ok((keys, faults)) => {
            let unusable = faults.first().map(ToString::to_string);
            unusable.or_else(|| keys.lacks(hour)).map(|what| format!("{place}: {what}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use twqr_types::{CardToken, MerchantId, MerchantTradeNo, OrderKey};

    use super::*;

    const NOW: UnixMs = UnixMs(1_795_941_599_000);

    fn state(keys: &CardKeys, protects: bool) -> (&'static str, String) {
        state_with(keys, protects, &[])
    }

    fn state_with(keys: &CardKeys, protects: bool, faults: &[String]) -> (&'static str, String) {
        match (KeyUser { place: "card_keys_dir /keys".to_owned(), protects }).state(keys, faults, NOW) {
            PartState::Ready => ("ready", String::new()),
            PartState::Degraded(why) => ("degraded", why),
            PartState::NotReady(why) => ("not ready", why),
        }
    }

    #[test]
    fn a_process_without_keys_is_unready_once_tokens_are_written_under_keys() {
        let none = CardKeys::default();
        for protects in [true, false] {
            assert_eq!(state(&none, protects).0, "degraded", "no token needs a key yet");
        }
        none.need();
        for (protects, lacking) in [(true, "no comparison key"), (false, "no sealing key of the hour 2026112908")] {
            let (state, why) = state(&none, protects);
            assert_eq!(state, "not ready");
            assert!(why.contains("card_keys_dir /keys") && why.contains(lacking) && why.contains("twqr keys"), "{why}");
        }
        let folder = tempfile::tempdir().unwrap();
        let directory = KeyDirectory::new(folder.path().to_owned());
        directory.renew(NOW).unwrap();
        none.replace(directory.read().unwrap().0);
        assert_eq!(state(&none, true).0, "ready", "they have arrived");
        let (token, order) = order();
        let sealed = CardKeys::in_memory(NOW, 1).protect(&token, &order, NOW).unwrap().sealed.unwrap();
        assert!(none.open(&sealed, &order, NOW).is_err());
        let (state, why) = state(&none, false);
        assert!(state == "degraded" && why.contains("the same keys"), "{state} {why}");
    }

    fn order() -> (CardToken, OrderKey) {
        let order = OrderKey {
            merchant_id: MerchantId::parse("M1".to_owned()).unwrap(),
            merchant_trade_no: MerchantTradeNo::parse("1".to_owned()).unwrap(),
        };
        (CardToken::parse("22SECRETSECRETSECR".to_owned()).unwrap(), order)
    }

    #[test]
    fn keys_that_end_soon_or_cannot_be_used_are_reported() {
        let (state, why) = state(&CardKeys::in_memory(NOW, 3), true);
        assert!(state == "degraded" && why.contains("3 more hours"), "{state} {why}");
        let faults = ["/keys/comparison-a.key: Permission denied".to_owned()];
        let (state, why) = state_with(&CardKeys::in_memory(NOW, 72), true, &faults);
        assert!(state == "degraded" && why.contains(&faults[0]), "{state} {why}");
    }
}
