//! `twqr callers key`: makes an API key, which is printed once, and revokes one.

use std::process::ExitCode;

use anyhow::{anyhow, ensure};
use clap::{Args, Subcommand};
use rand::{TryRngCore, rngs::OsRng};
use twqr_callers::{ApiKey, NewKey};
use twqr_config::{Config, parse_time};
use twqr_files::{print_error_line, print_line};
use twqr_types::{KeyName, UnixMs};

use super::{CallerChangeArguments, change, known};

/// The subcommands of `twqr callers key`.
#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Makes a key of a caller and prints it. The key is stored nowhere and cannot be printed
    /// again. Other keys stay valid
    New(New),
    /// Revokes a key of a caller: each process refuses it at once, and ends its streams
    Revoke(Revoke),
    /// Makes a key and prints it with its hash, for a caller in the configuration
    Generate,
}

#[derive(Debug, Args)]
pub(crate) struct New {
    /// The caller's name
    caller: String,
    /// The key's name among those of the caller, such as 2026-11
    key: String,
    /// When the key becomes valid, such as 2026-12-01T00:00:00+08:00; at once by default
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    from: Option<UnixMs>,
    /// When the key expires; never by default
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<UnixMs>,
    #[command(flatten)]
    change: CallerChangeArguments,
}

#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// The caller's name
    caller: String,
    /// The key's name
    key: String,
    #[command(flatten)]
    change: CallerChangeArguments,
}

pub(super) async fn run(command: Key, config: &Config) -> anyhow::Result<ExitCode> {
    match command {
        Key::New(arguments) => new(arguments, config).await,
        Key::Revoke(arguments) => revoke(arguments, config).await,
        Key::Generate => generate(),
    }
}

fn random_key() -> anyhow::Result<NewKey> {
    let mut random = [0; 32];
    OsRng.try_fill_bytes(&mut random).map_err(|error| anyhow!("the system gives no random bytes: {error}"))?;
    Ok(NewKey::of_random(random))
}

fn generate() -> anyhow::Result<ExitCode> {
    let key = random_key()?;
    print_error_line(format_args!("sha256 = \"{}\"", key.hash()));
    print_line(key.reveal())?;
    Ok(ExitCode::SUCCESS)
}

async fn new(arguments: New, config: &Config) -> anyhow::Result<ExitCode> {
    let name = KeyName::parse(arguments.key).map_err(|what| anyhow!("the key's name {what}"))?;
    let mut operators = arguments.change.server.connect(config).await?;
    let (newest, mut caller) = known(&mut operators, &arguments.caller).await?;
    ensure!(
        caller.keys.iter().all(|key| key.name != name),
        "{} already has a key {name}; choose another name, or revoke that key first",
        arguments.caller
    );
    let key = random_key()?;
    caller.keys.push(ApiKey { name, hash: key.hash(), from: arguments.from, until: arguments.until });
    let code = change(&mut operators, &arguments.caller, newest, Some(&caller), &arguments.change).await?;
    // Printed only once it counts: a key that was not written would be useless.
    if code == ExitCode::SUCCESS {
        print_line(key.reveal())?;
    }
    Ok(code)
}

async fn revoke(arguments: Revoke, config: &Config) -> anyhow::Result<ExitCode> {
    let mut operators = arguments.change.server.connect(config).await?;
    let (newest, mut caller) = known(&mut operators, &arguments.caller).await?;
    let before = caller.keys.len();
    caller.keys.retain(|key| key.name.as_str() != arguments.key);
    ensure!(
        caller.keys.len() < before,
        "{} has no key {}; `twqr callers show` lists its keys",
        arguments.caller,
        arguments.key
    );
    change(&mut operators, &arguments.caller, newest, Some(&caller), &arguments.change).await
}
