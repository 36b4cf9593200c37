//! The configuration of an older build. That build refuses keys which it does not know, so it gets
//! its own defaults, with the values of this build's configuration for the keys that both know.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use toml::{Table, Value};
use twqr_config::Config;

use super::programs::{Build, Programs};

/// Writes the configuration for the older build, if one takes part; returns the file.
pub(super) async fn write_config(programs: &Programs, dir: &Path, config: &Config) -> anyhow::Result<Option<PathBuf>> {
    if programs.first_build() == Build::Present {
        return Ok(None);
    }
    let printed = programs.twqr(Build::Older).args(["config", "default"]).output().await?;
    anyhow::ensure!(printed.status.success(), "the older build does not print its defaults ({})", printed.status);
    let mut older: Table = toml::from_str(&String::from_utf8(printed.stdout)?)?;
    adopt(&mut older, &Table::try_from(config)?);
    let path = dir.join("older.toml");
    std::fs::write(&path, toml::to_string(&older)?).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Some(path))
}

/// Replaces each value of `older` that has a counterpart in `present`.
fn adopt(older: &mut Table, present: &Table) {
    for (key, value) in older {
        match (value, present.get(key)) {
            (Value::Table(older), Some(Value::Table(present))) => adopt(older, present),
            (Value::Array(older), Some(Value::Array(present))) => {
                let known = older.first().and_then(Value::as_table).cloned();
                *older = present.iter().map(|entry| with_known_keys(entry, known.as_ref())).collect();
            }
            (value, Some(present)) if value.same_type(present) => *value = present.clone(),
            (_, _) => {}
        }
    }
}

/// An entry of a list, such as an issuer's rules, without the keys that `known` does not have.
fn with_known_keys(entry: &Value, known: Option<&Table>) -> Value {
    let (Value::Table(entry), Some(known)) = (entry, known) else { return entry.clone() };
    let kept = entry.iter().filter_map(|(key, value)| {
        let known = known.get(key)?;
        Some((key.clone(), with_known_keys(value, known.as_table())))
    });
    Value::Table(kept.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_build_gets_the_values_of_the_keys_that_it_knows() {
        let mut older: Table = toml::from_str(
            "grpc = 'a'\ngone = 1\n[kafka]\nprefix = ''\n[[issuers]]\nwindow = 1\n[issuers.limits]\nqueue = 1\n",
        )
        .unwrap();
        let present: Table = toml::from_str(
            "grpc = 'b'\nnew = 1\n[kafka]\nprefix = 'p.'\nnew = 1\n[[issuers]]\nwindow = 2\nnew = true\n\
             [issuers.limits]\nqueue = 3\nnew = 1\n[[issuers]]\nwindow = 4\n",
        )
        .unwrap();
        adopt(&mut older, &present);
        let expected: Table = toml::from_str(
            "grpc = 'b'\ngone = 1\n[kafka]\nprefix = 'p.'\n[[issuers]]\nwindow = 2\n[issuers.limits]\nqueue = 3\n\
             [[issuers]]\nwindow = 4\n",
        )
        .unwrap();
        assert_eq!(older, expected);
    }
}
