//! Configuration: typed, and checked as a whole before a port opens. Every error says which key,
//! what was wrong, what is allowed.

mod kafka;
pub(crate) mod renamed;
mod settlement;
pub(crate) mod source;

use std::{
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow, bail};
use serde::{Deserialize, Serialize};
use twqr_ingress::HttpSettings;
use twqr_journal::kafka::Layout;
use twqr_order::Policy;

use crate::policy::PolicyDocument;
use kafka::KafkaConfig;
use settlement::SettlementConfig;

/// What each key means, as it stands above the printed defaults.
const HEAD: &str = include_str!("config/head.toml");

/// All of it; the keys are explained in `config/head.toml`. Listeners bind to loopback unless the
/// file says otherwise.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    pub(crate) data_dir: PathBuf,
    #[serde(deserialize_with = "source::text")]
    pub(crate) member: String,
    pub(crate) worker_threads: NonZeroU32,
    pub(crate) shards: NonZeroU32,
    pub(crate) task_partitions: NonZeroU32,
    pub(crate) grpc: SocketAddr,
    pub(crate) pos_http: SocketAddr,
    pub(crate) merchant_keys_file: PathBuf,
    pub(crate) admin: SocketAddr,
    pub(crate) operators: SocketAddr,
    pub(crate) wallet: SocketAddr,
    pub(crate) fisc: SocketAddr,
    pub(crate) simulator_data_dir: PathBuf,
    pub(crate) answer_within_ms: u64,
    pub(crate) call_timeout_ms: u64,
    pub(crate) calls_max: usize,
    pub(crate) checkpoint_interval_ms: u64,
    pub(crate) kafka: KafkaConfig,
    pub(crate) settlement: SettlementConfig,
    pub(crate) policy: PolicyDocument,
}

/// How many shards one task partition may serve.
const SHARDS_PER_TASK_PARTITION_MAX: u64 = 128;

impl Default for Config {
    fn default() -> Self {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            data_dir: "data".into(),
            member: "0".to_owned(),
            worker_threads: NonZeroU32::MIN.saturating_add(1),
            shards: NonZeroU32::MIN.saturating_add(7),
            task_partitions: NonZeroU32::MIN.saturating_add(1),
            grpc: local(50_051),
            pos_http: local(50_080),
            merchant_keys_file: PathBuf::new(),
            admin: local(9_090),
            operators: local(50_071),
            wallet: local(50_061),
            fisc: local(50_062),
            simulator_data_dir: "data-simulator".into(),
            answer_within_ms: 12_000,
            call_timeout_ms: 4_000,
            calls_max: 16_384,
            checkpoint_interval_ms: 200,
            kafka: KafkaConfig::default(),
            settlement: SettlementConfig::default(),
            policy: PolicyDocument::default(),
        }
    }
}

impl Config {
    /// Reads the file, puts the environment over it, and checks the whole; what neither says has
    /// its default.
    pub(crate) fn load(path: Option<&Path>) -> anyhow::Result<Self> {
        Self::from_sources(
            path,
            std::env::vars_os().filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?))),
        )
    }

    fn from_sources(path: Option<&Path>, variables: impl Iterator<Item = (String, String)>) -> anyhow::Result<Self> {
        let place =
            || path.map_or_else(|| "configuration".to_owned(), |path| format!("configuration {}", path.display()));
        let mut table = source::file(path)?;
        source::overlay(&mut table, variables)?;
        renamed::check(&table).map_err(anyhow::Error::msg).with_context(place)?;
        let config: Self = source::typed(table).map_err(anyhow::Error::msg).with_context(place)?;
        config.check().with_context(place)?;
        Ok(config)
    }

    /// The defaults as a file, with what each key means.
    pub(crate) fn printed_defaults() -> anyhow::Result<String> {
        Ok(format!("{HEAD}{}", toml::to_string(&Self::default()).context("the defaults cannot be printed")?))
    }

    /// Everything that is wrong, in one error.
    fn check(&self) -> anyhow::Result<()> {
        let mut faults = Vec::new();
        // A worker's position has an entry for each shard that its partition serves.
        let task_partitions_min = u64::from(self.shards.get()).div_ceil(SHARDS_PER_TASK_PARTITION_MAX);
        let ranges = [
            ("shards", u64::from(self.shards.get()), 1..=1_024),
            ("worker_threads", u64::from(self.worker_threads.get()), 1..=256),
            (
                "task_partitions",
                u64::from(self.task_partitions.get()),
                task_partitions_min..=u64::from(self.shards.get()),
            ),
            ("answer_within_ms", self.answer_within_ms, 100..=14_000),
            ("call_timeout_ms", self.call_timeout_ms, 10..=60_000),
            ("calls_max", self.calls_max as u64, 1..=1_000_000),
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
        faults.extend(self.kafka.faults());
        faults.extend(self.settlement.faults());
        if let Err(wrong) = self.policy.policy() {
            faults.extend(wrong.iter().map(|fault| format!("policy.{fault}")));
        }
        if !faults.is_empty() {
            bail!("{}", faults.join("; "));
        }
        Ok(())
    }

    /// Whether the files that it names can be used.
    pub(crate) fn check_files(&self) -> anyhow::Result<()> {
        self.pos_http_settings().check_keys().context("merchant_keys_file")?;
        self.kafka.settings().map(drop)
    }

    /// The POS HTTP form; an empty path means no file.
    pub(crate) fn pos_http_settings(&self) -> HttpSettings {
        let keys_file = Some(self.merchant_keys_file.clone()).filter(|file| !file.as_os_str().is_empty());
        HttpSettings { listen: self.pos_http, keys_file }
    }

    /// The same with times short enough for many failures in a minute; a group notices who is gone
    /// after 2 s.
    pub(crate) fn quickened(&self) -> Self {
        let mut quick = self.clone();
        quick.call_timeout_ms = 800;
        quick.kafka.session_timeout_ms = 2_000;
        quick.policy.quicken();
        quick
    }

    /// The topics on a cluster, as this configuration wants them.
    pub(crate) fn layout(&self) -> Layout {
        Layout {
            shards: self.shards.get(),
            task_partitions: self.task_partitions.get(),
            replies_partitions: self.kafka.replies_partitions,
            replication: self.kafka.replication,
            min_insync: self.kafka.min_insync,
            retention_hours: self.kafka.retention_hours,
        }
    }

    /// Where a client finds the operators' API.
    pub(crate) fn operators_endpoint(&self, wanted: Option<&str>) -> String {
        wanted.map_or_else(|| format!("http://{}", self.operators), str::to_owned)
    }

    /// The policy of the domain.
    pub(crate) fn policy(&self) -> anyhow::Result<Policy> {
        self.policy.policy().map_err(|faults| anyhow!("policy: {}", crate::policy::listed(&faults)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, variables: &[(&str, &str)]) -> anyhow::Result<Config> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("twqr.toml");
        std::fs::write(&file, text).unwrap();
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::from_sources(Some(&file), variables)
    }

    #[test]
    fn the_printed_defaults_are_the_defaults_and_good() {
        let printed = Config::printed_defaults().unwrap();
        assert_eq!(load(&printed, &[]).unwrap(), Config::default());
    }

    #[test]
    fn every_key_is_explained() {
        let table: toml::Table = toml::from_str(&toml::to_string(&Config::default()).unwrap()).unwrap();
        for key in table.keys() {
            assert!(HEAD.contains(key), "{key} is not explained in config/head.toml");
        }
    }

    #[test]
    fn each_fault_names_its_key() {
        for (text, expected) in [
            ("grcp = \"127.0.0.1:1\"", "unknown field `grcp`"),
            ("shards = 0", "shards"),
            ("shards = 4\ntask_partitions = 5", "task_partitions is 5, must be 1 to 4"),
            (
                "answer_within_ms = 15000\ncalls_max = 0",
                "answer_within_ms is 15000, must be 100 to 14000; calls_max is 0",
            ),
            ("grpc = \"here\"", "grpc"),
            ("[kafka]\nmin_insync = 2", "kafka.min_insync is 2, must be 1 to 1"),
            (
                "[kafka.properties]\n\"sasl.password\" = \"SECRET\"",
                "sasl.password is a secret; put it into a file and name that in kafka.password_file",
            ),
            (
                "[kafka.properties]\n\"ssl.key.password\" = \"SECRET\"",
                "ssl.key.password is a secret; put it into a file and name that in kafka.property_files",
            ),
            ("[kafka.properties]\n\"ssl.keystore.password\" = \"SECRET\"", "ssl.keystore.password is a secret"),
            ("[kafka.properties]\n\"ssl.key.pem\" = \"SECRET\"", "ssl.key.pem is a secret"),
            (
                "[kafka.properties]\n\"sasl.oauthbearer.client.secret\" = \"SECRET\"",
                "sasl.oauthbearer.client.secret is a secret",
            ),
            (
                "[kafka.property_files]\n\"sasl.password\" = \"a\"",
                "kafka.property_files: sasl.password belongs into kafka.password_file",
            ),
            (
                "[kafka.properties]\n\"ssl.ca.pem\" = \"a\"\n[kafka.property_files]\n\"ssl.ca.pem\" = \"b\"",
                "kafka.property_files: ssl.ca.pem stands in kafka.properties, too",
            ),
            ("[kafka.properties]\n\"sasl.password\" = [\"SECRET\"]", "sasl.password must be a text in quotes"),
            ("shards = 1\n\"sasl.password\" = SECRET", "twqr.toml, line 2: "),
            ("shards = 1\nshards = \"SECRET\"", "twqr.toml, line 2: "),
            ("member = true", "member: must be a text"),
            (
                "[[policy.issuers]]\ninstitution = \"004\"\nlimits = { open_ms = 1 }",
                "policy.issuers[0].limits.open_ms: is 1, must be 10 to 600000",
            ),
            (
                "[policy]\ncut_off = \"24:00\"\n[settlement.layout]\nencoding = \"latin1\"",
                "settlement.layout.encoding is \"latin1\"",
            ),
            (
                "[policy]\ncut_off = \"24:00\"",
                "policy.cut_off: is \"24:00\": a cut-off is a time of day of the form HH:MM, 00:00 to 23:59 (Asia/Taipei)",
            ),
            ("[settlement]\ncut_off = \"02:00\"", "settlement.cut_off is now policy.cut_off"),
            (
                "[[policy.issuers]]\ninstitution = \"004\"\n[[policy.issuers.maintenance]]\nfrom = \"now\"\nto = \"2026-12-01T04:00:00+08:00\"",
                "policy.issuers[0].maintenance[0]",
            ),
            (
                "[[policy.issuers]]\ninstitution = \"004\"\n[[policy.issuers.maintenance]]\nfrom = \"2026-12-01T05:00:00+08:00\"\nto = \"2026-12-01T04:00:00+08:00\"",
                "policy.issuers[0].maintenance[0]",
            ),
        ] {
            let error = format!("{:#}", load(text, &[]).unwrap_err());
            assert!(error.contains(expected) && error.contains("twqr.toml"), "{error}");
            assert!(!error.contains("SECRET"), "{error}");
        }
    }

    #[test]
    fn the_environment_goes_before_the_file() {
        let variables = [
            ("TWQR__GRPC", "127.0.0.1:7"),
            ("TWQR__CALLS_MAX", "9"),
            ("TWQR__POLICY__NAME", "x"),
            ("TWQR_LOG", "info"),
        ];
        let config = load("calls_max = 8\nshards = 3", &variables).unwrap();
        assert_eq!((config.grpc.port(), config.calls_max, config.shards.get()), (7, 9, 3));
        assert_eq!(config.policy().unwrap().name, "x");
        let error = format!("{:#}", load("", &[("TWQR__CALLS_MAX", "many")]).unwrap_err());
        assert!(error.contains("calls_max"), "{error}");
        assert!(load("", &[("TWQR__GRPC__X", "1")]).is_err());
    }
}
