//! Converts the configuration to the settings of each service.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use twqr_access::AccessSettings;
use twqr_card_keys::CardKeys;
use twqr_config::{
    AccessConfig, AdmissionConfig, CallerListener, Config, FairnessConfig, PeerAddress, TelemetryProtocol,
};
use twqr_ingress::{AdmissionSettings, FairnessSettings, HttpSettings, UseLimits};
use twqr_journal::embedded::EmbeddedJournal;
use twqr_router::{DiskStore, ReferenceStore, StateStore, StoreError};
use twqr_tls::{ClientFiles, ClientTls};
use twqr_worker::GrpcBackend;

use super::Service;

/// The capacity, in payments, of each of the two generations of the ingress' cache of repeats.
/// Full, the cache takes about 20 MiB.
const REPEATS_SIZE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(16_383);
/// How long calls in flight may take at shutdown, in ms: less than the 30 s that Kubernetes grants
/// a pod by default.
const DRAIN_WITHIN_MS: u64 = 14_000;

/// How long the tracker waits to learn whether a policy change was accepted, in ms.
const POLICY_WAIT_MS: u64 = 10_000;

/// How many probes each shard answers before the ingress accepts calls. They warm up connections,
/// code and broker.
const WARM_ROUNDS: u32 = 30;

pub(super) fn ingress(config: &Config, card_keys: CardKeys) -> anyhow::Result<twqr_ingress::Settings> {
    Ok(twqr_ingress::Settings {
        member: Service::Ingress.member(config),
        http: Some(pos_http(config)),
        answer_within_ms: config.answer_within_ms,
        in_progress_code: config.policy()?.status_codes.fisc_abnormal,
        calls_max: config.calls_max,
        admission: admission(&config.admission),
        access: access(config, CallerListener::Grpc)?,
        fairness: fairness(&config.fairness),
        streams_max: config.streams_max,
        stream_in_flight_max: config.stream_in_flight_max,
        repeats_size: REPEATS_SIZE,
        drain_within_ms: DRAIN_WITHIN_MS,
        connection_age: config.connection_age(),
        card_keys,
        warm_rounds: WARM_ROUNDS,
    })
}

/// Settings of telemetry; `None` if it is off.
pub(super) fn telemetry(config: &Config) -> anyhow::Result<Option<twqr_telemetry::Settings>> {
    let telemetry = &config.telemetry;
    if telemetry.endpoint.is_empty() {
        return Ok(None);
    }
    Ok(Some(twqr_telemetry::Settings {
        endpoint: telemetry.endpoint.clone(),
        tls: config.tls.telemetry_files(telemetry.protocol).map(ClientTls::start).transpose()?,
        protocol: match telemetry.protocol {
            TelemetryProtocol::Grpc => twqr_telemetry::Protocol::Grpc,
            TelemetryProtocol::Http => twqr_telemetry::Protocol::Http,
        },
        sample_ratio: telemetry.sample_ratio,
        slow: Duration::from_millis(telemetry.slow_ms),
        member: config.member.clone(),
    }))
}

/// Checks that each listener can authenticate its callers as configured.
pub(super) fn check_access(config: &Config) -> anyhow::Result<()> {
    [CallerListener::Grpc, CallerListener::Operators].into_iter().try_for_each(|of| access(config, of).map(drop))
}

/// How this listener authenticates its callers.
fn access(config: &Config, listener: CallerListener) -> anyhow::Result<AccessSettings> {
    let AccessConfig { required, pos_http_required, .. } = config.access;
    let key_and_certificate = config.access.key_and_certificate.contains(&listener);
    let (section, files) = match listener {
        CallerListener::Grpc => ("tls.grpc", config.tls.grpc_files()),
        CallerListener::Operators => ("tls.operators", config.tls.operators_files()),
    };
    if key_and_certificate && files.is_none_or(|files| files.client_ca.is_none()) {
        bail!(
            "access.key_and_certificate demands certificates of callers, but {section}.client_ca_file names no authority"
        );
    }
    Ok(AccessSettings { required, key_and_certificate, pos_http_required, callers: config.access.callers()? })
}

fn fairness(config: &FairnessConfig) -> FairnessSettings {
    let limits = |calls_per_s, calls_max| UseLimits {
        calls_per_s: NonZeroU32::new(calls_per_s),
        calls_max: NonZeroU32::new(calls_max),
    };
    FairnessSettings {
        caller: limits(config.caller_calls_per_s, config.caller_calls_max),
        merchant: limits(config.merchant_calls_per_s, config.merchant_calls_max),
        caller_streams_max: NonZeroU32::new(config.caller_streams_max),
        caller_watches_max: NonZeroU32::new(config.caller_watches_max),
    }
}

fn admission(config: &AdmissionConfig) -> AdmissionSettings {
    let AdmissionConfig { delay_ms, limit_min, limit_max } = *config;
    AdmissionSettings { delay: Duration::from_millis(delay_ms.into()), limit_min, limit_max }
}

/// Settings of the POS HTTP form; an empty path means that there is no file with keys.
pub(super) fn pos_http(config: &Config) -> HttpSettings {
    let keys_file = Some(config.merchant_keys_file.clone()).filter(|file| !file.as_os_str().is_empty());
    HttpSettings {
        keys_file,
        signature_forms: config.signature_forms(),
        send_time_window_s: NonZeroU32::new(config.send_time_window_s),
    }
}

/// Opens the local store on a thread that may block, since a large one takes seconds. It refers to
/// the states in the embedded journal, and copies those in another one.
pub(super) async fn router(
    config: &Config,
    embedded: Option<Arc<EmbeddedJournal>>,
) -> anyhow::Result<twqr_router::Settings> {
    let folder = config.data_dir.join("orders");
    let open = move || {
        Ok::<Arc<dyn StateStore>, StoreError>(match embedded {
            Some(journal) => Arc::new(ReferenceStore::open(&folder, journal)?),
            None => Arc::new(DiskStore::open(&folder)?),
        })
    };
    let store = tokio::task::spawn_blocking(open).await??;
    Ok(twqr_router::Settings {
        member: Service::Router.member(config),
        policy: config.policy()?,
        checkpoint_interval_ms: config.checkpoint_interval_ms,
        standby: config.standby,
        store,
    })
}

pub(super) fn tracker(config: &Config) -> anyhow::Result<twqr_tracker::Settings> {
    Ok(twqr_tracker::Settings {
        database: config.data_dir.join("read-model.sqlite"),
        policy_wait_ms: POLICY_WAIT_MS,
        access: access(config, CallerListener::Operators)?,
    })
}

pub(super) fn wallet_worker(config: &Config, card_keys: CardKeys) -> anyhow::Result<twqr_worker::Settings> {
    let wallet = backend("the wallet", &config.wallet, config.tls.wallet_files()).context("wallet-worker")?;
    let member = Service::WalletWorker.member(config);
    let settings = twqr_worker::Settings::wallet(member, Arc::new(wallet), config.call_timeout_ms);
    Ok(twqr_worker::Settings { card_keys, ..settings }.with_series_of(&config.policy()?))
}

pub(super) fn fisc_worker(config: &Config, card_keys: CardKeys) -> anyhow::Result<twqr_worker::Settings> {
    let fisc = backend("FISC", &config.fisc, config.tls.fisc_files()).context("fisc-worker")?;
    let member = Service::FiscWorker.member(config);
    let settings = twqr_worker::Settings::fisc(member, Arc::new(fisc), config.call_timeout_ms);
    Ok(twqr_worker::Settings { card_keys, ..settings }.with_series_of(&config.policy()?))
}

fn backend(name: &'static str, address: &PeerAddress, files: Option<ClientFiles>) -> anyhow::Result<GrpcBackend> {
    let scheme = if files.is_some() { "https" } else { "http" };
    let tls = files.map(ClientTls::start).transpose()?;
    Ok(GrpcBackend::new(name, format!("{scheme}://{address}"))?.with_tls(tls))
}

#[cfg(test)]
mod tests {
    use twqr_config::{CallerDocument, ListenerTls, TlsConfig};

    use super::*;

    #[test]
    fn both_credentials_can_be_demanded_only_where_a_listener_asks_for_certificates() {
        use CallerListener::{Grpc, Operators};
        let plain = ListenerTls::default;
        let tls = || ListenerTls { certificate_file: "a".into(), key_file: "b".into(), ..plain() };
        let asks = || ListenerTls { client_ca_file: "c".into(), ..tls() };
        for (listeners, grpc, operators, wrong) in [
            (&[][..], plain(), plain(), None),
            (&[Grpc], asks(), plain(), None),
            (&[Operators], plain(), asks(), None),
            (&[Grpc, Operators], asks(), asks(), None),
            (&[Grpc], plain(), asks(), Some("tls.grpc")),
            (&[Grpc], tls(), asks(), Some("tls.grpc")),
            (&[Operators], asks(), plain(), Some("tls.operators")),
            (&[Operators], asks(), tls(), Some("tls.operators")),
            (&[Grpc, Operators], asks(), tls(), Some("tls.operators")),
        ] {
            let key_and_certificate = listeners.iter().copied().collect();
            let access = AccessConfig { required: true, key_and_certificate, ..AccessConfig::default() };
            let tls = TlsConfig { grpc, operators, ..TlsConfig::default() };
            let checked = check_access(&Config { access, tls, ..Config::default() });
            let said = checked.err().map(|error| error.to_string());
            let expected = wrong.map(|section| {
                let demand = "access.key_and_certificate demands certificates of callers";
                format!("{demand}, but {section}.client_ca_file names no authority")
            });
            assert_eq!(said, expected, "{listeners:?}");
        }
    }

    #[test]
    fn a_caller_that_cannot_be_read_is_refused() {
        let access = AccessConfig { callers: vec![CallerDocument::default()], ..AccessConfig::default() };
        let refused = check_access(&Config { access, ..Config::default() }).unwrap_err();
        assert!(format!("{refused:#}").starts_with("access.callers: name "), "{refused:#}");
    }
}
