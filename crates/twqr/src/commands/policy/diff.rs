//! `twqr policy diff`: prints what a document would change in the newest version, or which recorded
//! payments it would route differently.

use std::{io::Write, process::ExitCode, time::Duration};

use twqr_config::{Config, changes};
use twqr_files::print_line;
use twqr_order::Policy;
use twqr_wire::{
    convert::policy_out,
    ops::{ReplayPolicyRequest, ReplayPolicyResponse},
};

use super::{Diff, Operators, failed, fetch, read, with_deadline};

/// The exit code if something differs.
const DIFFERS: u8 = 2;
/// How long a replay may take: it reads the log of every shard.
const REPLAY_WITHIN: Duration = Duration::from_mins(30);

pub(super) async fn run(arguments: Diff, config: &Config) -> anyhow::Result<ExitCode> {
    let policy = read(&arguments.file, config)?;
    let mut operators = arguments.server.connect(config).await?;
    let differs = if arguments.against_log {
        against_log(&mut operators, &policy, arguments.orders).await?
    } else {
        against_newest(&mut operators, &policy).await?
    };
    Ok(if differs { ExitCode::from(DIFFERS) } else { ExitCode::SUCCESS })
}

async fn against_newest(operators: &mut Operators, policy: &Policy) -> anyhow::Result<bool> {
    let (newest, _) = fetch(operators, 0).await?;
    let lines = changes(&newest.policy, policy);
    let mut out = twqr_files::stdout();
    writeln!(out, "against version {}:", newest.version)?;
    for line in &lines {
        writeln!(out, "{line}")?;
    }
    if lines.is_empty() {
        writeln!(out, "nothing differs")?;
    }
    Ok(!lines.is_empty())
}

async fn against_log(operators: &mut Operators, policy: &Policy, orders_max: u64) -> anyhow::Result<bool> {
    let request = ReplayPolicyRequest { policy: Some(policy_out(policy)), orders_max };
    let replayed = operators.replay_policy(with_deadline(request, REPLAY_WITHIN)).await;
    let replayed = replayed.map_err(|status| failed(&status))?.into_inner();
    for line in replay_lines(&replayed) {
        print_line(line)?;
    }
    Ok(!replayed.counts.is_empty())
}

fn replay_lines(replayed: &ReplayPolicyResponse) -> Vec<String> {
    let elsewhere: u64 = replayed.counts.iter().map(|count| count.payments).sum();
    let mut lines = vec![format!("{} recorded payments replayed, {elsewhere} would go elsewhere", replayed.replayed)];
    if replayed.not_comparable > 0 {
        lines.push(format!("{} not compared: their version is no longer stored", replayed.not_comparable));
    }
    let count =
        |count: &twqr_wire::ops::RoutingCount| format!("{:>9}  {} -> {}", count.payments, count.before, count.after);
    lines.extend(replayed.counts.iter().map(count));
    if !replayed.changes.is_empty() {
        lines.push(format!("the newest {} of them (MerchantID/MerchantTradeNo):", replayed.changes.len()));
    }
    let change = |change: &twqr_wire::ops::RoutingChange| {
        let key = format!("{}/{}", change.merchant_id, change.merchant_trade_no);
        format!("  {key}  {} -> {}", change.before, change.after)
    };
    lines.extend(replayed.changes.iter().map(change));
    lines
}

#[cfg(test)]
mod tests {
    use twqr_wire::ops::{RoutingChange, RoutingCount};

    use super::*;

    #[test]
    fn counts_come_before_examples() {
        let (before, after) = (String::from("refused 927"), String::from("391"));
        let replayed = ReplayPolicyResponse {
            replayed: 10,
            not_comparable: 3,
            counts: vec![RoutingCount { before: before.clone(), after: after.clone(), payments: 7 }],
            changes: vec![RoutingChange { merchant_id: "M".into(), merchant_trade_no: "T".into(), before, after }],
        };
        let expected = [
            "10 recorded payments replayed, 7 would go elsewhere",
            "3 not compared: their version is no longer stored",
            "        7  refused 927 -> 391",
            "the newest 1 of them (MerchantID/MerchantTradeNo):",
            "  M/T  refused 927 -> 391",
        ];
        assert_eq!(replay_lines(&replayed), expected);
        assert_eq!(
            replay_lines(&ReplayPolicyResponse::default()),
            ["0 recorded payments replayed, 0 would go elsewhere"]
        );
    }
}
