//! Logs on standard error.

use std::io::stderr;

use tracing_subscriber::fmt;

use crate::config::{Format, Log};

/// From now on events are logged; a second call changes nothing.
pub(crate) fn start(log: &Log) {
    let lines = fmt().with_env_filter(log.level.filter()).with_writer(stderr);
    let started = match log.format {
        Format::Json => lines.json().flatten_event(true).try_init(),
        Format::Text => lines.with_ansi(std::io::IsTerminal::is_terminal(&stderr())).try_init(),
    };
    if let Err(error) = started {
        tracing::warn!(%error, "logs go elsewhere already");
    }
}
