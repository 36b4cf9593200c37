//! Checks that each requirement of the security standards is answered once, and that the tests
//! named as evidence exist.
//!
//! `security/requirements.toml` lists the ids. A row of a table in [`PAGES`] has an id, what it
//! asks for, a state of [`STATES`], and the evidence or the reason. Evidence is a test as
//! `path::name`, a `make` target, or a script; for what must be written down, a document. What the
//! other documents of the folder name as evidence exists, too.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    evidence::{Evidence, Repository},
    files::{Kind, SourceFile},
    finding::{Finding, Rule},
};

const FOLDER: &str = "security/";
const LIST: &str = "security/requirements.toml";
const PAGES: [&str; 2] = ["security/asvs.md", "security/pci-dss.md"];
/// The states of a requirement.
const STATES: [&str; 5] = ["tested", "documented", "not applicable", "operator", "not met"];

/// Checks the tables; `paths` are all files of the repository.
pub(crate) fn check(files: &[SourceFile], paths: &[String], findings: &mut Vec<Finding>) {
    let Some(list) = files.iter().find(|file| file.path == LIST) else { return };
    let repository = Repository::new(files, paths);
    let mut open = ids(list);
    let mut answered: BTreeSet<&str> = BTreeSet::new();
    for page in files.iter().filter(|file| file.kind == Kind::Markdown && PAGES.contains(&&*file.path)) {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for (line, cells) in rows(&page.text) {
            let mut report = |message: String| findings.push(finding(page, line, message));
            let [id, asks, state, reason] = cells[..] else {
                report("a row has four cells: id, what it asks for, state, evidence or reason".to_owned());
                continue;
            };
            if asks.is_empty() || reason.is_empty() {
                report(format!("{id} has an empty cell; say what it asks for, and why the state is so"));
            }
            if !answered.insert(id) {
                report(format!("{id} is answered twice; keep one row"));
            } else if open.remove(id).is_none() {
                report(format!("{id} is not in {LIST}; correct the id, or add it there"));
            }
            match check_state(state, reason, &repository) {
                Ok(()) => *counts.entry(state).or_default() += 1,
                Err(message) => report(format!("{id}: {message}")),
            }
        }
        let sum = STATES.map(|state| format!("{} {state}", counts.get(state).unwrap_or(&0))).join(", ");
        if !page.text.contains(&sum) {
            findings.push(finding(page, 1, format!("the sum of the rows is wrong or missing; write: {sum}")));
        }
    }
    let others = |file: &&SourceFile| file.path.starts_with(FOLDER) && !PAGES.contains(&&*file.path);
    for page in files.iter().filter(|file| file.kind == Kind::Markdown).filter(others) {
        let lines = (1..).zip(page.text.lines());
        let faults = lines.filter_map(|(line, text)| Some(finding(page, line, repository.evidence(text).err()?)));
        findings.extend(faults);
    }
    let unanswered =
        |(id, line): (&str, usize)| finding(list, line, format!("{id} has no row in {}", PAGES.join(", ")));
    findings.extend(open.into_iter().map(unanswered));
}

/// The ids, which are the texts in quotes, with their lines.
fn ids(list: &SourceFile) -> BTreeMap<&str, usize> {
    let lines = (1..).zip(list.text.lines()).filter(|(_, text)| !text.starts_with('#'));
    lines.flat_map(|(line, text)| text.split('"').skip(1).step_by(2).map(move |id| (id, line))).collect()
}

/// The cells of each row that is no heading, with its line.
fn rows(text: &str) -> impl Iterator<Item = (usize, Vec<&str>)> {
    let is_row = |line: &str| line.starts_with('|') && !line.starts_with("|---");
    let lines: Vec<&str> = text.lines().collect();
    let is_heading = |at: usize| lines.get(at + 1).is_some_and(|next| next.starts_with("|---"));
    let rows: Vec<usize> = (0..lines.len()).filter(|at| is_row(lines[*at]) && !is_heading(*at)).collect();
    rows.into_iter().map(move |at| (at + 1, lines[at].trim_matches(['|', ' ']).split(" | ").map(str::trim).collect()))
}

fn check_state(state: &str, reason: &str, repository: &Repository<'_>) -> Result<(), String> {
    let evidence = repository.evidence(reason)?;
    match state {
        "tested" if !evidence.iter().any(|one| matches!(one, Evidence::Test | Evidence::Command)) => {
            Err("name the test as `path::name`, the `make` target, or the script".to_owned())
        }
        "documented" if !evidence.contains(&Evidence::Document) => Err("name the document".to_owned()),
        known if !STATES.contains(&known) => Err(format!("{known:?} is no state; use {}", STATES.join(", "))),
        _ => Ok(()),
    }
}

fn finding(file: &SourceFile, line: usize, message: String) -> Finding {
    Finding { file: file.path.clone(), line, rule: Rule::Requirements, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# Table\n\n1 tested, 1 documented, 0 not applicable, 0 operator, 1 not met\n\n\
                        | id | asks | state | evidence |\n|---|---|---|---|\n\
                        | V1 | input | tested | `a/src/lib.rs::it_works`, `make test` |\n\
                        | V2 | rules | documented | [README](../README.md) |\n\
                        | V3 | keys | not met | nothing does that yet |\n";

    fn found(page: &str, list: &str) -> Vec<String> {
        let file = |path: &str, kind, text: &str| SourceFile { path: path.to_owned(), kind, text: text.to_owned() };
        let files = [
            file("security/model.md", Kind::Markdown, "Stopped by `a/src/lib.rs::it_works`, not `/metrics`.\n"),
            file("Makefile", Kind::Hash, "test: ## Tests\n"),
            file("README.md", Kind::Markdown, "# Read\n"),
            file("crates/a/src/lib.rs", Kind::Rust, "#[test]\nfn it_works() {}\nfn helper() {}\n"),
            file("security/asvs.md", Kind::Markdown, page),
            file(LIST, Kind::Hash, list),
        ];
        let paths: Vec<String> = files.iter().map(|file| file.path.clone()).collect();
        let mut findings = Vec::new();
        check(&files, &paths, &mut findings);
        findings.into_iter().map(|finding| format!("{}:{} {}", finding.file, finding.line, finding.message)).collect()
    }

    #[test]
    fn each_requirement_is_answered_once_and_with_evidence_that_exists() {
        let list = "# \"V9\"\nasvs = [\"V1\", \"V2\",\n  \"V3\"]\n";
        let cases: [(String, &str, Option<&str>); 12] = [
            (PAGE.to_owned(), list, None),
            (PAGE.to_owned(), "asvs = [\"V1\", \"V2\", \"V3\",\n\"V4\"]\n", Some("requirements.toml:2 V4 has no row")),
            (PAGE.to_owned(), "asvs = [\"V1\", \"V2\"]", Some("asvs.md:9 V3 is not in")),
            (
                format!("{PAGE}| V3 | keys | not met | it is here again |\n").replace("1 not met", "2 not met"),
                list,
                Some("asvs.md:10 V3 is answered twice"),
            ),
            (PAGE.replace("it_works", "it_work"), list, Some("asvs.md:7 V1: `a/src/lib.rs` has no test `it_work`")),
            (PAGE.replace("it_works", "helper"), list, Some("asvs.md:7 V1: `a/src/lib.rs` has no test `helper`")),
            (PAGE.replace("make test", "make tests"), list, Some("asvs.md:7 V1: there is no `make tests`")),
            (
                PAGE.replace("`a/src/lib.rs::it_works`, `make test`", "it is so"),
                list,
                Some("asvs.md:7 V1: name the test"),
            ),
            (
                PAGE.replace("[README](../README.md)", "written down somewhere"),
                list,
                Some("asvs.md:8 V2: name the document"),
            ),
            (PAGE.replace("nothing does that yet", ""), list, Some("asvs.md:9 ")),
            (PAGE.replace("not met |", "unmet |"), list, Some("asvs.md:9 V3: \"unmet\" is no state")),
            (PAGE.replace("1 not met", "2 not met"), list, Some("asvs.md:1 the sum of the rows is wrong")),
        ];
        for (page, list, expected) in cases {
            let findings = found(&page, list);
            let is_as_expected = match expected {
                None => findings.is_empty(),
                Some(expected) => findings.iter().any(|finding| finding.contains(expected)),
            };
            assert!(is_as_expected, "{expected:?}: {findings:?}");
        }
    }

    #[test]
    fn what_the_threat_model_names_exists() {
        let file = |path: &str, kind, text: &str| SourceFile { path: path.to_owned(), kind, text: text.to_owned() };
        let lines = "Stopped by\n`crates/a.rs::it_works`, not `/metrics`.\n`crates/a.rs::it_work`\n`make tests`\n";
        let files = [
            file(LIST, Kind::Hash, ""),
            file("crates/a.rs", Kind::Rust, "#[test]\nfn it_works() {}\n"),
            file("security/threat-model.md", Kind::Markdown, lines),
        ];
        let mut findings = Vec::new();
        check(&files, &["crates/a.rs".to_owned()], &mut findings);
        let lines: Vec<usize> = findings.into_iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [3, 4]);
    }
}
