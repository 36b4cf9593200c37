//! Refuses keys of earlier versions that were renamed or moved, and says what to write instead. If
//! they were ignored, a default could change the system's behaviour unnoticed.

use toml::{Table, Value};
use twqr_types::CutOff;

/// Refuses a configuration that contains a renamed key.
pub(crate) fn check(table: &Table) -> Result<(), String> {
    let key = |section: &str, key: &str| table.get(section).and_then(|section| section.get(key));
    let cut_off = key("settlement", "cut_off").and_then(Value::as_str).map(CutOff::parse);
    let mut faults = Vec::new();
    if key("settlement", "cut_off").is_some() {
        let write = written(cut_off.and_then(Result::ok));
        faults.push(format!("settlement.cut_off was renamed to policy.cut_off; write {write} under [policy]"));
    }
    if table.contains_key("simulator_data_dir") {
        faults.push("simulator_data_dir moved to the laboratory; use `twqr-lab simulator --data-dir`".to_owned());
    }
    if let Some(policy) = table.get("policy").and_then(Value::as_table)
        && let Err(fault) = check_policy(policy, "policy.")
    {
        faults.push(format!("{fault} under [policy]"));
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
}

/// Refuses a policy document that contains a renamed key. The error writes `prefix` before the key.
pub(crate) fn check_policy(policy: &Table, prefix: &str) -> Result<(), String> {
    let Some(value) = policy.get("day_begins_min") else { return Ok(()) };
    let minutes = value.as_integer().and_then(|minutes| u32::try_from(minutes).ok());
    let write = written(minutes.and_then(|minutes| CutOff::from_minutes(minutes).ok()));
    Err(format!("{prefix}day_begins_min was renamed to {prefix}cut_off; write {write}"))
}

fn written(cut_off: Option<CutOff>) -> String {
    cut_off.map_or_else(|| "cut_off = \"HH:MM\"".to_owned(), |cut_off| format!("cut_off = \"{cut_off}\""))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn the_error_says_what_to_write_instead() {
        for (text, expected) in [
            (
                "[settlement]\ncut_off = \"02:00\"",
                "settlement.cut_off was renamed to policy.cut_off; write cut_off = \"02:00\" under [policy]",
            ),
            (
                "[policy]\nday_begins_min = 1380",
                "policy.day_begins_min was renamed to policy.cut_off; write cut_off = \"23:00\" under [policy]",
            ),
            (
                "[settlement]\ncut_off = 7\n[policy]\nday_begins_min = \"SECRET\"",
                "settlement.cut_off was renamed to policy.cut_off; write cut_off = \"HH:MM\" under [policy]; \
                 policy.day_begins_min was renamed to policy.cut_off; write cut_off = \"HH:MM\" under [policy]",
            ),
            (
                "simulator_data_dir = \"x\"",
                "simulator_data_dir moved to the laboratory; use `twqr-lab simulator --data-dir`",
            ),
        ] {
            assert_eq!(check(&toml::from_str(text).unwrap()), Err(expected.to_owned()));
        }
        assert_eq!(check(&toml::from_str("[policy]\ncut_off = \"02:00\"").unwrap()), Ok(()));
    }
}
