//! Reads a policy from its own file. Unlike the section `[policy]` of the configuration, a list
//! that is left out is empty: it is not taken from the default policy.

use std::path::Path;

use twqr_order::Policy;

use super::PolicyDocument;
use crate::{renamed, source};

/// Reads a policy; `-` is standard input. The error lists every fault with file and key.
pub fn read_policy(path: &Path) -> Result<Policy, Vec<String>> {
    let place = path.display();
    let one = |problem: String| vec![format!("{place}: {}", problem.trim_end())];
    let text = twqr_files::read_text(path).map_err(|error| one(format!("cannot be read: {error}")))?;
    parse_policy(&text).map_err(|faults| faults.into_iter().flat_map(one).collect())
}

/// Reads a policy from its text. The error lists every fault with its key.
pub fn parse_policy(text: &str) -> Result<Policy, Vec<String>> {
    let table = source::parse_table(text).map_err(|fault| vec![fault])?;
    renamed::check_policy(&table, "").map_err(|fault| vec![fault])?;
    let document: PolicyDocument = source::typed(table).map_err(|fault| vec![fault])?;
    document.policy().map_err(|faults| faults.iter().map(ToString::to_string).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTE: &str = "[[routes]]\nprefix = \"22\"\ncode_lengths = [18]\n";

    #[test]
    fn lists_that_are_left_out_are_empty() {
        let policy = parse_policy(ROUTE).unwrap();
        assert_eq!((policy.routes.len(), policy.issuers.len(), policy.merchants.len()), (1, 0, 0));
        assert_eq!(parse_policy("name = \"x\"").unwrap_err(), ["routes: at least one route is needed"]);
    }

    #[test]
    fn every_fault_is_listed_with_its_key() {
        let text = format!(
            "send_within_ms = 1\nfisc_abnormal = \"0\"\n{ROUTE}alphabet = \"all\"\n{ROUTE}[[routes]]\nprefix = \"\"\ncode_lengths = []\n\
             [[issuers]]\ninstitution = \"x\"\n[[issuers]]\ninstitution = \"391\"\nwindow_ms = 1\nrefund = {{ window_days = 9999 }}"
        );
        let faults = parse_policy(&text).unwrap_err();
        let keys: Vec<&str> = faults.iter().map(|fault| fault.split(": ").next().unwrap()).collect();
        let expected = [
            "routes[0]",
            "issuers[0]",
            "fisc_abnormal",
            "send_within_ms",
            "routes[2].prefix",
            "routes[2].code_lengths",
            "issuers[1].window_ms",
            "issuers[1].refund.window_days",
        ];
        assert_eq!(keys, expected, "{faults:#?}");
        for (text, expected) in [
            ("routes = 1", "routes"),
            ("[[routes]]\nprefx = \"\"", "prefx"),
            ("x", "line 1"),
            ("day_begins_min = 30", "day_begins_min was renamed to cut_off; write cut_off = \"00:30\""),
        ] {
            let faults = parse_policy(text).unwrap_err();
            assert!(faults.len() == 1 && faults[0].contains(expected), "{faults:?}");
        }
    }
}
