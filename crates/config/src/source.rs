//! Reads configuration from a TOML file and lets environment variables override it.

use std::{ffi::OsString, path::Path};

use anyhow::{Context as _, anyhow, bail};
use serde::{Deserialize, de::DeserializeOwned};
use toml::{Table, Value};

/// The prefix of environment variables that set keys.
pub(crate) const PREFIX: &str = "TWQR__";

/// Reads the file as a table; `-` is standard input. Returns an empty table without a file.
pub(crate) fn file(path: Option<&Path>) -> anyhow::Result<Table> {
    let Some(path) = path else { return Ok(Table::new()) };
    let text =
        twqr_files::read_text(path).with_context(|| format!("configuration {} cannot be read", path.display()))?;
    parse_table(&text).map_err(|fault| anyhow!("configuration {}, {fault}", path.display()))
}

/// Parses TOML. The error names the line but never shows its text, which may contain a secret.
pub fn parse_table(text: &str) -> Result<Table, String> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |at| text.bytes().take(at.start).filter(|byte| *byte == b'\n').count() + 1);
        format!("line {line}: {}", error.message())
    })
}

/// Deserializes a table; the error names the key.
pub fn typed<T: DeserializeOwned>(table: Table) -> Result<T, String> {
    serde_path_to_error::deserialize(Value::Table(table)).map_err(|error| {
        let (key, what) = (error.path().to_string(), error.inner().message());
        if key == WHOLE { what.to_owned() } else { format!("{key}: {what}") }
    })
}

/// The path in an error about the table as a whole.
const WHOLE: &str = ".";

/// Overrides keys with environment variables: `TWQR__POLICY__NAME=x` sets `policy.name`.
pub(crate) fn overlay(table: &mut Table, variables: impl Iterator<Item = (OsString, OsString)>) -> anyhow::Result<()> {
    for (name, text) in variables.filter(|(name, _)| name.as_encoded_bytes().starts_with(PREFIX.as_bytes())) {
        let (Some(name), Some(text)) = (name.to_str(), text.to_str()) else {
            bail!("the environment variable {} is not UTF-8; set it again as UTF-8", name.display())
        };
        let path = name.strip_prefix(PREFIX).unwrap_or_default();
        let path = path.to_ascii_lowercase();
        let mut keys: Vec<&str> = path.split("__").collect();
        let Some(last) = keys.pop().filter(|key| !key.is_empty()) else {
            bail!("{name} names no key; write a key of the configuration after {PREFIX}, with __ between levels")
        };
        let mut place = &mut *table;
        for key in keys {
            let level = place.entry(key).or_insert_with(|| Value::Table(Table::new()));
            let Value::Table(level) = level else { bail!("{name}: {key} is not a table of the configuration") };
            place = level;
        }
        place.insert(last.to_owned(), value(text));
    }
    Ok(())
}

/// The variables that set none of these keys, each written as in the configuration: `kafka.prefix`.
pub(crate) fn without(
    variables: impl Iterator<Item = (OsString, OsString)>,
    keys: &[&str],
) -> impl Iterator<Item = (OsString, OsString)> {
    let names: Vec<String> =
        keys.iter().map(|key| format!("{PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())).collect();
    variables.filter(move |(name, _)| !names.iter().any(|chosen| name.eq_ignore_ascii_case(chosen)))
}

/// Adds the keys of `defaults` that the section `name` leaves out.
pub(crate) fn fill_in(table: &mut Table, name: &str, defaults: Table) -> anyhow::Result<()> {
    let section = table.entry(name).or_insert_with(|| Value::Table(Table::new()));
    let Value::Table(section) = section else { bail!("{name} must be a table") };
    for (key, value) in defaults {
        section.entry(key).or_insert(value);
    }
    Ok(())
}

/// Parses a TOML value (number, boolean, list, quoted text); anything else is plain text.
fn value(text: &str) -> Value {
    let parsed = toml::from_str::<Table>(&format!("value = {text}")).ok().and_then(|mut table| table.remove("value"));
    parsed.unwrap_or_else(|| Value::String(text.to_owned()))
}

/// Deserializes text that may look like a number, as values of environment variables do.
pub(crate) fn text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "must be text, such as \"router-0\", or a whole number from 0 on")]
    enum Text {
        Text(String),
        Number(u64),
    }
    Ok(match Text::deserialize(deserializer)? {
        Text::Text(text) => text,
        Text::Number(number) => number.to_string(),
    })
}
