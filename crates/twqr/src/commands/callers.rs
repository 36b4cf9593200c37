//! `twqr callers`: shows and changes who may call, without a restart. A change counts at every
//! ingress and tracker as soon as it has read the record.

mod key;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, ensure};
use clap::{Args, Subcommand};
use tonic::Code;
use twqr_callers::{Caller, CallerName};
use twqr_config::{CallerDocument, Config};
use twqr_files::{print_error_line, print_line};
use twqr_types::UnixMs;
use twqr_wire::{
    convert::{caller_from, caller_out},
    ops::{CallerEntry, ChangeCallerRequest, ListCallersRequest},
};

use super::policy::{CALL_WITHIN, Operators, Server, failed, history_text, with_deadline};

/// The subcommands of `twqr callers`.
#[derive(Debug, Subcommand)]
pub(crate) enum Callers {
    /// Prints a line for each caller: its version, what it may do, and the names of its keys
    List(Server),
    /// Prints one caller as a document, in the form that `apply` reads, with who changed it and why
    Show(ShowCaller),
    /// Makes a document the newest version of its caller, with all its keys and certificates; exit
    /// code 3 if another change came first
    Apply(ApplyCaller),
    /// Removes a caller: all its keys and certificates are refused from then on
    Remove(RemoveCaller),
    /// Makes and revokes API keys
    #[command(subcommand)]
    Key(key::Key),
}

#[derive(Debug, Args)]
pub(crate) struct ShowCaller {
    /// The caller's name
    caller: String,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Args)]
pub(crate) struct ApplyCaller {
    /// The document (TOML), or - for standard input
    file: PathBuf,
    /// Revoke the caller's keys and certificates that the document omits; they stay revoked
    #[arg(long, alias = "revoke-missing-keys")]
    revoke_missing: bool,
    #[command(flatten)]
    change: CallerChangeArguments,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveCaller {
    /// The caller's name
    caller: String,
    #[command(flatten)]
    change: CallerChangeArguments,
}

/// The arguments of a change. Its record has `who` and `why`, and the caller that wrote it.
#[derive(Debug, Args)]
pub(crate) struct CallerChangeArguments {
    /// The version of the caller that your change is based on, 0 for a new one; by default the
    /// newest
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u64).range(..u64::MAX))]
    expect: Option<u64>,
    /// Who changes the caller
    #[arg(long, value_name = "NAME", value_parser = history_text)]
    who: String,
    /// Why it is changed
    #[arg(long, value_name = "TEXT", value_parser = history_text)]
    why: String,
    #[command(flatten)]
    server: Server,
}

/// The exit code of a change that was refused because the caller was changed meanwhile.
const CONFLICT: u8 = 3;

/// Runs the subcommand.
pub(crate) async fn run(command: Callers, config: &Config) -> anyhow::Result<ExitCode> {
    match command {
        Callers::List(server) => list(&mut server.connect(config).await?).await,
        Callers::Show(arguments) => show(&mut arguments.server.connect(config).await?, &arguments.caller).await,
        Callers::Apply(arguments) => apply(&arguments, config).await,
        Callers::Remove(arguments) => {
            let mut operators = arguments.change.server.connect(config).await?;
            let (newest, _) = known(&mut operators, &arguments.caller).await?;
            change(&mut operators, &arguments.caller, newest, None, &arguments.change).await
        }
        Callers::Key(command) => key::run(command, config).await,
    }
}

async fn apply(arguments: &ApplyCaller, config: &Config) -> anyhow::Result<ExitCode> {
    let caller = CallerDocument::read(&arguments.file).map_err(|faults| anyhow::anyhow!(faults.join("\n      ")))?;
    let (name, mut operators) = (caller.name.as_str(), arguments.change.server.connect(config).await?);
    let before = entry(&mut operators, name).await?.unwrap_or_default();
    let missing = before.caller.map(|before| missing(&before, &caller)).unwrap_or_default();
    ensure!(
        missing.is_empty() || arguments.revoke_missing,
        "the document omits keys or certificates of {name}, which would be revoked permanently: {}; copy them from \
         `twqr callers show {name}`, or revoke them with --revoke-missing",
        missing.join(", ")
    );
    change(&mut operators, name, before.version, Some(&caller), &arguments.change).await
}

/// The names of the keys and certificates of a caller that the next version does not have.
fn missing(before: &twqr_wire::ops::Caller, next: &Caller) -> Vec<String> {
    let keeps_key = |sha256: &[u8]| next.keys.iter().any(|key| key.hash.as_bytes() == sha256);
    let keeps_certificate = |name: &str| next.certificates.iter().any(|kept| **kept == *name);
    let keys = before.keys.iter().filter(|key| !keeps_key(&key.sha256)).map(|key| &key.name);
    let certificates = before.certificates.iter().filter(|name| !keeps_certificate(name));
    keys.chain(certificates).cloned().collect()
}

async fn list(operators: &mut Operators) -> anyhow::Result<ExitCode> {
    for entry in entries(operators).await? {
        let CallerEntry { name, version, caller, .. } = &entry;
        match caller {
            None => print_line(format!("{name} version {version}: removed"))?,
            Some(caller) => {
                let of = if caller.all_merchants {
                    "every merchant".to_owned()
                } else {
                    format!("{} merchants", caller.merchants.len())
                };
                let names: Vec<&str> = caller.keys.iter().map(|key| key.name.as_str()).collect();
                let (operations, roles) = (caller.operations.join(","), caller.roles.join(","));
                let (keys, certificates) = (names.join(","), caller.certificates.join(","));
                print_line(format!(
                    "{name} version {version}: {of}; operations [{operations}]; roles [{roles}]; keys [{keys}]; certificates [{certificates}]"
                ))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(operators: &mut Operators, name: &str) -> anyhow::Result<ExitCode> {
    let entry = entry(operators, name).await?.with_context(|| unknown(name))?;
    let CallerEntry { version, who, why, at_ms, caller, .. } = entry;
    print_line(format!("# version {version}, by {who}, {}: {why}", UnixMs(at_ms).taipei()))?;
    match caller {
        None => print_line("# removed")?,
        Some(caller) => print_line(CallerDocument::text(&read(name, caller)?)?.trim_end())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Every caller in its newest version.
async fn entries(operators: &mut Operators) -> anyhow::Result<Vec<CallerEntry>> {
    let request = with_deadline(ListCallersRequest {}, CALL_WITHIN);
    Ok(operators.list_callers(request).await.map_err(|status| failed(&status))?.into_inner().callers)
}

async fn entry(operators: &mut Operators, name: &str) -> anyhow::Result<Option<CallerEntry>> {
    Ok(entries(operators).await?.into_iter().find(|entry| entry.name == name))
}

/// The newest version of a caller that was not removed, and its number.
async fn known(operators: &mut Operators, name: &str) -> anyhow::Result<(u64, Caller)> {
    let entry = entry(operators, name).await?.with_context(|| unknown(name))?;
    let caller = entry.caller.with_context(|| format!("{name} was removed; `twqr callers apply` adds it again"))?;
    Ok((entry.version, read(name, caller)?))
}

fn unknown(name: &str) -> String {
    format!("there is no caller {name}; `twqr callers list` lists all")
}

fn read(name: &str, caller: twqr_wire::ops::Caller) -> anyhow::Result<Caller> {
    let name = CallerName::parse(name.to_owned()).map_err(anyhow::Error::msg)?;
    caller_from(name, caller).map_err(|faults| anyhow::anyhow!("the answer has an invalid caller: {faults:?}"))
}

/// Writes a version of a caller; `newest` is the one before, unless the arguments name it.
async fn change(
    operators: &mut Operators,
    name: &str,
    newest: u64,
    caller: Option<&Caller>,
    arguments: &CallerChangeArguments,
) -> anyhow::Result<ExitCode> {
    let request = ChangeCallerRequest {
        name: name.to_owned(),
        expected_version: arguments.expect.unwrap_or(newest),
        caller: caller.map(caller_out),
        who: arguments.who.clone(),
        why: arguments.why.clone(),
    };
    match operators.change_caller(with_deadline(request, CALL_WITHIN)).await {
        Ok(response) => {
            print_error_line(format_args!("{name} has version {}", response.into_inner().version));
            Ok(ExitCode::SUCCESS)
        }
        Err(status) if status.code() == Code::Aborted => {
            print_error_line(format_args!("twqr: {}", failed(&status)));
            Ok(ExitCode::from(CONFLICT))
        }
        Err(status) => Err(failed(&status)),
    }
}
