//! `twqr policy apply` and `rollback`: make a new version, unless there is a newer one than the
//! operator expects.

use std::process::ExitCode;

use tonic::{Code, Status};
use tonic_types::StatusExt;
use twqr_files::{print_error_line, print_line};
use twqr_order::Policy;
use twqr_wire::{convert::policy_out, ops::ApplyPolicyRequest};

use super::{Apply, CALL_WITHIN, Change, Operators, Rollback, failed, fetch, read, with_deadline};
use twqr_config::Config;

/// The exit code if the policy was changed in the meantime.
const CONFLICT: u8 = 3;

pub(super) async fn apply(arguments: Apply, config: &Config) -> anyhow::Result<ExitCode> {
    let policy = read(&arguments.file, config)?;
    let mut operators = arguments.change.server.connect(config).await?;
    send(&mut operators, &policy, arguments.change).await
}

pub(super) async fn rollback(arguments: Rollback, config: &Config) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(arguments.to > 0, "--to is 0, must be a version that `twqr policy get --history` lists");
    let mut operators = arguments.change.server.connect(config).await?;
    let (earlier, _) = fetch(&mut operators, arguments.to).await?;
    let faults = config.timing_faults(&earlier.policy);
    anyhow::ensure!(
        faults.is_empty(),
        "version {} cannot work with this configuration: {}; correct it with `twqr policy get --version {}` and `apply`",
        arguments.to,
        faults.join("; "),
        arguments.to
    );
    send(&mut operators, &earlier.policy, arguments.change).await
}

/// Sends the change; prints the new version, or what to do about a conflict.
async fn send(operators: &mut Operators, policy: &Policy, change: Change) -> anyhow::Result<ExitCode> {
    let Change { expect, who, why, server: _ } = change;
    let request = ApplyPolicyRequest { policy: Some(policy_out(policy)), expected_version: expect, who, why };
    match operators.apply_policy(with_deadline(request, CALL_WITHIN)).await {
        Ok(applied) => {
            print_line(format_args!("version {} holds", applied.get_ref().version))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(status) if status.code() == Code::Aborted => {
            print_error_line(format_args!("twqr: {}", conflict_advice(&status)));
            Ok(ExitCode::from(CONFLICT))
        }
        Err(status) => Err(failed(&status)),
    }
}

fn conflict_advice(status: &Status) -> String {
    let info = status.get_details_error_info();
    let newest = info.and_then(|info| info.metadata.get("newest_version").cloned());
    let newest = newest.unwrap_or_else(|| "N".to_owned());
    format!(
        "{}: read version {newest} with `twqr policy get`, see with `twqr policy diff FILE` what your document would change \
         in it, then apply it with `--expect {newest}`",
        status.message()
    )
}
