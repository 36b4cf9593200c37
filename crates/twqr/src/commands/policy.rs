//! `twqr policy`: shows and changes the versioned policy document, without a restart.

mod apply;
mod diff;
mod get;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use tonic::{Request, Status};
use twqr_client::Connection;
use twqr_config::{Config, read_policy};
use twqr_files::{print_error_line, print_line};
use twqr_order::PolicyChange;
use twqr_wire::{
    convert::policy_change_from,
    ops::{GetPolicyRequest, GetPolicyResponse, operator_service_client::OperatorServiceClient},
};

/// The subcommands of `twqr policy`.
#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    /// Prints the policy document, with who changed it, why and when
    Get(Get),
    /// Checks a document offline; prints every fault and exits with 1 if it is invalid
    Validate {
        /// The document (TOML), in the form that `twqr policy get` prints, or - for standard input
        file: PathBuf,
    },
    /// Prints what a document would change; exit code 0 if nothing, 2 if something, 1 on an error
    Diff(Diff),
    /// Makes a document the newest version; exit code 3 if the policy was changed in the meantime
    Apply(Apply),
    /// Makes the document of an earlier version the newest version; same exit codes as apply
    Rollback(Rollback),
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// The version to print; the newest by default
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    version: Option<u64>,
    /// Also list every stored version
    #[arg(long)]
    history: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// The document (TOML), or - for standard input
    file: PathBuf,
    /// Print which recorded payments would be routed differently, instead of the document's changes
    #[arg(long)]
    against_log: bool,
    /// How many payments to replay: the newest of each shard
    #[arg(long, requires = "against_log", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    orders: u64,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// The document (TOML), or - for standard input
    file: PathBuf,
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, Args)]
pub(crate) struct Rollback {
    /// The version to restore
    #[arg(long, value_name = "VERSION")]
    to: u64,
    #[command(flatten)]
    change: Change,
}

/// The arguments of a change. The history of the policy records `who` and `why`.
#[derive(Debug, Args)]
pub(crate) struct Change {
    /// The version that your change is based on; it is refused if a newer version exists
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u64).range(..u64::MAX))]
    expect: u64,
    /// Who changes the policy
    #[arg(long, value_name = "NAME", value_parser = history_text)]
    who: String,
    /// Why it is changed
    #[arg(long, value_name = "TEXT", value_parser = history_text)]
    why: String,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Args)]
pub(crate) struct Server {
    /// The operators' API; the configured one by default
    #[arg(long, value_name = "URI")]
    endpoint: Option<String>,
}

/// How long a call may take: longer than the 16 s for which the tracker looks for older builds, and
/// the 10 s that it then waits for a change's result.
pub(super) const CALL_WITHIN: Duration = Duration::from_secs(30);

/// Runs the subcommand.
pub(crate) async fn run(command: Policy, config: &Config) -> anyhow::Result<ExitCode> {
    match command {
        Policy::Get(arguments) => get::run(arguments, config).await,
        Policy::Validate { file } => validate(&file, config),
        Policy::Diff(arguments) => diff::run(arguments, config).await,
        Policy::Apply(arguments) => apply::apply(arguments, config).await,
        Policy::Rollback(arguments) => apply::rollback(arguments, config).await,
    }
}

fn validate(file: &Path, config: &Config) -> anyhow::Result<ExitCode> {
    match faultless(file, config) {
        Ok(_) => {
            print_line("the policy is valid")?;
            Ok(ExitCode::SUCCESS)
        }
        Err(faults) => {
            faults.iter().for_each(print_error_line);
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Reads the document in a file; the error lists every fault, also what cannot work with this
/// configuration.
fn faultless(file: &Path, config: &Config) -> Result<twqr_order::Policy, Vec<String>> {
    let policy = read_policy(file)?;
    let faults = config.timing_faults(&policy);
    if faults.is_empty() {
        Ok(policy)
    } else {
        Err(faults.iter().map(|fault| format!("{}: {fault}", file.display())).collect())
    }
}

/// Reads the document in a file; the error lists every fault.
fn read(file: &Path, config: &Config) -> anyhow::Result<twqr_order::Policy> {
    faultless(file, config).map_err(|faults| anyhow!("{}", faults.join("\n      ")))
}

pub(super) type Operators = OperatorServiceClient<Connection>;

impl Server {
    pub(super) async fn connect(&self, config: &Config) -> anyhow::Result<Operators> {
        twqr_client::operators(&config.operators_endpoint(self.endpoint.as_deref())).await
    }
}

/// Returns a request with a deadline.
pub(super) fn with_deadline<T>(message: T, within: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(within);
    request
}

/// Fetches a version (0: the newest), with the versions of all shards and the history.
async fn fetch(operators: &mut Operators, version: u64) -> anyhow::Result<(PolicyChange, GetPolicyResponse)> {
    let request = with_deadline(GetPolicyRequest { version }, CALL_WITHIN);
    let mut found = operators.get_policy(request).await.map_err(|status| failed(&status))?.into_inner();
    let change = found.change.take().context("the answer contains no policy")?;
    Ok((policy_change_from(change)?, found))
}

/// Converts a gRPC error. It names the code, because some servers send no message.
pub(super) fn failed(status: &Status) -> anyhow::Error {
    let code = twqr_client::code_name(status.code());
    if status.message().is_empty() {
        anyhow!("the server answers {code} without a message; check that --endpoint is the operators' API")
    } else {
        anyhow!("{} ({code})", status.message())
    }
}

/// The longest text in the history, in characters.
const TEXT_LEN_MAX: usize = 200;

pub(super) fn history_text(text: &str) -> Result<String, String> {
    let length = text.chars().count();
    if text.trim().is_empty() {
        return Err("is blank; the history needs a text".to_owned());
    }
    if length > TEXT_LEN_MAX {
        return Err(format!("has {length} characters, must have at most {TEXT_LEN_MAX}"));
    }
    if text.chars().any(char::is_control) {
        return Err("has a control character such as a line end; none is allowed".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_without_a_message_names_its_code() {
        for (status, expected) in [
            (Status::unimplemented(""), "the server answers UNIMPLEMENTED without a message"),
            (Status::unavailable("nothing was changed"), "nothing was changed (UNAVAILABLE)"),
        ] {
            assert!(failed(&status).to_string().contains(expected), "{}", failed(&status));
        }
    }
}
