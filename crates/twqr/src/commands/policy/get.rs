//! `twqr policy get`: prints the document, which can be edited and applied again. Comments above it
//! describe the version.

use std::{fmt::Write as _, io::Write as _, process::ExitCode};

use twqr_config::{Config, PolicyDocument};
use twqr_order::PolicyChange;
use twqr_types::UnixMs;
use twqr_wire::ops::GetPolicyResponse;

use super::{Get, fetch};

pub(super) async fn run(arguments: Get, config: &Config) -> anyhow::Result<ExitCode> {
    let mut operators = arguments.server.connect(config).await?;
    let (change, found) = fetch(&mut operators, arguments.version.unwrap_or_default()).await?;
    let document = toml::to_string(&PolicyDocument::from_policy(&change.policy))?;
    let mut head = head(&change, &found, arguments.history);
    for fault in config.timing_faults(&change.policy) {
        let _ = writeln!(head, "# cannot work with this configuration: {fault}");
    }
    write!(twqr_files::stdout(), "{head}\n{document}")?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the comments above the document: the version, who made it, why and when, shards that do
/// not have the newest version yet, and, if `history` is set, every stored version.
fn head(change: &PolicyChange, found: &GetPolicyResponse, history: bool) -> String {
    let mut head = format!("# version {} of {}\n", change.version, found.newest_version);
    let line = |who: &str, why: &str, at: i64| one_line(&format!("{} by {who}: {why}", UnixMs(at).taipei()));
    let _ = writeln!(head, "# applied {}", line(&change.who, &change.why, change.at.0));
    for shard in found.shards.iter().filter(|shard| shard.version != found.newest_version) {
        let _ = writeln!(head, "# shard {} has version {}", shard.shard, shard.version);
    }
    if history {
        for entry in &found.history {
            let _ = writeln!(
                head,
                "# history: {} {} {}",
                entry.version,
                one_line(&format!("{:?}", entry.name)),
                line(&entry.who, &entry.why, entry.at_ms)
            );
        }
    }
    head
}

/// Replaces line ends and other control characters, so that the text stays within its comment.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use twqr_order::Policy;
    use twqr_wire::ops::{PolicyHistoryEntry, ShardPolicy};

    use super::*;

    #[test]
    fn every_line_of_the_head_is_a_comment() {
        let change = PolicyChange {
            version: 2,
            policy: Policy::default(),
            who: "a\nrefuse = true".into(),
            why: "因為\r\n[[routes]]".into(),
            at: UnixMs(0),
        };
        let entry = PolicyHistoryEntry {
            version: 1,
            name: "x\ny".into(),
            who: "w\n".into(),
            why: "\n".into(),
            ..PolicyHistoryEntry::default()
        };
        let found = GetPolicyResponse {
            newest_version: 3,
            shards: vec![ShardPolicy { shard: 0, version: 3 }, ShardPolicy { shard: 1, version: 2 }],
            history: vec![entry],
            ..GetPolicyResponse::default()
        };
        let head = head(&change, &found, true);
        assert!(head.lines().all(|line| line.starts_with("# ")), "{head}");
        assert!(head.contains("# version 2 of 3\n# applied 1970/01/01 08:00:00 by a refuse = true: 因為"), "{head}");
        assert!(head.contains("# shard 1 has version 2") && !head.contains("shard 0"), "{head}");
        assert!(head.contains("# history: 1 "), "{head}");
    }
}
