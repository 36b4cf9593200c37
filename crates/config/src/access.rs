//! The sections `[access]` and `[fairness]`: who may call, and how much of an ingress one caller or
//! merchant may use. A listener may let everyone in at an address that others can reach only if the
//! configuration says so.

use std::{collections::BTreeSet, net::SocketAddr};

use anyhow::Context as _;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use twqr_callers::{ApiKey, Caller, CallerLimits, CallerName, KeyHash, MerchantScope, Operation, Role};
use twqr_types::{KeyName, MerchantId, UnixMs};

use crate::source;

/// The section `[access]`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a key of its own in the file")]
pub struct AccessConfig {
    /// Whether `grpc` and `operators` let in only callers.
    pub required: bool,
    /// The listeners where a caller must show an API key and a certificate, both its own; at others
    /// one of them is enough.
    pub key_and_certificate: BTreeSet<CallerListener>,
    /// Whether `pos_http` lets in only callers, too, beside the merchants' signatures.
    pub pos_http_required: bool,
    /// Whether `grpc` and `operators` may let everyone in at an address that others can reach.
    pub insecure: bool,
    /// The same for `admin`, whose callers (probes, a collector of metrics) show no API key.
    pub insecure_admin: bool,
    /// The first version of each caller; changes in the log replace them.
    pub callers: Vec<CallerDocument>,
}

/// A listener that lets in callers.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum CallerListener {
    /// `grpc`, the public API.
    Grpc,
    /// `operators`, the operators' API.
    Operators,
}

/// The section `[fairness]`: limits of each ingress, 0 for none.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct FairnessConfig {
    /// Calls per second of a caller that has no limit of its own: up to 1,000,000.
    pub caller_calls_per_s: u32,
    /// Calls at once of a caller that has no limit of its own: up to 1,000,000.
    pub caller_calls_max: u32,
    /// Streams of payments that a caller may have open at once: up to 1,000,000.
    pub caller_streams_max: u32,
    /// Watches of orders that a caller may have open at once: up to 1,000,000.
    pub caller_watches_max: u32,
    /// Calls per second for a merchant: up to 1,000,000.
    pub merchant_calls_per_s: u32,
    /// Calls at once for a merchant: up to 1,000,000.
    pub merchant_calls_max: u32,
}

impl Default for FairnessConfig {
    fn default() -> Self {
        Self {
            caller_calls_per_s: 0,
            caller_calls_max: 0,
            // A quarter of the slots that an ingress has by default.
            caller_streams_max: 64,
            caller_watches_max: 1_024,
            merchant_calls_per_s: 0,
            merchant_calls_max: 0,
        }
    }
}

impl FairnessConfig {
    pub(crate) fn faults(&self) -> Vec<String> {
        let limits = [
            ("caller_calls_per_s", self.caller_calls_per_s),
            ("caller_calls_max", self.caller_calls_max),
            ("caller_streams_max", self.caller_streams_max),
            ("caller_watches_max", self.caller_watches_max),
            ("merchant_calls_per_s", self.merchant_calls_per_s),
            ("merchant_calls_max", self.merchant_calls_max),
        ];
        let wrong = limits.into_iter().filter(|(_, limit)| *limit > 1_000_000);
        wrong.map(|(key, limit)| format!("fairness.{key} is {limit}, must be 0 (no limit) to 1000000")).collect()
    }
}

/// A caller as a document.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct CallerDocument {
    name: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    certificates: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    merchants: Vec<String>,
    all_merchants: bool,
    operations: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    roles: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    calls_per_s: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    calls_max: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<KeyDocument>,
}

/// An API key as a document: its hash, never the key.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct KeyDocument {
    name: String,
    sha256: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<String>,
}

impl AccessConfig {
    /// The configured callers.
    pub fn callers(&self) -> anyhow::Result<Vec<Caller>> {
        let callers =
            self.callers.iter().map(|caller| caller.caller().map_err(|faults| anyhow::anyhow!(faults.join("; "))));
        callers.collect::<anyhow::Result<_>>().context("access.callers")
    }

    /// Lists what is wrong; `listeners` are those that callers reach, by their keys.
    pub(crate) fn faults(&self, listeners: &[(&str, SocketAddr)]) -> Vec<String> {
        let mut faults = Vec::new();
        let mut names = BTreeSet::new();
        for (i, document) in self.callers.iter().enumerate() {
            if !names.insert(&document.name) {
                faults.push(format!("access.callers[{i}].name is that of an earlier caller"));
            }
            if let Err(wrong) = document.caller() {
                faults.extend(wrong.into_iter().map(|fault| format!("access.callers[{i}].{fault}")));
            }
        }
        if !self.required && !self.key_and_certificate.is_empty() {
            faults.push("access.key_and_certificate names listeners, which needs access.required = true".to_owned());
        }
        if !self.required && !self.insecure {
            let open = listeners.iter().filter(|(_, address)| can_be_reached(*address));
            faults.extend(open.map(|(key, address)| {
                format!(
                    "{key} is {address}, which others can reach, and access.required is false, so everyone could call it: \
                     set access.required = true and name callers, or put {key} on loopback, or set access.insecure = true"
                )
            }));
        }
        faults
    }

    /// Returns what is wrong with the address of `admin`. This listener knows no callers, so others
    /// may reach it only if it demands certificates, or if the configuration says so.
    pub(crate) fn admin_fault(&self, address: SocketAddr, demands_certificates: bool) -> Option<String> {
        let is_open = can_be_reached(address) && !demands_certificates && !self.insecure_admin;
        is_open.then(|| {
            format!(
                "admin is {address}, which others can reach, and tls.admin demands no certificate, so everyone could read \
                 metrics and health: put admin on loopback, or name the authority of its callers' certificates in \
                 tls.admin.client_ca_file, or, if the network lets only your probes and your monitoring reach it, set \
                 access.insecure_admin = true"
            )
        })
    }
}

/// Whether other machines can reach a listener at this address.
fn can_be_reached(address: SocketAddr) -> bool {
    !address.ip().to_canonical().is_loopback()
}

impl CallerDocument {
    /// Reads a caller from a file; `-` is standard input. The error lists every fault.
    pub fn read(path: &std::path::Path) -> Result<Caller, Vec<String>> {
        let one = |problem: String| vec![format!("{}: {}", path.display(), problem.trim_end())];
        let text = twqr_files::read_text(path).map_err(|error| one(format!("cannot be read: {error}")))?;
        Self::parse(&text).map_err(|faults| faults.into_iter().flat_map(one).collect())
    }

    /// Reads a caller from TOML. The error lists every fault.
    pub fn parse(text: &str) -> Result<Caller, Vec<String>> {
        let one = |problem: String| vec![problem];
        let table = source::parse_table(text).map_err(one)?;
        source::typed::<Self>(table).map_err(one)?.caller()
    }

    /// Writes a caller as TOML.
    pub fn text(caller: &Caller) -> anyhow::Result<String> {
        toml::to_string(&Self::from(caller)).context("the caller cannot be printed")
    }

    fn caller(&self) -> Result<Caller, Vec<String>> {
        let mut faults = Vec::new();
        let name = CallerName::parse(self.name.clone()).map_err(|what| faults.push(format!("name {what}"))).ok();
        let keys = self
            .keys
            .iter()
            .enumerate()
            .filter_map(|(i, key)| key.key().map_err(|what| faults.push(format!("keys[{i}].{what}"))).ok());
        let keys = keys.collect();
        let merchant = |(i, id): (usize, &String)| {
            MerchantId::parse(id.clone()).map_err(|what| faults.push(format!("merchants[{i}] {what}"))).ok()
        };
        let listed: BTreeSet<MerchantId> = self.merchants.iter().enumerate().filter_map(merchant).collect();
        if self.all_merchants && !listed.is_empty() {
            faults.push("merchants must be empty with all_merchants = true".to_owned());
        }
        let operations = chosen("operations", &self.operations, Operation::ALL, &mut faults);
        let roles = chosen("roles", &self.roles, Role::ALL, &mut faults);
        let Some(name) = name else { return Err(faults) };
        let caller = Caller {
            name,
            certificates: self.certificates.iter().map(|name| name.as_str().into()).collect(),
            keys,
            merchants: if self.all_merchants { MerchantScope::All } else { MerchantScope::Only(listed) },
            operations,
            roles,
            limits: CallerLimits { calls_per_s: self.calls_per_s, calls_max: self.calls_max },
        };
        faults.extend(caller.faults().into_iter().map(|(field, what)| format!("{field} {what}")));
        if faults.is_empty() { Ok(caller) } else { Err(faults) }
    }
}

impl From<&Caller> for CallerDocument {
    fn from(caller: &Caller) -> Self {
        let key = |key: &ApiKey| KeyDocument {
            name: key.name.as_str().to_owned(),
            sha256: key.hash.to_string(),
            from: key.from.map(time_text),
            until: key.until.map(time_text),
        };
        let (merchants, all_merchants) = match &caller.merchants {
            MerchantScope::All => (Vec::new(), true),
            MerchantScope::Only(listed) => (listed.iter().map(|id| id.as_str().to_owned()).collect(), false),
        };
        Self {
            name: caller.name.to_string(),
            certificates: caller.certificates.iter().map(ToString::to_string).collect(),
            merchants,
            all_merchants,
            operations: caller.operations.iter().map(|operation| operation.name().to_owned()).collect(),
            roles: caller.roles.iter().map(|role| role.name().to_owned()).collect(),
            calls_per_s: caller.limits.calls_per_s,
            calls_max: caller.limits.calls_max,
            keys: caller.keys.iter().map(key).collect(),
        }
    }
}

impl KeyDocument {
    fn key(&self) -> Result<ApiKey, String> {
        let time = |key: &str, text: &Option<String>| {
            text.as_deref().map(|text| parse_time(text).map_err(|what| format!("{key} {what}"))).transpose()
        };
        Ok(ApiKey {
            name: KeyName::parse(self.name.clone()).map_err(|what| format!("name {what}"))?,
            hash: KeyHash::parse(&self.sha256).map_err(|what| format!("sha256 {what}"))?,
            from: time("from", &self.from)?,
            until: time("until", &self.until)?,
        })
    }
}

/// Parses a time with its offset, such as 2026-12-01T00:00:00+08:00.
pub fn parse_time(text: &str) -> Result<UnixMs, String> {
    let at = text.parse::<Timestamp>().map(|at| UnixMs(at.as_millisecond())).ok();
    at.filter(|at| at.is_in_business_years())
        .ok_or_else(|| format!("is {text:?}, must be a time such as 2026-12-01T00:00:00+08:00"))
}

fn time_text(at: UnixMs) -> String {
    Timestamp::from_millisecond(at.0).map_or_else(|_| at.0.to_string(), |at| at.to_string())
}

fn chosen<T: Copy + Ord>(key: &str, names: &[String], all: &[(T, &str)], faults: &mut Vec<String>) -> BTreeSet<T> {
    let mut chosen = BTreeSet::new();
    for (i, name) in names.iter().enumerate() {
        match crate::policy::choice(name, all) {
            Ok(value) => drop(chosen.insert(value)),
            Err(what) => faults.push(format!("{key}[{i}] {what}")),
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listeners(address: &str) -> [(&'static str, SocketAddr); 1] {
        [("grpc", address.parse().unwrap())]
    }

    /// Addresses, and whether only this machine reaches them.
    const ADDRESSES: [(&str, bool); 6] = [
        ("127.0.0.1:1", true),
        ("[::1]:1", true),
        ("[::ffff:127.0.0.1]:1", true),
        ("0.0.0.0:1", false),
        ("[::]:1", false),
        ("10.0.0.1:1", false),
    ];

    #[test]
    fn a_listener_that_others_reach_needs_callers_or_the_word_insecure() {
        let open = AccessConfig::default();
        for (address, is_allowed) in ADDRESSES {
            let faults = open.faults(&listeners(address));
            assert_eq!(faults.is_empty(), is_allowed, "{address}: {faults:?}");
            if let Some(fault) = faults.first() {
                assert!(fault.starts_with("grpc is ") && fault.contains("access.insecure = true"), "{fault}");
            }
            for access in [
                AccessConfig { required: true, ..AccessConfig::default() },
                AccessConfig { insecure: true, ..AccessConfig::default() },
            ] {
                assert!(access.faults(&listeners(address)).is_empty());
            }
        }
    }

    #[test]
    fn admin_that_others_reach_needs_certificates_or_a_word_of_its_own() {
        let closed = AccessConfig::default();
        // Callers of `admin` show no API key, so the keys of other listeners say nothing about it.
        let elsewhere = AccessConfig { required: true, insecure: true, ..AccessConfig::default() };
        let open = AccessConfig { insecure_admin: true, ..AccessConfig::default() };
        for (address, is_local) in ADDRESSES {
            let fault =
                |access: &AccessConfig, certificates| access.admin_fault(address.parse().unwrap(), certificates);
            for access in [&closed, &elsewhere] {
                assert_eq!(fault(access, false).is_none(), is_local, "{address}: {access:?}");
                assert_eq!(fault(access, true), None, "{address}: {access:?}");
            }
            assert_eq!(fault(&open, false), None, "{address}");
            if let Some(fault) = fault(&closed, false) {
                let named = ["tls.admin.client_ca_file", "access.insecure_admin = true"].map(|key| fault.contains(key));
                assert!(fault.starts_with(&format!("admin is {address}, ")) && named == [true, true], "{fault}");
            }
        }
        assert!(open.faults(&listeners("0.0.0.0:1")).len() == 1, "the word for admin opens nothing else");
    }

    #[test]
    fn both_credentials_are_only_demanded_where_one_is() {
        let read = |text: &str| toml::from_str::<AccessConfig>(text).unwrap().faults(&[]);
        assert_eq!(read("required = true\nkey_and_certificate = [\"operators\", \"grpc\"]"), [""; 0]);
        let faults = read("key_and_certificate = [\"operators\"]");
        assert!(faults.len() == 1 && faults[0].contains("needs access.required = true"), "{faults:?}");
        assert!(toml::from_str::<AccessConfig>("key_and_certificate = [\"admin\"]").is_err());
    }

    #[test]
    fn a_caller_is_read_as_it_is_printed() {
        let text = format!(
            "name = \"shop\"\ncertificates = [\"pos.example\"]\nmerchants = [\"M1\"]\nall_merchants = false\n\
             operations = [\"pay\", \"query\"]\nroles = [\"viewer\"]\ncalls_per_s = 5\n\n[[keys]]\nname = \"2026-11\"\n\
             sha256 = \"{}\"\nuntil = \"2026-12-01T00:00:00Z\"\n",
            "ab".repeat(32)
        );
        let document: CallerDocument = source::typed(source::parse_table(&text).unwrap()).unwrap();
        let caller = document.caller().unwrap();
        assert_eq!(CallerDocument::text(&caller).unwrap(), text);
    }

    #[test]
    fn every_fault_of_a_caller_is_listed() {
        let text = "name = \"a b\"\nmerchants = [\"\"]\noperations = [\"charge\"]\n[[keys]]\nname = \"k\"\nsha256 = \"x\"\n\
                    [[keys]]\nname = \"l\"\nsha256 = \"x\"\nuntil = \"tomorrow\"";
        let document: CallerDocument = source::typed(source::parse_table(text).unwrap()).unwrap();
        let access = AccessConfig { callers: vec![document.clone(), document], ..AccessConfig::default() };
        let faults = access.faults(&[]);
        let expected = [
            "access.callers[0].name must",
            "access.callers[0].keys[0].sha256 must",
            "access.callers[0].keys[1].sha256 must",
            "access.callers[0].merchants[0] is required",
            "access.callers[0].operations[0] is \"charge\", must be one of pay, query",
            "access.callers[1].name is that",
        ];
        for (fault, expected) in faults.iter().zip(expected) {
            assert!(fault.starts_with(expected), "{fault}");
        }
        assert!(access.callers().is_err());
    }
}
