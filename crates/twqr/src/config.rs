//! Configuration: typed, and checked as a whole before a port opens. Every error says which key, what was wrong, what is allowed.

use std::{
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use twqr_order::{Policy, Resolution, Route, StatusCodes};
use twqr_types::Issuer;

/// All of it. Listeners bind to loopback unless the file says otherwise.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Where journal and local store are.
    pub(crate) data_dir: PathBuf,
    /// Shards: fixed when the data directory is created.
    pub(crate) shards: NonZeroU32,
    /// The public gRPC API.
    pub(crate) grpc: SocketAddr,
    /// Metrics and health.
    pub(crate) admin: SocketAddr,
    /// The wallet.
    pub(crate) wallet: SocketAddr,
    /// FISC.
    pub(crate) fisc: SocketAddr,
    /// Where the simulator keeps its ledger.
    pub(crate) simulator_data_dir: PathBuf,
    /// How long a caller waits for a result, in ms: 100 to 14000.
    pub(crate) answer_within_ms: u64,
    /// How long a call to a backend may take, in ms: 10 to 60000.
    pub(crate) call_timeout_ms: u64,
    /// How many calls wait at once: 1 to 1000000.
    pub(crate) calls_max: usize,
    /// How long changed states may wait for their checkpoint, in ms: 10 to 10000.
    pub(crate) checkpoint_interval_ms: u64,
    /// The rules by which orders are decided.
    pub(crate) policy: PolicyConfig,
}

/// The policy as it stands in the file.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicyConfig {
    name: String,
    send_within_ms: i64,
    card_not_supported: String,
    fisc_abnormal: String,
    issuer_declined: String,
    routes: Vec<RouteConfig>,
}

/// A route as it stands in the file.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct RouteConfig {
    prefix: String,
    institution: String,
    code_lengths: Vec<u32>,
    window_ms: i64,
    first_delay_ms: i64,
    delay_max_ms: i64,
}

impl Default for Config {
    fn default() -> Self {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            data_dir: "data".into(),
            shards: NonZeroU32::MIN.saturating_add(7),
            grpc: local(50_051),
            admin: local(9_090),
            wallet: local(50_061),
            fisc: local(50_062),
            simulator_data_dir: "data-simulator".into(),
            answer_within_ms: 12_000,
            call_timeout_ms: 4_000,
            calls_max: 16_384,
            checkpoint_interval_ms: 200,
            policy: PolicyConfig::default(),
        }
    }
}

impl Default for PolicyConfig {
    fn default() -> Self {
        let codes = StatusCodes::default();
        let route = |issuer: &twqr_loadgen::Issuer| RouteConfig {
            prefix: issuer.prefix.to_owned(),
            institution: issuer.institution.to_owned(),
            code_lengths: vec![issuer.code_length as u32],
            window_ms: if issuer.institution.is_empty() { 3_000 } else { 5_000 },
            first_delay_ms: 1_000,
            delay_max_ms: 60_000,
        };
        Self {
            name: "default".to_owned(),
            send_within_ms: 5_000,
            card_not_supported: codes.card_not_supported,
            fisc_abnormal: codes.fisc_abnormal,
            issuer_declined: codes.issuer_declined,
            routes: twqr_loadgen::ISSUERS.iter().map(route).collect(),
        }
    }
}

impl Config {
    /// Reads and checks the file; without one, the defaults.
    pub(crate) fn load(file: Option<&Path>) -> anyhow::Result<Self> {
        let Some(file) = file else { return Ok(Self::default()) };
        let text = std::fs::read_to_string(file).with_context(|| format!("configuration {}", file.display()))?;
        let config: Self = toml::from_str(&text).with_context(|| format!("configuration {}", file.display()))?;
        config.check().with_context(|| format!("configuration {}", file.display()))?;
        Ok(config)
    }

    fn check(&self) -> anyhow::Result<()> {
        let mut faults = Vec::new();
        let ranges = [
            ("shards", u64::from(self.shards.get()), 1..=1_024),
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
        match self.policy() {
            Ok(policy) => faults.extend(policy.faults().iter().map(|fault| format!("policy.{fault}"))),
            Err(error) => faults.push(error.to_string()),
        }
        if !faults.is_empty() {
            bail!("{}", faults.join("; "));
        }
        Ok(())
    }

    /// The policy of the domain.
    pub(crate) fn policy(&self) -> anyhow::Result<Policy> {
        let policy = &self.policy;
        let route = |(i, route): (usize, &RouteConfig)| {
            let issuer =
                Issuer::parse(&route.institution).with_context(|| format!("policy.routes[{i}].institution"))?;
            let resolution = Resolution {
                window_ms: route.window_ms,
                first_delay_ms: route.first_delay_ms,
                delay_max_ms: route.delay_max_ms,
            };
            Ok(Route { prefix: route.prefix.clone(), issuer, code_lengths: route.code_lengths.clone(), resolution })
        };
        Ok(Policy {
            name: policy.name.clone(),
            routes: policy.routes.iter().enumerate().map(route).collect::<anyhow::Result<_>>()?,
            status_codes: StatusCodes {
                card_not_supported: policy.card_not_supported.clone(),
                fisc_abnormal: policy.fisc_abnormal.clone(),
                issuer_declined: policy.issuer_declined.clone(),
            },
            send_within_ms: policy.send_within_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_defaults_are_the_defaults_and_good() {
        let printed = toml::to_string(&Config::default()).unwrap();
        let read: Config = toml::from_str(&printed).unwrap();
        assert_eq!(read, Config::default());
        read.check().unwrap();
    }

    #[test]
    fn each_fault_names_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("twqr.toml");
        for (text, expected) in [
            ("grcp = \"127.0.0.1:1\"", "unknown field `grcp`"),
            ("shards = 0", "shards"),
            ("answer_within_ms = 15000", "answer_within_ms is 15000, must be 100 to 14000"),
            ("grpc = \"here\"", "grpc"),
        ] {
            std::fs::write(&file, text).unwrap();
            let error = format!("{:#}", Config::load(Some(&file)).unwrap_err());
            assert!(error.contains(expected) && error.contains("twqr.toml"), "{error}");
        }
    }
}
