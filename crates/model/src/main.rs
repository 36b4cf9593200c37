//! `make model`: checks the protocol of `crates/ARCHITECTURE.md` (rules P1 to P8) exhaustively in
//! small scopes. Each rule is a switch; the table of scopes also breaks each rule on purpose, and
//! the check must notice it.
//!
//! The protocol changes only together with this model.

mod bounded;
mod checker;
mod fingerprint;
mod handover;
mod payment;
mod scopes;
mod settings;
mod storage;

use std::{io::Write, process::ExitCode};

use anyhow::{Context, bail};

use scopes::{CheckedScope, Scope, check_all, parse_table};

const USAGE: &str = "usage: twqr-model TABLE          checks every line of a table of scopes
       twqr-model MODEL [SETTING]... checks one scope and prints the trace of a violation";

/// Two checks at once: more would need too much memory.
const THREADS: usize = 2;

#[allow(clippy::disallowed_methods, reason = "a tool of this repository")]
fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((first, settings)) = arguments.split_first() else { bail!("{USAGE}") };
    let is_table = std::path::Path::new(first).is_file();
    let holds = if is_table {
        let table = std::fs::read_to_string(first).with_context(|| format!("cannot read {first}"))?;
        check_all(&parse_table(&table)?, THREADS, print_checked)?
    } else {
        let checked = Scope::parse(&format!("{first} | holds | {}", settings.join(" ")))?.check()?;
        print_checked(&checked);
        checked.is_as_expected()
    };
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints the result, with the trace of a violation that was not expected.
#[allow(clippy::disallowed_methods, reason = "a tool of this repository")]
fn print_checked(checked: &CheckedScope) {
    let trace: &[String] = if checked.is_as_expected() { &[] } else { checked.trace() };
    let mut out = std::io::stdout().lock();
    for line in std::iter::once(&checked.line()).chain(trace) {
        // A closed pipe ends the output, not the check.
        drop(writeln!(out, "{line}"));
    }
}
