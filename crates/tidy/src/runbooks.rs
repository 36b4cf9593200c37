//! Checks that the runbooks have one form, that what rehearses them exists, and that each alert
//! leads to one of them.
//!
//! A page of `deploy/runbooks` has the sections of [`SECTIONS`] in this order. Its last section
//! names a `make` target or a test; every `make` target on the page exists, and every scenario of
//! `make load`. Each alert in `deploy/alerts` has a `runbook_url` that ends with a page which names
//! the alert. Tests of the binaries run the commands on the pages; the rule `references` finds
//! tests.

use std::collections::BTreeSet;

use crate::{
    files::{Kind, SourceFile},
    finding::{Finding, Rule},
};

const PAGES: &str = "deploy/runbooks/";
const ALERTS: &str = "deploy/alerts/";
const SCENARIOS: &str = "load-tests/scenarios/";
/// The list of the pages is none itself.
const LIST: &str = "deploy/runbooks/README.md";
/// The sections of a page.
const SECTIONS: [&str; 6] = ["Alerts", "Look at", "Run", "Over when", "Costs customers", "Rehearsed by"];

/// Checks every page and every alert; `paths` are all files of the repository.
pub(crate) fn check(files: &[SourceFile], paths: &[String], findings: &mut Vec<Finding>) {
    let targets = make_targets(files);
    let pages = files.iter().filter(|file| file.kind == Kind::Markdown && file.path.starts_with(PAGES));
    for page in pages.filter(|page| page.path != LIST) {
        check_page(page, &targets, paths, findings);
    }
    for alerts in files.iter().filter(|file| file.path.starts_with(ALERTS)) {
        check_alerts(alerts, files, findings);
    }
}

/// The targets of the Makefile.
fn make_targets(files: &[SourceFile]) -> BTreeSet<&str> {
    let makefile = files.iter().find(|file| file.path == "Makefile");
    let names = makefile.into_iter().flat_map(|file| file.text.lines().filter_map(|line| line.split_once(':')));
    names.map(|(name, _)| name).filter(|name| !name.is_empty() && !name.contains([' ', '\t', '$'])).collect()
}

fn check_page(page: &SourceFile, targets: &BTreeSet<&str>, paths: &[String], findings: &mut Vec<Finding>) {
    let sections: Vec<(usize, &str)> =
        (1..).zip(page.text.lines()).filter_map(|(line, text)| Some((line, text.strip_prefix("## ")?))).collect();
    let names: Vec<&str> = sections.iter().map(|(_, name)| *name).collect();
    if names != SECTIONS {
        findings.push(finding(page, 1, format!("a runbook has the sections {}, in this order", SECTIONS.join(", "))));
        return;
    }
    let rehearsal = page.text.split("## Rehearsed by").nth(1).unwrap_or_default();
    if !rehearsal.contains("make ") && !rehearsal.contains("::") {
        let line = sections.last().map_or(1, |(line, _)| *line);
        findings.push(finding(page, line, "name the make target or the test that rehearses this page".to_owned()));
    }
    for (line, target) in words_after(&page.text, "make") {
        if !targets.contains(target) {
            findings.push(finding(page, line, format!("there is no `make {target}`; name what took its place")));
        }
    }
    for (line, scenario) in words_after(&page.text, "SCENARIO=") {
        if !paths.contains(&format!("{SCENARIOS}{scenario}.toml")) {
            findings.push(finding(page, line, format!("there is no load scenario {scenario}")));
        }
    }
}

/// The words in backticks that follow `before`, with their lines. A name in backticks may go on in
/// the next line.
fn words_after<'a>(text: &'a str, before: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
    let spans = text.split('`').enumerate().filter(|(at, _)| at % 2 == 1).map(|(_, span)| span);
    spans.filter_map(move |span| {
        let (_, rest) = span.split_once(before).filter(|(ahead, _)| before.ends_with('=') || ahead.is_empty())?;
        let line = 1 + text[..span.as_ptr() as usize - text.as_ptr() as usize].matches('\n').count();
        Some((line, rest.split_whitespace().next()?))
    })
}

/// The alerts of a file of rules: each names a page that names the alert.
fn check_alerts(alerts: &SourceFile, files: &[SourceFile], findings: &mut Vec<Finding>) {
    let mut open: Option<(usize, &str)> = None;
    let missing = |(line, alert): (usize, &str)| {
        finding(alerts, line, format!("{alert} has no runbook_url; name a page of {PAGES}"))
    };
    for (line, text) in (1..).zip(alerts.text.lines()) {
        let text = text.trim_start().trim_start_matches("- ");
        if let Some(alert) = text.strip_prefix("alert:") {
            findings.extend(open.replace((line, alert.trim())).map(missing));
        } else if let Some(url) = text.strip_prefix("runbook_url:") {
            let Some((_, alert)) = open.take() else { continue };
            let url = url.trim().trim_matches(['"', '\'']);
            let page = url.rsplit_once(PAGES).map(|(_, name)| format!("{PAGES}{name}"));
            let page = files.iter().find(|file| Some(&file.path) == page.as_ref());
            match page {
                None => findings.push(finding(alerts, line, format!("{alert} leads to {url}, which does not exist"))),
                Some(page) if !page.text.contains(&format!("`{alert}`")) => {
                    findings.push(finding(page, 1, format!("the page does not name `{alert}`, which leads to it")));
                }
                Some(_) => {}
            }
        }
    }
    findings.extend(open.map(missing));
}

fn finding(file: &SourceFile, line: usize, message: String) -> Finding {
    Finding { file: file.path.clone(), line, rule: Rule::Runbooks, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# Full disk\n\n## Alerts\n\n`DiskFull`\n\n## Look at\n\n## Run\n\n## Over when\n\n\
                        ## Costs customers\n\n## Rehearsed by\n\n`make test` and `make load\nSCENARIO=spike`.\n";
    const RULES: &str = "groups:\n- rules:\n  - alert: DiskFull\n    annotations:\n      \
                         runbook_url: https://example.org/deploy/runbooks/full-disk.md\n";

    /// The findings for a page and a file of alerts.
    fn found(page: &str, rules: &str) -> Vec<String> {
        let file = |path: &str, kind, text: &str| SourceFile { path: path.to_owned(), kind, text: text.to_owned() };
        let files = [
            file("Makefile", Kind::Hash, "test: ## Tests\nload: build\n"),
            file("deploy/runbooks/full-disk.md", Kind::Markdown, page),
            file("deploy/alerts/all.yaml", Kind::Hash, rules),
        ];
        let mut findings = Vec::new();
        check(&files, &["load-tests/scenarios/spike.toml".to_owned()], &mut findings);
        findings.into_iter().map(|finding| format!("{}:{} {}", finding.file, finding.line, finding.message)).collect()
    }

    #[test]
    fn a_page_has_its_sections_and_a_rehearsal_and_each_alert_a_page() {
        let cases: [(String, String, Option<&str>); 9] = [
            (PAGE.to_owned(), RULES.to_owned(), None),
            (PAGE.replace("## Over when\n", ""), RULES.to_owned(), Some("full-disk.md:1 a runbook has the sections")),
            (
                PAGE.replace("make test", "make tests"),
                RULES.to_owned(),
                Some("full-disk.md:17 there is no `make tests`"),
            ),
            (
                PAGE.replace("spike", "spikes"),
                RULES.to_owned(),
                Some("full-disk.md:17 there is no load scenario spikes"),
            ),
            (
                PAGE.replace("`make test` and `make load\nSCENARIO=spike`", "Nothing"),
                RULES.to_owned(),
                Some("full-disk.md:15 name the make target or the test"),
            ),
            (
                PAGE.replace("`DiskFull`", ""),
                RULES.to_owned(),
                Some("full-disk.md:1 the page does not name `DiskFull`"),
            ),
            (PAGE.to_owned(), RULES.replace("full-disk", "no-disk"), Some("all.yaml:5 DiskFull leads to")),
            (PAGE.to_owned(), RULES.replace("runbook_url", "summary"), Some("all.yaml:3 DiskFull has no runbook_url")),
            (
                PAGE.to_owned(),
                RULES.replace("  - alert: DiskFull", "  - alert: Other\n  - alert: DiskFull"),
                Some("all.yaml:3 Other has no runbook_url"),
            ),
        ];
        for (page, rules, expected) in cases {
            let findings = found(&page, &rules);
            let is_as_expected = match expected {
                None => findings.is_empty(),
                Some(expected) => findings.len() == 1 && findings[0].contains(expected),
            };
            assert!(is_as_expected, "{expected:?}: {findings:?}");
        }
    }
}
