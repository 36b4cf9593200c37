//! `twqr policy`: the rules by which orders are decided, one versioned document, shown and changed
//! while everything runs.

mod apply;
mod diff;
mod get;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use tonic::{Request, Status, transport::Channel};
use twqr_config::{Config, read_policy};
use twqr_order::PolicyChange;
use twqr_wire::{
    convert::policy_change_from,
    ops::{GetPolicyRequest, GetPolicyResponse, operator_service_client::OperatorServiceClient},
};

/// What to do with the rules.
#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    /// Prints the rules as a document, with who changed them, why and when
    Get(Get),
    /// Checks a document without asking anybody; exit code 1 and every fault if something is wrong
    Validate {
        /// The document (TOML), as `twqr policy get` prints it
        file: PathBuf,
    },
    /// Prints what a document would change; exit code 0 if nothing, 2 if something, 1 if that
    /// cannot be told
    Diff(Diff),
    /// Makes a document the newest version; exit code 3 if somebody else changed the rules
    /// meanwhile
    Apply(Apply),
    /// Makes the document of an earlier version the newest one again; exit codes as of apply
    Rollback(Rollback),
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// Which version; without it the newest
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    version: Option<u64>,
    /// Also lists every version that is kept
    #[arg(long)]
    history: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// The document (TOML)
    file: PathBuf,
    /// Which recorded payments would go elsewhere, instead of what differs in the document
    #[arg(long)]
    against_log: bool,
    /// How many payments to replay, the newest of each shard
    #[arg(long, requires = "against_log", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    orders: u64,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// The document (TOML)
    file: PathBuf,
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, Args)]
pub(crate) struct Rollback {
    /// Whose document
    #[arg(long, value_name = "VERSION")]
    to: u64,
    #[command(flatten)]
    change: Change,
}

/// What is recorded with a change.
#[derive(Debug, Args)]
pub(crate) struct Change {
    /// The newest version, as you know it: the change is refused if there is a newer one
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u64).range(..u64::MAX))]
    expect: u64,
    /// Who changes the rules
    #[arg(long, value_name = "NAME", value_parser = recorded)]
    who: String,
    /// Why
    #[arg(long, value_name = "TEXT", value_parser = recorded)]
    why: String,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Args)]
pub(crate) struct Server {
    /// The operators' API; without it the configured one
    #[arg(long, value_name = "URI")]
    endpoint: Option<String>,
}

/// How long a question may take; an answer to a change takes 10 s at the most.
const CALL_WITHIN: Duration = Duration::from_secs(20);

/// Does it.
pub(crate) async fn run(command: Policy, config: &Config) -> anyhow::Result<ExitCode> {
    match command {
        Policy::Get(arguments) => get::run(arguments, config).await,
        Policy::Validate { file } => Ok(validate(&file)),
        Policy::Diff(arguments) => diff::run(arguments, config).await,
        Policy::Apply(arguments) => apply::apply(arguments, config).await,
        Policy::Rollback(arguments) => apply::rollback(arguments, config).await,
    }
}

#[allow(clippy::print_stdout, reason = "what the command is for")]
fn validate(file: &std::path::Path) -> ExitCode {
    match read_policy(file) {
        Ok(_) => {
            println!("the policy is good");
            ExitCode::SUCCESS
        }
        Err(faults) => {
            for fault in faults {
                eprintln!("{fault}");
            }
            ExitCode::FAILURE
        }
    }
}

/// The document in a file, or every fault.
fn read(file: &std::path::Path) -> anyhow::Result<twqr_order::Policy> {
    read_policy(file).map_err(|faults| anyhow!("{}", faults.join("\n      ")))
}

type Operators = OperatorServiceClient<Channel>;

impl Server {
    async fn connect(&self, config: &Config) -> anyhow::Result<Operators> {
        let configured = || format!("http://{}", config.operators);
        twqr_client::operators(&self.endpoint.clone().unwrap_or_else(configured)).await
    }
}

/// A request that does not wait for ever.
fn within<T>(message: T, within: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(within);
    request
}

/// A version (0: the newest), and what else there is.
async fn fetch(operators: &mut Operators, version: u64) -> anyhow::Result<(PolicyChange, GetPolicyResponse)> {
    let request = within(GetPolicyRequest { version }, CALL_WITHIN);
    let mut found = operators.get_policy(request).await.map_err(|status| failed(&status))?.into_inner();
    let change = found.change.take().context("the answer has no policy in it")?;
    Ok((policy_change_from(change)?, found))
}

/// With the code: some servers say nothing else.
fn failed(status: &Status) -> anyhow::Error {
    let code = twqr_client::code_name(status.code());
    if status.message().is_empty() {
        anyhow!("the server says {code} and nothing more; is it the operators' API (--endpoint)?")
    } else {
        anyhow!("{} ({code})", status.message())
    }
}

/// What stands in the history: 1 to so many characters that can be seen.
const TEXT_LEN_MAX: usize = 200;

fn recorded(text: &str) -> Result<String, String> {
    let length = text.chars().count();
    if text.trim().is_empty() {
        return Err("has nothing but blanks; say something, it stands in the history".to_owned());
    }
    if length > TEXT_LEN_MAX {
        return Err(format!("has {length} characters, must have at most {TEXT_LEN_MAX}"));
    }
    if text.chars().any(char::is_control) {
        return Err("has a control character such as a line's end, none is allowed".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_its_code_also_where_the_server_says_nothing() {
        for (status, expected) in [
            (Status::unimplemented(""), "the server says UNIMPLEMENTED and nothing more"),
            (Status::unavailable("nothing was changed"), "nothing was changed (UNAVAILABLE)"),
        ] {
            assert!(failed(&status).to_string().contains(expected), "{}", failed(&status));
        }
    }
}
