//! `twqr policy apply` and `rollback`: a new version, if nobody else made one meanwhile.

use std::{io::Write, process::ExitCode};

use tonic::{Code, Status};
use tonic_types::StatusExt;
use twqr_order::Policy;
use twqr_wire::{convert::policy_out, ops::ApplyPolicyRequest};

use super::{Apply, CALL_WITHIN, Change, Operators, Rollback, failed, fetch, read, within};
use twqr_config::Config;

/// Somebody else changed the rules meanwhile.
const CONFLICT: u8 = 3;

pub(super) async fn apply(arguments: Apply, config: &Config) -> anyhow::Result<ExitCode> {
    let policy = read(&arguments.file)?;
    let mut operators = arguments.change.server.connect(config).await?;
    send(&mut operators, &policy, arguments.change).await
}

pub(super) async fn rollback(arguments: Rollback, config: &Config) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(arguments.to > 0, "--to is 0, must be a version that `twqr policy get --history` lists");
    let mut operators = arguments.change.server.connect(config).await?;
    let (earlier, _) = fetch(&mut operators, arguments.to).await?;
    send(&mut operators, &earlier.policy, arguments.change).await
}

/// Prints the new version, or what to do about a conflict.
async fn send(operators: &mut Operators, policy: &Policy, change: Change) -> anyhow::Result<ExitCode> {
    let Change { expect, who, why, server: _ } = change;
    let request = ApplyPolicyRequest { policy: Some(policy_out(policy)), expected_version: expect, who, why };
    match operators.apply_policy(within(request, CALL_WITHIN)).await {
        Ok(applied) => {
            writeln!(std::io::stdout(), "version {} holds", applied.get_ref().version)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(status) if status.code() == Code::Aborted => {
            eprintln!("twqr: {}", what_to_do(&status));
            Ok(ExitCode::from(CONFLICT))
        }
        Err(status) => Err(failed(&status)),
    }
}

fn what_to_do(status: &Status) -> String {
    let info = status.get_details_error_info();
    let newest = info.and_then(|info| info.metadata.get("newest_version").cloned());
    let newest = newest.unwrap_or_else(|| "N".to_owned());
    format!(
        "{}: `twqr policy get` shows version {newest}, `twqr policy diff FILE` what yours would change in it, and then \
         `--expect {newest}` applies it",
        status.message()
    )
}
