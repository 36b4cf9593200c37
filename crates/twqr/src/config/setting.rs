//! One definition of a key gives its type, its range, its default and its text in the default file, so that the four never differ.

use std::{fmt, net::SocketAddr, ops::RangeInclusive, path::PathBuf, str::FromStr};

use config::{Value, ValueKind};

/// Where `config` says that a value came from, for values of environment variables.
const ENVIRONMENT: &str = "the environment";

/// What is wrong with one key, and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Such as `policy.routes[2].prefix`.
    pub(crate) key: String,
    /// Such as `is 0, must be 1 to 64`.
    pub(crate) problem: String,
    /// The file or the variable, where that is known.
    pub(crate) origin: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.problem)?;
        match &self.origin {
            Some(origin) => write!(f, " (set by {origin})"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong, in the order in which it was found.
#[derive(Debug, Default)]
pub(crate) struct Faults(pub(crate) Vec<Fault>);

impl Faults {
    /// Notes what is wrong with a value.
    pub(crate) fn add(&mut self, key: &str, problem: impl Into<String>, value: Option<&Value>) {
        let origin = value.and_then(|value| {
            let variable = || format!("TWQR_{}", key.replace('.', "__").to_uppercase());
            value.origin().map(|origin| if origin == ENVIRONMENT { variable() } else { origin.to_owned() })
        });
        self.0.push(Fault { key: key.to_owned(), problem: problem.into(), origin });
    }
}

/// A type that a key can have.
pub(crate) trait Setting: Sized {
    /// Whether lists of it are written with one entry a line.
    const ONE_A_LINE: bool = false;

    /// Reads the value of `key`, or notes why that is impossible.
    fn read(key: &str, value: &Value, faults: &mut Faults) -> Option<Self>;

    /// The value as TOML.
    fn toml(&self) -> String;

    /// Comment lines about the keys within, if it has some.
    fn inner_docs() -> String {
        String::new()
    }
}

/// What of a type's values a key allows.
pub(crate) trait Rule<T> {
    /// Whether this is one of them.
    fn admits(&self, value: &T) -> bool;
    /// All of them in words, such as `1 to 64`.
    fn allowed(&self) -> String;
}

impl<T: PartialOrd + fmt::Display> Rule<T> for RangeInclusive<T> {
    fn admits(&self, value: &T) -> bool {
        self.contains(value)
    }

    fn allowed(&self) -> String {
        format!("{} to {}", self.start(), self.end())
    }
}

/// Whatever the type can hold; the text says what that is.
pub(crate) struct Any(pub(crate) &'static str);

impl<T> Rule<T> for Any {
    fn admits(&self, _value: &T) -> bool {
        true
    }

    fn allowed(&self) -> String {
        self.0.to_owned()
    }
}

/// The value as the user wrote it, for an error; nothing in the configuration is a secret.
pub(crate) fn shown(value: &Value) -> String {
    match &value.kind {
        ValueKind::String(text) => format!("{text:?}"),
        ValueKind::Table(_) => "a table".to_owned(),
        ValueKind::Array(_) => "a list".to_owned(),
        other @ (ValueKind::Nil
        | ValueKind::Boolean(_)
        | ValueKind::I64(_)
        | ValueKind::I128(_)
        | ValueKind::U64(_)
        | ValueKind::U128(_)
        | ValueKind::Float(_)) => other.to_string(),
    }
}

fn from_environment(value: &Value) -> bool {
    value.origin() == Some(ENVIRONMENT)
}

/// The text of a string value.
fn text(value: &Value) -> Option<&str> {
    if let ValueKind::String(text) = &value.kind { Some(text) } else { None }
}

/// Reads a type that is written as text in this form.
pub(crate) fn parse_text<T: FromStr>(key: &str, value: &Value, form: &str, faults: &mut Faults) -> Option<T> {
    let read = text(value).and_then(|text| text.parse().ok());
    if read.is_none() {
        faults.add(key, format!("is {}, must be {form}", shown(value)), Some(value));
    }
    read
}

/// The number of an integer value; environment variables have only text.
fn integer(value: &Value) -> Option<i128> {
    if let ValueKind::I64(number) = value.kind {
        return Some(number.into());
    }
    text(value).filter(|_| from_environment(value)).and_then(|text| text.trim().parse().ok())
}

macro_rules! integers {
    ($($int:ty)*) => {$(
        impl Setting for $int {
            fn read(key: &str, value: &Value, faults: &mut Faults) -> Option<Self> {
                let read = integer(value).and_then(|number| number.try_into().ok());
                if read.is_none() {
                    let (min, max) = (<$int>::MIN, <$int>::MAX);
                    faults.add(key, format!("is {}, must be a whole number from {min} to {max}", shown(value)), Some(value));
                }
                read
            }

            fn toml(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

integers! { u16 u32 u64 i64 usize }

impl Setting for bool {
    fn read(key: &str, value: &Value, faults: &mut Faults) -> Option<Self> {
        let read = match (&value.kind, from_environment(value)) {
            (ValueKind::Boolean(flag), _) => Some(*flag),
            (ValueKind::String(text), true) => text.parse().ok(),
            _ => None,
        };
        if read.is_none() {
            faults.add(key, format!("is {}, must be true or false", shown(value)), Some(value));
        }
        read
    }

    fn toml(&self) -> String {
        self.to_string()
    }
}

/// Types that are written as text.
macro_rules! texts {
    ($($type:ty, $form:literal;)*) => {$(
        impl $crate::config::setting::Setting for $type {
            fn read(
                key: &str,
                value: &::config::Value,
                faults: &mut $crate::config::setting::Faults,
            ) -> Option<Self> {
                $crate::config::setting::parse_text(key, value, $form, faults)
            }

            fn toml(&self) -> String {
                ::toml::Value::String(self.to_string()).to_string()
            }
        }
    )*};
}

pub(crate) use texts;

texts! {
    String, "a text in quotes";
    SocketAddr, "an IP address and a port in quotes, such as \"127.0.0.1:50051\"";
}

impl Setting for PathBuf {
    fn read(key: &str, value: &Value, faults: &mut Faults) -> Option<Self> {
        let read = text(value).filter(|text| !text.is_empty()).map(Self::from);
        if read.is_none() {
            faults.add(key, format!("is {}, must be a path in quotes, not empty", shown(value)), Some(value));
        }
        read
    }

    fn toml(&self) -> String {
        self.to_string_lossy().into_owned().toml()
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn read(key: &str, value: &Value, faults: &mut Faults) -> Option<Self> {
        let listed: Vec<Value> = match (&value.kind, from_environment(value)) {
            (ValueKind::Array(values), _) => values.clone(),
            (ValueKind::String(text), true) if !T::ONE_A_LINE => {
                let origin = ENVIRONMENT.to_owned();
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                parts.map(|part| Value::new(Some(&origin), part)).collect()
            }
            _ => {
                faults.add(key, format!("is {}, must be a list", shown(value)), Some(value));
                return None;
            }
        };
        let read = listed.iter().enumerate().map(|(i, value)| T::read(&format!("{key}[{i}]"), value, faults));
        let read: Vec<Option<T>> = read.collect();
        read.into_iter().collect()
    }

    fn toml(&self) -> String {
        let entries = self.iter().map(Setting::toml);
        if T::ONE_A_LINE && !self.is_empty() {
            format!("[\n{}]", entries.map(|entry| format!("  {entry},\n")).collect::<String>())
        } else {
            format!("[{}]", entries.collect::<Vec<_>>().join(", "))
        }
    }

    fn inner_docs() -> String {
        T::inner_docs()
    }
}
