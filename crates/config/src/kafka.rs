//! The section `[kafka]`: how the cluster is reached, and how its topics are laid out.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use anyhow::{Context as _, anyhow};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use twqr_journal::kafka::{KafkaSettings, min_insync_least};

use crate::consistency::bootstrap_faults;

/// The section `[kafka]`. With an empty `bootstrap`, `twqr up` uses the embedded journal.
#[derive(Clone, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaConfig {
    /// Brokers to connect to first, as `host:port`, separated by commas; empty: embedded journal.
    pub bootstrap: String,
    /// The prefix of every topic and group.
    pub prefix: String,
    /// How many partitions `replies` has, one for each ingress: 1 to 1,024, fixed at creation.
    pub replies_partitions: u32,
    /// How many copies of each record the cluster keeps: 1 to 9.
    pub replication: u32,
    /// How many copies must be written before a record counts: 1 to `replication`, and at least 2
    /// of several.
    pub min_insync: u32,
    /// How long orders' records and tasks are kept, in hours: 1 to 8,760.
    pub retention_hours: u32,
    /// How long a member may be silent before others take over, in ms: 1,000 to 300,000.
    pub session_timeout_ms: u32,
    /// How long an append is retried before it fails, in ms: 1,000 to 300,000.
    pub append_timeout_ms: u32,
    /// How much memory records on their way to the brokers may take, in MiB: 8 to 2,047. Without
    /// it, 256, or less in a small container.
    pub queue_mib: Option<u32>,
    password_file: PathBuf,
    #[serde(deserialize_with = "properties")]
    properties: BTreeMap<String, String>,
    property_files: BTreeMap<String, PathBuf>,
}

/// How much memory records on their way to the brokers may take, in MiB, unless it is configured.
const QUEUE_MIB: u32 = 256;
/// The property that `password_file` sets.
const PASSWORD: &str = "sasl.password";
/// Properties with these suffixes contain secrets, so they are read from files only.
const SECRET_SUFFIXES: [&str; 4] = ["password", "secret", "passphrase", "key.pem"];

fn is_secret(property: &str) -> bool {
    SECRET_SUFFIXES.iter().any(|end| property.ends_with(end))
}

/// Deserializes properties, which must be text. The error never shows a value.
fn properties<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let table = toml::Table::deserialize(deserializer)?;
    let property = |(name, value): (String, toml::Value)| match value {
        toml::Value::String(text) => Ok((name, text)),
        toml::Value::Integer(_)
        | toml::Value::Float(_)
        | toml::Value::Boolean(_)
        | toml::Value::Datetime(_)
        | toml::Value::Array(_)
        | toml::Value::Table(_) => Err(D::Error::custom(format!("{name} must be text in quotes"))),
    };
    table.into_iter().map(property).collect()
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            bootstrap: String::new(),
            prefix: "twqr.".to_owned(),
            replies_partitions: 16,
            replication: 1,
            min_insync: 1,
            retention_hours: 168,
            session_timeout_ms: 6_000,
            append_timeout_ms: 60_000,
            queue_mib: None,
            password_file: PathBuf::new(),
            properties: BTreeMap::new(),
            property_files: BTreeMap::new(),
        }
    }
}

impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaConfig")
            .field("bootstrap", &self.bootstrap)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl KafkaConfig {
    pub(crate) fn faults(&self) -> Vec<String> {
        let ranges = [
            ("replies_partitions", self.replies_partitions, 1..=1_024),
            ("replication", self.replication, 1..=9),
            ("min_insync", self.min_insync, min_insync_least(self.replication)..=self.replication.max(1)),
            ("retention_hours", self.retention_hours, 1..=8_760),
            ("session_timeout_ms", self.session_timeout_ms, 1_000..=300_000),
            ("queue_mib", self.queue_mib(), 8..=2_047),
            ("append_timeout_ms", self.append_timeout_ms, 1_000..=300_000),
        ];
        let fault = |(key, value, range): (&str, u32, std::ops::RangeInclusive<u32>)| {
            let (least, most) = (range.start(), range.end());
            (!range.contains(&value)).then(|| format!("kafka.{key} is {value}, must be {least} to {most}"))
        };
        let mut faults: Vec<String> = ranges.into_iter().filter_map(fault).collect();
        faults.extend(bootstrap_faults(&self.bootstrap));
        let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if self.prefix.len() > 100 || !self.prefix.chars().all(letter) {
            let prefix = &self.prefix;
            faults.push(format!(
                "kafka.prefix is {prefix:?}, must be at most 100 ASCII letters, digits, '.', '_' or '-'"
            ));
        }
        let secrets = self.properties.keys().filter(|property| is_secret(property));
        faults.extend(secrets.map(|property| {
            let key = if property == PASSWORD { "kafka.password_file" } else { "kafka.property_files" };
            format!("kafka.properties: {property} is a secret; put it into a file and name that in {key}")
        }));
        faults.extend(self.property_files.keys().filter_map(|property| {
            let what = match property.as_str() {
                PASSWORD => "belongs into kafka.password_file",
                property if self.properties.contains_key(property) => "stands in kafka.properties, too; name it once",
                _ => return None,
            };
            Some(format!("kafka.property_files: {property} {what}"))
        }));
        faults
    }

    /// How much memory records on their way to the brokers may take, in MiB.
    pub fn queue_mib(&self) -> u32 {
        self.queue_mib.unwrap_or(QUEUE_MIB)
    }

    /// Returns the settings of the Kafka journal. Reads the files that contain secrets.
    pub fn settings(&self) -> anyhow::Result<KafkaSettings> {
        let mut properties = self.properties.clone();
        let password = Some((PASSWORD, &self.password_file)).filter(|(_, file)| !file.as_os_str().is_empty());
        let named = self.property_files.iter().map(|(property, file)| (property.as_str(), file));
        for (property, file) in named.chain(password) {
            let key = if property == PASSWORD { "password_file" } else { "property_files" };
            let place = || format!("kafka.{key}: {property}: {}", file.display());
            let text = std::fs::read(file).and_then(twqr_files::text);
            let text = text.with_context(|| format!("{} cannot be read", place()))?;
            let secret = twqr_files::secret(&text).map_err(|what| anyhow!("{} {what}", place()))?;
            properties.insert(property.to_owned(), secret.to_owned());
        }
        Ok(KafkaSettings {
            bootstrap: self.bootstrap.clone(),
            prefix: self.prefix.clone(),
            properties,
            session_timeout_ms: self.session_timeout_ms,
            append_timeout_ms: self.append_timeout_ms,
            queue_kib_max: self.queue_mib() * 1_024,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_files_lose_line_ends_and_may_have_no_blanks_at_their_edges() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let config = KafkaConfig { password_file: file.path().to_owned(), ..KafkaConfig::default() };
        for (text, expected) in [
            ("SECRET", Ok("SECRET")),
            ("\u{feff}SECRET\r\n", Ok("SECRET")),
            ("\nSECRET\n\n", Ok("SECRET")),
            (" SECRET", Err("begins or ends with a blank")),
            ("SECRET \n", Err("begins or ends with a blank")),
            ("\n", Err("is empty")),
        ] {
            std::fs::write(file.path(), text).unwrap();
            match (config.settings().map_err(|error| format!("{error:#}")), expected) {
                (Ok(settings), Ok(expected)) => assert_eq!(settings.properties[PASSWORD], expected),
                (Err(error), Err(expected)) => {
                    assert!(error.contains(expected) && !error.contains("SECRET"), "{error}");
                    assert!(error.starts_with("kafka.password_file: sasl.password: "), "{error}");
                }
                (Ok(_), Err(_)) | (Err(_), Ok(_)) => panic!("{text:?}"),
            }
        }
    }
}
