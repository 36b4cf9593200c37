//! Where settings come from: the file, then the environment over it.

use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use serde::{Deserialize, de::DeserializeOwned};
use toml::{Table, Value};

/// Variables that begin with this set keys.
pub(crate) const PREFIX: &str = "TWQR__";

/// The file's table; empty without a file.
pub(crate) fn file(path: Option<&Path>) -> anyhow::Result<Table> {
    let Some(path) = path else { return Ok(Table::new()) };
    let text =
        std::fs::read_to_string(path).with_context(|| format!("configuration {} cannot be read", path.display()))?;
    parse_table(&text).map_err(|fault| anyhow!("configuration {}, {fault}", path.display()))
}

/// Reads TOML. The error names the line and never shows it, since a secret may stand there.
pub fn parse_table(text: &str) -> Result<Table, String> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |at| text.bytes().take(at.start).filter(|byte| *byte == b'\n').count() + 1);
        format!("line {line}: {}", error.message())
    })
}

/// What a table says, as its type; the error names the key.
pub fn typed<T: DeserializeOwned>(table: Table) -> Result<T, String> {
    serde_path_to_error::deserialize(Value::Table(table)).map_err(|error| {
        let (key, what) = (error.path().to_string(), error.inner().message());
        if key == WHOLE { what.to_owned() } else { format!("{key}: {what}") }
    })
}

/// How the path of an error names the table itself.
const WHOLE: &str = ".";

/// Sets the keys that variables name: `TWQR__POLICY__NAME=x` is `policy.name`.
pub(crate) fn overlay(table: &mut Table, variables: impl Iterator<Item = (String, String)>) -> anyhow::Result<()> {
    for (name, text) in variables {
        let Some(path) = name.strip_prefix(PREFIX) else { continue };
        let path = path.to_ascii_lowercase();
        let mut keys: Vec<&str> = path.split("__").collect();
        let Some(last) = keys.pop().filter(|key| !key.is_empty()) else { bail!("{name} names no key") };
        let mut place = &mut *table;
        for key in keys {
            let level = place.entry(key).or_insert_with(|| Value::Table(Table::new()));
            let Value::Table(level) = level else { bail!("{name}: {key} is no table of the configuration") };
            place = level;
        }
        place.insert(last.to_owned(), value(&text));
    }
    Ok(())
}

/// Gives the section `name` the keys of `defaults` that it leaves out.
pub(crate) fn fill_in(table: &mut Table, name: &str, defaults: Table) -> anyhow::Result<()> {
    let section = table.entry(name).or_insert_with(|| Value::Table(Table::new()));
    let Value::Table(section) = section else { bail!("{name} is no table of the configuration") };
    for (key, value) in defaults {
        section.entry(key).or_insert(value);
    }
    Ok(())
}

/// As TOML where it is (numbers, booleans, lists, quoted text), else as text.
fn value(text: &str) -> Value {
    let parsed = toml::from_str::<Table>(&format!("value = {text}")).ok().and_then(|mut table| table.remove("value"));
    parsed.unwrap_or_else(|| Value::String(text.to_owned()))
}

/// A text, also where it looks like a number, as it may in the environment.
pub(crate) fn text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "must be a text, such as \"router-0\", or a whole number from 0 on")]
    enum Text {
        Text(String),
        Number(u64),
    }
    Ok(match Text::deserialize(deserializer)? {
        Text::Text(text) => text,
        Text::Number(number) => number.to_string(),
    })
}
