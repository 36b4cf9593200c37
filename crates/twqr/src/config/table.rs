//! Tables of keys: reading one notes every key that is unknown, missing or wrong; writing one gives the commented default file.

use config::{Value, ValueKind};

use super::setting::{Faults, Rule, Setting, shown};

/// Defines a table of the configuration: each key with its documentation, type, default (if it has one) and what is allowed.
macro_rules! table {
    ($(#[doc = $doc:literal])* $name:ident {
        $($(#[doc = $key_doc:literal])* $key:ident: $type:ty $(= $default:expr)?, $rule:expr;)*
    }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub(crate) struct $name { $($(#[doc = $key_doc])* pub(crate) $key: $type,)* }

        impl $crate::config::setting::Setting for $name {
            const ONE_A_LINE: bool = true;

            fn read(
                path: &str,
                value: &::config::Value,
                faults: &mut $crate::config::setting::Faults,
            ) -> Option<Self> {
                const KEYS: &[&str] = &[$(stringify!($key)),*];
                let table = $crate::config::table::known_keys(path, value, KEYS, faults)?;
                $(
                    let $key: Option<$type> = match table.get(stringify!($key)) {
                        Some(value) => $crate::config::table::one(path, stringify!($key), value, &$rule, faults),
                        None => $crate::config::table::absent(
                            path, stringify!($key), $crate::config::table::default_of!($($default)?), &$rule, faults,
                        ),
                    };
                )*
                Some(Self { $($key: $key?,)* })
            }

            fn toml(&self) -> String {
                let keys = [$(format!("{} = {}", stringify!($key), $crate::config::setting::Setting::toml(&self.$key))),*];
                format!("{{ {} }}", keys.join(", "))
            }

            fn inner_docs() -> String {
                let mut docs = String::new();
                $(
                    let text: &[&str] = &[$($key_doc),*];
                    let allowed = $crate::config::table::allowed::<$type>(&$rule);
                    docs.push_str(&$crate::config::table::comment("  ", Some(stringify!($key)), text, &allowed));
                )*
                docs
            }
        }

        impl $name {
            /// The table under its heading, with a comment for every key.
            #[allow(dead_code, reason = "tables within lists have no heading")]
            pub(crate) fn section(&self, heading: &str) -> String {
                let text: &[&str] = &[$($doc),*];
                let mut out = format!("{}[{heading}]\n", $crate::config::table::comment("", None, text, ""));
                $(
                    let text: &[&str] = &[$($key_doc),*];
                    let allowed = $crate::config::table::allowed::<$type>(&$rule);
                    out.push_str(&$crate::config::table::comment("", None, text, &allowed));
                    out.push_str(&<$type as $crate::config::setting::Setting>::inner_docs());
                    let value = $crate::config::setting::Setting::toml(&self.$key);
                    out.push_str(&format!("{} = {value}\n", stringify!($key)));
                )*
                out
            }
        }
    };
}

/// The default of a key, if it has one.
macro_rules! default_of {
    () => {
        None
    };
    ($default:expr) => {
        Some($default)
    };
}

pub(crate) use {default_of, table};

/// The table's keys, after those that nobody knows have been noted.
pub(crate) fn known_keys<'a>(
    path: &str,
    value: &'a Value,
    keys: &[&str],
    faults: &mut Faults,
) -> Option<&'a config::Map<String, Value>> {
    let ValueKind::Table(table) = &value.kind else {
        faults.add(
            path,
            format!("is {}, must be a table with the keys {}", shown(value), keys.join(", ")),
            Some(value),
        );
        return None;
    };
    let mut unknown: Vec<_> = table.iter().filter(|(key, _)| !keys.contains(&key.as_str())).collect();
    unknown.sort_by_key(|(key, _)| key.as_str());
    for (key, value) in unknown {
        let at = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        faults.add(&at, format!("is unknown; allowed here: {}", keys.join(", ")), Some(value));
    }
    Some(table)
}

/// Reads a key and checks it.
pub(crate) fn one<T: Setting>(
    path: &str,
    key: &str,
    value: &Value,
    rule: &impl Rule<T>,
    faults: &mut Faults,
) -> Option<T> {
    let path = format!("{path}.{key}");
    let read = T::read(&path, value, faults)?;
    if rule.admits(&read) {
        return Some(read);
    }
    faults.add(&path, format!("is {}, must be {}", shown(value), rule.allowed()), Some(value));
    None
}

/// A key that is not there: its default, or a fault.
pub(crate) fn absent<T: Setting>(
    path: &str,
    key: &str,
    default: Option<T>,
    rule: &impl Rule<T>,
    faults: &mut Faults,
) -> Option<T> {
    if default.is_none() {
        faults.add(&format!("{path}.{key}"), format!("is missing, must be {}", rule.allowed()), None);
    }
    default
}

/// What a rule allows, in words.
pub(crate) fn allowed<T>(rule: &impl Rule<T>) -> String {
    rule.allowed()
}

/// Comment lines of the default file.
pub(crate) fn comment(indent: &str, key: Option<&str>, text: &[&str], allowed: &str) -> String {
    let text = text.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
    let key = key.map(|key| format!("{key}: ")).unwrap_or_default();
    let allowed = if allowed.is_empty() { String::new() } else { format!(" Allowed: {allowed}.") };
    let mut lines = String::new();
    let mut line = String::new();
    for word in format!("{key}{text}{allowed}").split(' ') {
        if !line.is_empty() && line.len() + word.len() > 110 {
            lines.push_str(&format!("# {indent}{line}\n"));
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    format!("{lines}# {indent}{line}\n")
}
