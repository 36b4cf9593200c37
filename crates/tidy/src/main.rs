//! `make check-files`: rules for source files that neither rustfmt nor clippy checks.
//!
//! Each rule has a module: `header` (a file opens with a module doc and has at most 500 lines),
//! `prose` (width of comments and documents), `doc_words` (a doc comment has at least three words),
//! `circles` (no two files of a crate use each other), `references` (files and tests that a
//! document names exist), `type_names` (no two types of a crate have one name), `runbooks` (their
//! form, their rehearsals, and that each alert leads to one) and `requirements` (each one of the
//! security standards has an answer, and tests that exist). Every finding names file, line and what
//! to do.

mod circles;
mod comments;
mod doc_words;
mod evidence;
mod files;
mod finding;
mod header;
mod prose;
mod references;
mod requirements;
mod runbooks;
mod type_names;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    path::Path,
    process::ExitCode,
};

use anyhow::{Context, bail};

use files::{Kind, SourceFile};
use finding::{Finding, Rule};

const USAGE: &str = "usage: twqr-tidy [--report RULE]... [FOLDER]
  FOLDER         a git work tree; the current folder if absent
  --report RULE  counts the findings of this rule by crate instead of failing on them";

/// The options of the command line.
struct Options {
    root: String,
    /// Rules whose findings are only counted.
    reported: BTreeSet<Rule>,
}

fn parse(mut args: impl Iterator<Item = String>) -> anyhow::Result<Options> {
    let mut options = Options { root: ".".to_owned(), reported: BTreeSet::new() };
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--report" => {
                let name = args.next().with_context(|| format!("--report needs a rule\n{USAGE}"))?;
                let rule = Rule::ALL.into_iter().find(|rule| rule.name() == name);
                let allowed = Rule::ALL.map(Rule::name).join(", ");
                options
                    .reported
                    .insert(rule.with_context(|| format!("there is no rule {name}; the rules are {allowed}"))?);
            }
            folder if !folder.starts_with('-') => folder.clone_into(&mut options.root),
            other => bail!("unknown option {other}\n{USAGE}"),
        }
    }
    Ok(options)
}

/// Applies every rule to every file below `root` that git does not ignore.
fn check(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let paths = files::list(root)?;
    let files = files::read_all(root, &paths);
    let mut findings = Vec::new();
    for file in &files {
        check_file(file, &mut findings);
    }
    circles::check(&files, &mut findings)?;
    references::check(&files, &paths, &mut findings);
    type_names::check(&files, &mut findings);
    runbooks::check(&files, &paths, &mut findings);
    requirements::check(&files, &paths, &mut findings);
    findings.sort();
    findings.dedup();
    Ok(findings)
}

fn check_file(file: &SourceFile, findings: &mut Vec<Finding>) {
    let comments = comments::read(file);
    prose::check(file, &comments, findings);
    if file.kind == Kind::Rust {
        header::check(file, findings);
        doc_words::check(file, &comments, findings);
    }
}

/// Prints the findings; returns whether one of them fails the check.
fn print(findings: &[Finding], options: &Options, out: &mut impl Write) -> std::io::Result<bool> {
    let mut counts: BTreeMap<(Rule, &str), usize> = BTreeMap::new();
    let mut has_failed = false;
    for finding in findings {
        if options.reported.contains(&finding.rule) {
            *counts.entry((finding.rule, finding.owner())).or_default() += 1;
        } else {
            has_failed = true;
            writeln!(out, "check-files: {finding}")?;
        }
    }
    for ((rule, owner), count) in counts {
        writeln!(out, "check-files: {owner}: {count} findings of rule {}, only counted", rule.name())?;
    }
    Ok(has_failed)
}

#[allow(clippy::disallowed_methods, reason = "a tool of this repository")]
fn main() -> anyhow::Result<ExitCode> {
    let options = parse(std::env::args().skip(1))?;
    let findings = check(Path::new(&options.root))?;
    let out = &mut std::io::stdout().lock();
    if print(&findings, &options, out)? {
        return Ok(ExitCode::FAILURE);
    }
    writeln!(out, "check-files: no findings")?;
    Ok(ExitCode::SUCCESS)
}
