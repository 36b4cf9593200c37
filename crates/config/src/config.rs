//! All sections of the configuration. They are checked before a port opens; the error lists every
//! fault with its key, its value and what is allowed.

use std::{
    ffi::OsString,
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use serde::{Deserialize, Serialize};
use twqr_journal::{embedded::EmbeddedSettings, kafka::Layout};
use twqr_order::Policy;
use twqr_types::SignatureForm;

use crate::consistency::{port_faults, timing_faults};
use crate::{
    AccessConfig, AdmissionConfig, FairnessConfig, KafkaConfig, PeerAddress, PolicyDocument, SettlementConfig,
    TelemetryConfig, TlsConfig, policy, renamed, source,
};

/// Explains each key to operators; printed above the defaults.
const KEYS: &str = include_str!("keys.toml");

/// The configuration of one process. `keys.toml` explains each key to operators. Listeners bind to
/// loopback unless the configuration says otherwise.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The folder of the journal, the orders and the read model.
    pub data_dir: PathBuf,
    #[serde(deserialize_with = "source::text")]
    /// The name of this instance: unique among the instances of its service, stable over restarts.
    pub member: String,
    /// How many threads run the services of this process: 1 to 256. Without it, as many as
    /// processors may be used.
    pub worker_threads: Option<NonZeroU32>,
    /// How many partitions `orders` has: 1 to 1,024, fixed at creation. Without it, existing topics
    /// keep their number.
    pub shards: Option<NonZeroU32>,
    /// How many partitions each task topic has: 1 to `shards`, fixed at creation. Without it,
    /// existing topics keep their number.
    pub task_partitions: Option<NonZeroU32>,
    /// The address at which the ingress serves the public gRPC API.
    pub grpc: SocketAddr,
    /// The address at which the ingress serves the POS HTTP form.
    pub pos_http: SocketAddr,
    /// The file with the keys that POS sign with; empty: no file.
    pub merchant_keys_file: PathBuf,
    /// The directory with the keys under which card tokens are written; empty: `twqr up` on the
    /// embedded journal makes its own in `data_dir`.
    pub card_keys_dir: PathBuf,
    /// The names of the forms of the signed text that a POS may use.
    pub signature_forms: Vec<String>,
    /// By how much the SendTime of a signed request may differ from our time, in s: 0 for any.
    pub send_time_window_s: u32,
    /// The address of metrics and health.
    pub admin: SocketAddr,
    /// The address at which the tracker serves the operators' API.
    pub operators: SocketAddr,
    /// The address of the wallet.
    pub wallet: PeerAddress,
    /// The address of FISC.
    pub fisc: PeerAddress,
    /// How long the embedded journal keeps records of `orders`, in hours: 0 to 87,600.
    pub journal_retention_hours: u32,
    /// How long a caller waits for a result, in ms: 100 to 14,000.
    pub answer_within_ms: u64,
    /// How long a call to the wallet or FISC may take before its outcome counts as unknown, in ms:
    /// 10 to 60,000.
    pub call_timeout_ms: u64,
    /// How far the clock of a machine may differ from the brokers' clocks, in ms: 10 to 10,000.
    pub clock_skew_max_ms: u64,
    /// How many calls may wait at once: 1 to 1,000,000; further ones are refused.
    pub calls_max: usize,
    /// How many streams of payments may be open at once: 1 to 10,000; further ones are refused.
    pub streams_max: usize,
    /// How many payments of one stream may be in flight: 1 to 65,536; further ones are not read.
    pub stream_in_flight_max: usize,
    /// The age of a connection to `grpc` at which its caller is asked to reconnect, in s: 1 to
    /// 86,400; 0: no such age.
    pub connection_age_s: u64,
    /// How long a process that was asked to stop still takes calls, in ms: 0 to 10,000.
    pub drain_delay_ms: u64,
    /// How long changed states wait for their checkpoint, in ms: 10 to 10,000.
    pub checkpoint_interval_ms: u64,
    /// Whether a router follows the states of other routers' shards, for a quick take-over.
    pub standby: bool,
    /// Who may call.
    pub access: AccessConfig,
    /// How much of an ingress one caller or merchant may use.
    pub fairness: FairnessConfig,
    /// How many calls may wait for a router's decision at once.
    pub admission: AdmissionConfig,
    /// Which calls are traced.
    pub telemetry: TelemetryConfig,
    /// The certificates of listeners and connections.
    pub tls: TlsConfig,
    /// How Apache Kafka is reached.
    pub kafka: KafkaConfig,
    /// How accounting files are laid out.
    pub settlement: SettlementConfig,
    /// The first version of the rules by which orders are decided.
    pub policy: PolicyDocument,
}

/// How many shards one task partition may serve: its committed position has an entry for each of
/// them, and brokers limit the size of a position's metadata.
const SHARDS_PER_TASK_PARTITION_MAX: u32 = 128;
/// How many shards and task partitions a new folder of the embedded journal has.
const EMBEDDED: (u32, u32) = (8, 2);
/// How many of them new topics on Kafka have. A request to a broker carries one partition, so more
/// of them cost latency (`load-tests/README.md`).
const ON_KAFKA: (u32, u32) = (4, 1);

/// How few partitions the task topics may have.
fn task_partitions_least(shards: u32) -> u32 {
    shards.div_ceil(SHARDS_PER_TASK_PARTITION_MAX)
}

impl Default for Config {
    fn default() -> Self {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            data_dir: "data".into(),
            member: "0".to_owned(),
            worker_threads: None,
            shards: None,
            task_partitions: None,
            grpc: local(17_051),
            pos_http: local(17_080),
            merchant_keys_file: PathBuf::new(),
            card_keys_dir: PathBuf::new(),
            signature_forms: SignatureForm::ALL.map(|form| form.name().to_owned()).to_vec(),
            send_time_window_s: 0,
            admin: local(17_090),
            operators: local(17_071),
            wallet: local(17_061).into(),
            fisc: local(17_062).into(),
            answer_within_ms: 12_000,
            call_timeout_ms: 4_000,
            clock_skew_max_ms: 200,
            journal_retention_hours: 168,
            calls_max: 16_384,
            streams_max: 256,
            stream_in_flight_max: 1_024,
            connection_age_s: 600,
            drain_delay_ms: 0,
            checkpoint_interval_ms: 200,
            standby: true,
            access: AccessConfig::default(),
            fairness: FairnessConfig::default(),
            admission: AdmissionConfig::default(),
            telemetry: TelemetryConfig::default(),
            tls: TlsConfig::default(),
            kafka: KafkaConfig::default(),
            settlement: SettlementConfig::default(),
            policy: PolicyDocument::default(),
        }
    }
}

impl Config {
    /// Reads the file, lets environment variables override it, and checks the result. A key that
    /// neither sets has its default.
    pub fn load(path: Option<&Path>) -> anyhow::Result<Self> {
        Self::from_sources(path, std::env::vars_os())
    }

    /// Reads as [`Config::load`] does, but ignores the environment's values of `chosen` keys, such
    /// as `kafka.prefix`: for a caller that chooses these values itself.
    pub fn load_except(path: Option<&Path>, chosen: &[&str]) -> anyhow::Result<Self> {
        Self::from_sources(path, source::without(std::env::vars_os(), chosen))
    }

    /// Reads the file alone, and checks it. A key that it does not set has its default.
    pub fn read_file(path: &Path) -> anyhow::Result<Self> {
        Self::from_sources(Some(path), std::iter::empty())
    }

    fn from_sources(
        path: Option<&Path>,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> anyhow::Result<Self> {
        let place =
            || path.map_or_else(|| "configuration".to_owned(), |path| format!("configuration {}", path.display()));
        let mut table = source::file(path)?;
        source::overlay(&mut table, variables)?;
        renamed::check(&table).map_err(anyhow::Error::msg).with_context(place)?;
        source::fill_in(&mut table, "policy", policy::default_table())?;
        let config: Self = source::typed(table).map_err(anyhow::Error::msg).with_context(place)?;
        config.check().with_context(place)?;
        Ok(config)
    }

    /// Returns the defaults as a configuration file in which each key is explained.
    pub fn printed_defaults() -> anyhow::Result<String> {
        Ok(format!("{KEYS}{}", toml::to_string(&Self::default()).context("the defaults cannot be printed")?))
    }

    /// Checks every value; the error lists all faults.
    fn check(&self) -> anyhow::Result<()> {
        let mut faults = Vec::new();
        let EmbeddedSettings { shards, task_partitions, .. } = self.embedded(PathBuf::new());
        let (shards, task_partitions) = (shards.get(), task_partitions.get());
        let ranges = [
            ("shards", u64::from(shards), 1..=1_024),
            ("worker_threads", self.worker_threads.map_or(1, |threads| threads.get().into()), 1..=256),
            (
                "task_partitions",
                u64::from(task_partitions),
                u64::from(task_partitions_least(shards))..=u64::from(shards),
            ),
            ("answer_within_ms", self.answer_within_ms, 100..=14_000),
            ("call_timeout_ms", self.call_timeout_ms, 10..=60_000),
            ("clock_skew_max_ms", self.clock_skew_max_ms, 10..=10_000),
            ("calls_max", self.calls_max as u64, 1..=1_000_000),
            ("streams_max", self.streams_max as u64, 1..=10_000),
            ("stream_in_flight_max", self.stream_in_flight_max as u64, 1..=65_536),
            ("journal_retention_hours", u64::from(self.journal_retention_hours), 0..=87_600),
            ("send_time_window_s", u64::from(self.send_time_window_s), 0..=86_400),
            ("connection_age_s", self.connection_age_s, 0..=86_400),
            ("drain_delay_ms", self.drain_delay_ms, 0..=10_000),
            ("checkpoint_interval_ms", self.checkpoint_interval_ms, 10..=10_000),
        ];
        for (key, value, range) in ranges {
            if !range.contains(&value) {
                faults.push(format!("{key} is {value}, must be {} to {}", range.start(), range.end()));
            }
        }
        let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if !(1..=60).contains(&self.member.len()) || !self.member.chars().all(letter) {
            faults.push(format!("member is {:?}, must be 1 to 60 ASCII letters, digits, '_' or '-'", self.member));
        }
        faults.extend(port_faults(&[
            ("grpc", self.grpc),
            ("pos_http", self.pos_http),
            ("admin", self.admin),
            ("operators", self.operators),
        ]));
        faults.extend(self.wallet.fault("wallet").into_iter().chain(self.fisc.fault("fisc")));
        faults.extend(self.signature_form_faults());
        faults.extend(self.access.faults(&[("grpc", self.grpc), ("operators", self.operators)]));
        faults.extend(self.access.admin_fault(self.admin, self.tls.admin.demands_certificates()));
        faults.extend(self.fairness.faults());
        faults.extend(self.admission.faults());
        faults.extend(self.telemetry.faults(self.tls.telemetry_files(self.telemetry.protocol).is_some()));
        faults.extend(self.tls.faults());
        faults.extend(self.kafka.faults());
        faults.extend(self.settlement.faults());
        let policy_faults = match self.policy.policy() {
            Ok(policy) => self.timing_faults(&policy),
            Err(wrong) => wrong.iter().map(ToString::to_string).collect(),
        };
        faults.extend(policy_faults.iter().map(|fault| format!("policy.{fault}")));
        if !faults.is_empty() {
            bail!("{}", faults.join("; "));
        }
        Ok(())
    }

    /// Lists what in a policy cannot work with this configuration, each fault with its key: windows
    /// that are too short for `call_timeout_ms`, for the workers' connections or for their clocks,
    /// or too long for `answer_within_ms`.
    pub fn timing_faults(&self, policy: &Policy) -> Vec<String> {
        timing_faults(policy, self.call_timeout_ms, self.clock_skew_max_ms, self.answer_within_ms)
    }

    /// Returns the topic layout that this configuration asks for; `recorded` is that of the topics,
    /// if they exist. What is fixed at creation and not configured stays as it is recorded.
    pub fn layout(&self, recorded: Option<&Layout>) -> Layout {
        let configured = |number: Option<NonZeroU32>| number.map(NonZeroU32::get);
        let least = configured(self.task_partitions).unwrap_or_default();
        let shards = configured(self.shards).or(recorded.map(|layout| layout.shards));
        let shards = shards.unwrap_or(ON_KAFKA.0.max(least));
        let tasks = configured(self.task_partitions).or(recorded.map(|layout| layout.task_partitions));
        Layout {
            shards,
            task_partitions: tasks.unwrap_or(ON_KAFKA.1.max(task_partitions_least(shards))),
            replies_partitions: self.kafka.replies_partitions,
            replication: self.kafka.replication,
            min_insync: self.kafka.min_insync,
            retention_hours: self.kafka.retention_hours,
        }
    }

    /// Returns the settings of the embedded journal in this folder.
    pub fn embedded(&self, dir: PathBuf) -> EmbeddedSettings {
        let or = |configured: Option<NonZeroU32>, number| {
            configured.unwrap_or(NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN))
        };
        let shards = or(self.shards, EMBEDDED.0);
        let tasks = EMBEDDED.1.min(shards.get()).max(task_partitions_least(shards.get()));
        let task_partitions = or(self.task_partitions, tasks);
        EmbeddedSettings { dir, shards, task_partitions }
    }

    /// The directory with the card keys; `None` if there is none, which only older systems can do
    /// without.
    pub fn card_keys_dir(&self) -> Option<PathBuf> {
        let is_given = !self.card_keys_dir.as_os_str().is_empty();
        if is_given { Some(self.card_keys_dir.clone()) } else { self.own_card_keys_dir() }
    }

    /// The directory of the keys that this process makes for itself: it runs every service, so no
    /// other process needs them.
    pub fn own_card_keys_dir(&self) -> Option<PathBuf> {
        let is_own = self.card_keys_dir.as_os_str().is_empty() && self.kafka.bootstrap.is_empty();
        is_own.then(|| self.data_dir.join("card-keys"))
    }

    /// The age of a connection to `grpc` at which its caller is asked to reconnect, if there is
    /// one.
    pub fn connection_age(&self) -> Option<Duration> {
        (self.connection_age_s > 0).then(|| Duration::from_secs(self.connection_age_s))
    }

    /// Returns the endpoint of the operators' API; `wanted` overrides the configured one.
    pub fn operators_endpoint(&self, wanted: Option<&str>) -> String {
        let scheme = scheme(self.tls.operators_files().is_some());
        wanted.map_or_else(|| format!("{scheme}://{}", self.operators), str::to_owned)
    }

    /// Returns the endpoint of the public gRPC API.
    pub fn grpc_endpoint(&self) -> String {
        format!("{}://{}", scheme(self.tls.grpc_files().is_some()), self.grpc)
    }

    /// The forms of the signed text that a POS may use.
    pub fn signature_forms(&self) -> Vec<SignatureForm> {
        self.signature_forms.iter().filter_map(|name| SignatureForm::parse(name)).collect()
    }

    fn signature_form_faults(&self) -> Vec<String> {
        let allowed = SignatureForm::ALL.map(SignatureForm::name).join(", ");
        let unknown = self.signature_forms.iter().filter(|name| SignatureForm::parse(name).is_none());
        let mut faults: Vec<String> =
            unknown.map(|name| format!("signature_forms contains {name:?}, must be some of {allowed}")).collect();
        if self.signature_forms.is_empty() {
            faults.push(format!("signature_forms is empty, must be some of {allowed}"));
        }
        faults
    }

    /// Converts the section `[policy]` to the machine's policy.
    pub fn policy(&self) -> anyhow::Result<Policy> {
        self.policy.policy().map_err(|faults| anyhow!("policy: {}", policy::list_faults(&faults)))
    }
}

const fn scheme(has_tls: bool) -> &'static str {
    if has_tls { "https" } else { "http" }
}

#[cfg(test)]
mod tests;
