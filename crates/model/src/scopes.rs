//! The table of scopes: what is checked, and the expected result. A line names a model, what is
//! expected (`holds`, or the beginning of the property that must be violated) and the settings:
//!
//! ```text
//! payment | holds | worker_crashes=1
//! payment | I1    | worker_crashes=1 inquires_first=0
//! ```
//!
//! The second kind breaks a rule on purpose, and the check must notice it.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use anyhow::{Context, bail, ensure};

use crate::{
    checker::{Report, Verdict, check},
    handover::Handover,
    payment::Payment,
    storage::Storage,
};

/// Checks with more states than this are given up, so that memory stays below 3 GB for each thread.
const STATES_MAX: usize = 20_000_000;

/// A line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    model: String,
    /// The beginning of the property that must be violated; `None` if all must hold.
    violates: Option<String>,
    settings: String,
}

/// A scope with what its check found.
pub(crate) struct CheckedScope {
    scope: Scope,
    report: Report,
}

impl Scope {
    /// Reads `model | expectation | settings`.
    pub(crate) fn parse(line: &str) -> anyhow::Result<Self> {
        let fields: Vec<&str> = line.split('|').map(str::trim).collect();
        let [model, expected, settings] = fields[..] else { bail!("{line}: must be model | expectation | settings") };
        ensure!(!expected.is_empty(), "{line}: the expectation is missing: holds, or a property");
        let violates = (expected != "holds").then(|| expected.to_owned());
        let settings = settings.split_whitespace().collect::<Vec<_>>().join(" ");
        Ok(Self { model: model.to_owned(), violates, settings })
    }

    /// Checks the scope.
    pub(crate) fn check(self) -> anyhow::Result<CheckedScope> {
        let report = match &*self.model {
            "payment" => check(&Payment::parse(&self.settings)?, STATES_MAX),
            "storage" => check(&Storage::parse(&self.settings)?, STATES_MAX),
            "handover" => check(&Handover::parse(&self.settings)?, STATES_MAX),
            other => bail!("there is no model {other}; the models are: payment, storage, handover"),
        };
        Ok(CheckedScope { scope: self, report })
    }
}

impl CheckedScope {
    /// Whether the expectation of the table is met.
    pub(crate) fn is_as_expected(&self) -> bool {
        match (&self.scope.violates, &self.report.verdict) {
            (None, Verdict::Holds) => true,
            (Some(expected), Verdict::Violated(property)) => property.starts_with(&**expected),
            (None | Some(_), Verdict::Holds | Verdict::Violated(_) | Verdict::TooLarge) => false,
        }
    }

    /// One line: what came out, with the states visited and the seconds taken.
    pub(crate) fn line(&self) -> String {
        let Scope { model, settings, violates } = &self.scope;
        let (result, detail) = match (&self.report.verdict, violates) {
            (Verdict::Holds, None) => ("holds", String::new()),
            (Verdict::Holds, Some(expected)) => ("MISSED", format!("  nothing is violated, expected {expected}")),
            (Verdict::TooLarge, _) => ("TOO LARGE", format!("  more than {STATES_MAX} states")),
            (Verdict::Violated(property), Some(expected)) if property.starts_with(&**expected) => {
                ("caught", format!("  {property}"))
            }
            (Verdict::Violated(property), Some(expected)) => ("MISSED", format!("  {property}, expected {expected}")),
            (Verdict::Violated(property), None) => ("BROKEN", format!("  {property}")),
        };
        let seconds = self.report.took.as_secs_f64();
        format!("{result:<7} {:>9} states {seconds:>5.1} s  {model} {settings}{detail}", self.report.states)
    }

    /// The steps to the violation; empty if there is none.
    pub(crate) fn trace(&self) -> &[String] {
        &self.report.trace
    }
}

/// Reads a table. Empty lines and lines that begin with `#` are skipped.
pub(crate) fn parse_table(text: &str) -> anyhow::Result<Vec<Scope>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(Scope::parse).collect()
}

/// Checks all scopes on `threads` threads, and passes each result to `show` as it comes.
pub(crate) fn check_all(scopes: &[Scope], threads: usize, show: impl Fn(&CheckedScope) + Sync) -> anyhow::Result<bool> {
    let next = AtomicUsize::new(0);
    let check_some = || -> anyhow::Result<bool> {
        let mut are_as_expected = true;
        while let Some(scope) = scopes.get(next.fetch_add(1, Ordering::Relaxed)) {
            let checked = scope.clone().check().with_context(|| format!("{} | {}", scope.model, scope.settings))?;
            show(&checked);
            are_as_expected &= checked.is_as_expected();
        }
        Ok(are_as_expected)
    };
    thread::scope(|spawner| {
        let running: Vec<_> = (0..threads).map(|_| spawner.spawn(check_some)).collect();
        running.into_iter().try_fold(true, |all, thread| match thread.join() {
            Ok(checked) => Ok(checked? && all),
            Err(_) => bail!("a check panicked: the scope exceeds the limits of the model"),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &str) -> CheckedScope {
        Scope::parse(line).unwrap().check().unwrap()
    }

    #[test]
    fn a_line_is_met_only_by_what_it_expects() {
        for (line, expected, begins) in [
            ("payment | holds | ticks=0", true, "holds"),
            ("payment | I1 | ticks=0", false, "MISSED"),
            ("payment | I1 | worker_crashes=1 inquires_first=0", true, "caught"),
            ("payment | I4 | worker_crashes=1 inquires_first=0", false, "MISSED"),
            ("payment | holds | worker_crashes=1 inquires_first=0", false, "BROKEN"),
        ] {
            let checked = run(line);
            assert_eq!(checked.is_as_expected(), expected, "{line}: {}", checked.line());
            assert!(checked.line().starts_with(begins), "{line}: {}", checked.line());
            assert_eq!(checked.trace().is_empty(), !line.contains("inquires"), "{line}");
        }
    }

    #[test]
    fn the_tables_can_be_read() {
        for table in [include_str!("../scopes.txt"), include_str!("../scopes-long.txt")] {
            for scope in parse_table(table).unwrap() {
                match &*scope.model {
                    "payment" => drop(Payment::parse(&scope.settings).unwrap()),
                    "storage" => drop(Storage::parse(&scope.settings).unwrap()),
                    "handover" => drop(Handover::parse(&scope.settings).unwrap()),
                    other => panic!("{other}"),
                }
            }
        }
        assert!(parse_table("payment | holds").unwrap_err().to_string().contains("model | expectation | settings"));
    }

    #[test]
    fn a_wrong_line_in_a_table_is_reported() {
        let table = parse_table("payment | holds | ticks=0\npayment | I1 | ticks=0").unwrap();
        assert!(!check_all(&table, 2, |_| {}).unwrap());
        assert!(check_all(&table[..1], 2, |_| {}).unwrap());
    }
}
