//! `twqr-lab backend check`: tests from outside which rules of `twqr.backend.v1` an adapter meets,
//! and prints the flags of the policy that follow. It makes about thirty charges of a test
//! merchant, and returns their amounts where it can.

mod balance;
mod basics;
mod conversation;
mod examiner;
mod findings;
mod options;
mod repeats;
mod report;
mod settled;
mod streams;

use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;
use tokio::time::timeout;
use twqr_files::print_line;

use examiner::Examiner;
pub use findings::{BackendFinding, Findings, Group, Holds};
pub use options::{CheckOptions, Idempotent};
pub use report::BackendReport;

/// The exit code if the contract is broken, or a flag of the policy does not follow.
const BROKEN: u8 = 2;

/// The commands about adapters.
#[derive(clap::Subcommand)]
pub enum BackendCommand {
    /// Tests which rules of the contract an adapter to the wallet or FISC meets, and prints the
    /// policy flags that follow
    Check(CheckOptions),
}

/// Prints the report; exit code 0 if the contract is kept, 2 if it is broken or a flag of
/// `--idempotent` does not follow, 1 if the check could not be made.
pub async fn run(command: BackendCommand) -> anyhow::Result<ExitCode> {
    let BackendCommand::Check(options) = command;
    let report = check(&options).await?;
    if options.json {
        print_line(serde_json::to_string(&report)?)?;
    } else {
        print_line(&report)?;
    }
    Ok(if report.allows(&options.idempotent) { ExitCode::SUCCESS } else { ExitCode::from(BROKEN) })
}

/// Checks an adapter. The error says why nothing can be told about it.
pub async fn check(options: &CheckOptions) -> anyhow::Result<BackendReport> {
    options.check()?;
    let limit = Duration::from_secs(options.seconds_max);
    let checked = timeout(limit, examine(options)).await;
    checked.with_context(|| format!("the check did not end within {limit:?}; --seconds-max is the limit"))?
}

async fn examine(options: &CheckOptions) -> anyhow::Result<BackendReport> {
    let card_tokens = options.card_tokens()?;
    let channel = twqr_client::channel(&options.address).await?;
    let mut at = Examiner::new(options.clone(), card_tokens.clone(), channel);
    let mut found = Findings::default();
    basics::examine(&mut at, &mut found).await?;
    balance::examine(&mut at, &mut found, options.balance).await;
    let cancelled_code = repeats::examine(&mut at, &mut found).await;
    streams::examine(&mut at, &mut found).await;
    at.give_back().await;
    let latest_effect_ms = at.latest_effect_ms;
    let (streams, broken) = at.finish().await;
    streams::examine_answers(&streams, &broken, &mut found);
    streams::examine_texts(&streams, &broken, &card_tokens, &mut found);
    let of = [options.address.clone(), options.institution.clone()];
    Ok(BackendReport::new(of, found, latest_effect_ms, cancelled_code))
}
