//! Checks that a Rust file opens with a module doc and is short enough to be read in one go.

use crate::{
    files::SourceFile,
    finding::{Finding, Rule},
};

const LINES_MAX: usize = 500;

pub(crate) fn check(file: &SourceFile, findings: &mut Vec<Finding>) {
    let mut report =
        |line, message| findings.push(Finding { file: file.path.clone(), line, rule: Rule::Header, message });
    let first = file.text.lines().find(|line| !line.starts_with("#!["));
    if !first.is_some_and(|line| line.starts_with("//!")) {
        report(1, "the file does not open with `//!`; write first why it exists".to_owned());
    }
    let lines = file.text.lines().count();
    if lines > LINES_MAX {
        report(LINES_MAX + 1, format!("the file has {lines} lines, at most {LINES_MAX} are allowed; split it"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Kind;

    #[test]
    fn a_file_without_a_module_doc_or_with_too_many_lines_is_found() {
        let long = "//! Why.\n".repeat(LINES_MAX);
        for (name, text, expected) in [
            ("opens with its reason", "//! Why.\nfn main() {}\n", 0),
            ("an attribute first", "#![no_std]\n//! Why.\n", 0),
            ("no reason", "fn main() {}\n", 1),
            ("empty", "", 1),
            ("as long as it may be", &long, 0),
            ("one line more", &format!("{long}\n"), 1),
        ] {
            let file = SourceFile { path: "src/lib.rs".to_owned(), kind: Kind::Rust, text: text.to_owned() };
            let mut findings = Vec::new();
            check(&file, &mut findings);
            assert_eq!(findings.len(), expected, "{name}: {findings:?}");
        }
    }
}
