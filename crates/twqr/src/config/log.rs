//! `[log]`: what is logged, and in which form.

use std::{fmt, str::FromStr};

use tracing_subscriber::EnvFilter;

use super::{
    setting::{Any, texts},
    table::table,
};

table! {
    /// Logs go to standard error. No payment code ever stands in one.
    Log {
        /// Which events: a level, or a list such as "info,twqr_router=debug".
        level: Level = Level("info".to_owned()), Any("error, warn, info, debug, trace, or target=level parts with commas between");
        /// One line a event for people (text), or JSON for machines (json).
        format: Format = Format::Text, Any("\"text\" or \"json\"");
    }
}

/// A filter of events that is known to parse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Level(String);

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For machines.
    Json,
}

impl Level {
    /// The filter.
    pub(crate) fn filter(&self) -> EnvFilter {
        EnvFilter::new(&self.0)
    }
}

impl FromStr for Level {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let levels = ["error", "warn", "info", "debug", "trace", "off"];
        let level = |part: &str| levels.contains(&part.rsplit('=').next().unwrap_or(part));
        let parses = text.split(',').all(level) && EnvFilter::try_new(text).is_ok();
        parses.then(|| Self(text.to_owned())).ok_or(())
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Format {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(()),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

texts! {
    Level, "error, warn, info, debug or trace, or target=level parts with commas between";
    Format, "\"text\" or \"json\"";
}
