//! The first sample day: payments of every issuer, sent through the public API, audited order by
//! order against the simulator's ledger.

mod table;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use tonic::transport::Channel;
use twqr_client::{Problem, ProgressBar, parse};
use twqr_config::PeerAddress;
use twqr_files::without_mark;
use twqr_loadgen::{audit, ledger, resolve, send_each};
use twqr_wire::{backend::LedgerEntry, pos::PayRequest};

use crate::{launch::connect, usage::Usage};
use table::{Table, header};

/// The number of requests in flight at once.
const IN_FLIGHT: usize = 200;
/// The time that orders in progress have to become final, in s.
const RESOLVE_S: u64 = 90;

/// Prints a line of a command's report. A failure is not reported: the run is the point, and its
/// figures are also in files.
pub(crate) fn say(text: &str) {
    drop(twqr_files::print_line(text));
}

/// A day of payments, read from a file.
pub(crate) struct Day {
    file: PathBuf,
    requests: Vec<PayRequest>,
    /// Each malformed line with its file, its number and the fault.
    bad_lines: Vec<String>,
}

impl Day {
    /// Reads the file. Malformed lines are part of the day and not an error.
    pub(crate) fn read(file: &Path) -> anyhow::Result<Self> {
        let name = file.display();
        let bytes = twqr_files::read(file).with_context(|| format!("{name} cannot be read"))?;
        let mut day = Self { file: file.to_owned(), requests: Vec::new(), bad_lines: Vec::new() };
        let lines = (1..).zip(without_mark(&bytes).split(|byte| *byte == b'\n'));
        for (number, line) in lines.filter(|(_, line)| !line.trim_ascii().is_empty()) {
            match parse(line) {
                Ok(request) => day.requests.push(request),
                Err(problems) => {
                    let problem =
                        |p: Problem| format!("{} {}", p.field.unwrap_or_else(|| "the line".to_owned()), p.text);
                    let problems: Vec<String> = problems.into_iter().map(problem).collect();
                    day.bad_lines.push(format!("{name}:{number}: {}", problems.join("; ")));
                }
            }
        }
        Ok(day)
    }

    /// Whether the ledger entry belongs to an order of this day.
    fn is_about(&self, entry: &LedgerEntry) -> bool {
        let same = |request: &PayRequest| {
            (&request.merchant_id, &request.merchant_trade_no) == (&entry.merchant_id, &entry.merchant_trade_no)
        };
        self.requests.iter().any(same)
    }
}

/// How a sample day reaches a running system.
pub(crate) struct Serving {
    /// A channel to the public API.
    pub(crate) pos: Channel,
    /// The simulator's wallet address, where its ledger can be read.
    pub(crate) wallet: PeerAddress,
    /// The process ids of the services.
    pub(crate) services: Vec<u32>,
}

/// Sends the day, waits until no order is in progress, audits, and writes `report.json` to `dir`.
/// The report has the day's figures, and `more` under the key `beside`.
pub(crate) async fn take_day(day: Day, dir: &Path, serving: &Serving, more: serde_json::Value) -> anyhow::Result<()> {
    let lines = day.requests.len() + day.bad_lines.len();
    let mut progress = ProgressBar::start("payments", day.requests.len() as u64);
    let results = send_each(&serving.pos, day.requests.clone(), IN_FLIGHT, || progress.step("")).await;
    progress.finish("answered");
    say("waiting until no order is in progress");
    let orders = resolve(&serving.pos, &results, Duration::from_secs(RESOLVE_S)).await;
    let entries = ledger(connect(&serving.wallet).await?).await.context("the simulator's ledger cannot be read")?;
    let entries: Vec<_> = entries.into_iter().filter(|entry| day.is_about(entry)).collect();
    let found = audit(&results, &orders, &entries);
    let table = Table::new(&day.requests, &results, &orders);
    let resident: u64 = serving.services.iter().map(|id| Usage::of(*id).resident_bytes).sum();

    say(&header());
    for line in table.lines() {
        say(&line);
    }
    say(&format!("{} of {lines} lines are malformed:", day.bad_lines.len()));
    for line in &day.bad_lines {
        say(&format!("  {line}"));
    }
    let (twice, lost, contradicted) = (found.charged_twice.len(), found.lost.len(), found.contradicted.len());
    say(&format!("resident memory of the services: {} MiB", resident >> 20));
    say(&format!("audit of {} orders: charged twice {twice}, lost {lost}, contradicted {contradicted}", orders.len()));
    let report = serde_json::json!({
        "file": day.file, "lines": lines, "bad_lines": day.bad_lines, "issuers": table.report(),
        "orders": orders.len(), "ledger_entries": entries.len(), "resident_mib": resident >> 20, "audit": found,
        "beside": more,
    });
    let file = dir.join("report.json");
    std::fs::write(&file, serde_json::to_vec_pretty(&report)?)?;
    say(&format!("the same figures: {}", file.display()));
    if !found.is_clean() {
        bail!("the audit found: {found:?}");
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_day_may_be_written_on_windows() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "\u{feff}{\"MerchantTradeNo\":\"T1\"}\r\n\r\n{\"MerchantTradeNo\":\"T2\"}\r\n")
            .unwrap();
        let day = Day::read(file.path()).unwrap();
        assert_eq!((day.requests.len(), day.bad_lines), (2, Vec::new()));
    }
}
