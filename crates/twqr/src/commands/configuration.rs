//! `twqr config`.

use std::{
    io::{Write, stdout},
    path::Path,
    process::ExitCode,
};

use crate::{cli::ConfigCommand, config::Config};

/// The exit code for a configuration that cannot be used.
pub(crate) const EXIT_INVALID: u8 = 2;

/// Prints the defaults, or what is wrong with the configuration.
pub(crate) fn run(command: ConfigCommand, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    match command {
        ConfigCommand::Default => write!(stdout(), "{}", Config::defaults()?.to_toml())?,
        ConfigCommand::Check => match Config::load(file, std::env::vars_os()) {
            Ok(_) => writeln!(stdout(), "OK")?,
            Err(invalid) => {
                eprintln!("{invalid}");
                return Ok(ExitCode::from(EXIT_INVALID));
            }
        },
    }
    Ok(ExitCode::SUCCESS)
}
