//! The sample day that uses the full API. Each call is audited against its expected result and the
//! simulator's ledger. At the end, the business day is reconciled with the counterparties' files.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use serde_json::json;
use twqr_client::{BooksRange, ProgressBar, cut_offs, settled};
use twqr_config::Config;
use twqr_loadgen::{
    full_api::{Line, PlayedCall, audit_full_api, parse_line, play, settle},
    ledger,
};
use twqr_service::{Clock, SystemClock};
use twqr_settlement::{Books, Side, read_movements, reconcile};
use twqr_types::UnixMs;
use twqr_wire::backend::LedgerEntry;

use crate::{
    counterparty_files,
    launch::connect,
    payments_run::{Serving, say},
};

/// The day's calls, read from a file.
pub(crate) struct FullApiDay {
    file: PathBuf,
    lines: Vec<Line>,
}

impl FullApiDay {
    /// Reads the file; an error names the line and its fault.
    pub(crate) fn read(file: &Path) -> anyhow::Result<Self> {
        let name = file.display();
        let text = twqr_files::read_text(file).with_context(|| format!("{name} cannot be read"))?;
        let line = |(number, line): (usize, &str)| parse_line(line).with_context(|| format!("{name}:{number}"));
        let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.is_empty()).map(line);
        Ok(Self { file: file.to_owned(), lines: lines.collect::<anyhow::Result<_>>()? })
    }
}

/// Plays the day, audits it, reconciles the business day, and writes `report-full-api.json` to
/// `dir`.
pub(crate) async fn take_full_api_day(
    day: FullApiDay,
    dir: &Path,
    serving: &Serving,
    config: &Config,
) -> anyhow::Result<()> {
    let began_at = SystemClock.now();
    let chains = day.lines.iter().map(|line| line.chain).collect::<std::collections::BTreeSet<_>>().len();
    let merchants: Vec<String> = day.lines.iter().map(|line| line.call.key().0).collect();
    let mut progress = ProgressBar::start("chains of calls", chains as u64);
    let played = play(&serving.pos, day.lines, || progress.step("")).await;
    progress.finish("ended");
    let orders = settle(&serving.pos, &played).await;
    let entries = ledger(connect(&serving.wallet).await?).await.context("the simulator's ledger cannot be read")?;
    let own: Vec<LedgerEntry> =
        entries.iter().filter(|entry| merchants.contains(&entry.merchant_id)).cloned().collect();
    let found = audit_full_api(&played, &orders, &own);
    let table = table(&played);
    for ((call, result), (count, resolved)) in &table {
        let resolved = if *resolved > 0 { format!(", {resolved} of them in progress first") } else { String::new() };
        say(&format!("{call:<8} {result:<15} {count:>4}{resolved}"));
    }
    let (twice, over, lost) = (found.twice.len(), found.over_refunded.len(), found.lost.len());
    let (contradicted, unexpected, malformed) =
        (found.contradicted.len(), found.unexpected.len(), found.malformed.len());
    say(&format!(
        "audit of {} calls about {} orders: twice {twice}, over-refunded {over}, lost {lost}, contradicted {contradicted}, \
         not as expected {unexpected}, malformed {malformed}",
        played.len(),
        orders.len()
    ));
    let reconciled = reconciled(began_at, dir, &entries, config).await?;
    let counts: Vec<_> = table
        .iter()
        .map(|((call, result), (count, resolved))| {
            json!({ "call": call, "result": result, "count": count, "in_progress_first": resolved })
        })
        .collect();
    let report = json!({
        "file": day.file, "calls": played.len(), "orders": orders.len(), "ledger_entries": own.len(), "results": counts,
        "audit": found, "reconciliation": reconciled.as_ref().map(|report| json!(report)),
    });
    let file = dir.join("report-full-api.json");
    fs::write(&file, serde_json::to_vec_pretty(&report)?)?;
    say(&format!("the same figures: {}", file.display()));
    if !found.is_clean() {
        bail!("the audit of the full API found: {found:#?}");
    }
    if let Some(report) = reconciled.filter(|report| !report.is_clean()) {
        bail!("the reconciliation found:\n{report}");
    }
    Ok(())
}

/// Counts the calls by operation and result, and how many of them were in progress first.
fn table(played: &[PlayedCall]) -> BTreeMap<(&'static str, String), (usize, usize)> {
    let mut table: BTreeMap<(&'static str, String), (usize, usize)> = BTreeMap::new();
    for call in played {
        let (count, resolved) = table.entry((call.line.call.name(), call.outcome.result.clone())).or_default();
        *count += 1;
        *resolved += usize::from(call.outcome.was_in_progress);
    }
    table
}

/// How many checkpoint intervals the last states may take to reach the read model.
const CHECKPOINTS: u64 = 10;

/// Reconciles the business day with the counterparties' files; `None` if the day ended
/// during the run.
async fn reconciled(
    began_at: UnixMs,
    dir: &Path,
    entries: &[LedgerEntry],
    config: &Config,
) -> anyhow::Result<Option<twqr_settlement::Report>> {
    tokio::time::sleep(Duration::from_millis(config.checkpoint_interval_ms * CHECKPOINTS)).await;
    let endpoint = config.operators_endpoint(None);
    let cut_offs = cut_offs(&endpoint).await?;
    let began = cut_offs.day_of(began_at);
    let files = counterparty_files::write(entries, began, &dir.join("counterparties"))?;
    let range = BooksRange { from: began.from(), to: began.to(), close: false };
    let entries = settled(&endpoint, range, "").await?;
    if cut_offs.day_of(SystemClock.now()) != began {
        say("the business day ended during the run; it is not reconciled");
        return Ok(None);
    }
    let read = |(side, file): (Side, &PathBuf)| anyhow::Ok(read_movements(side, &fs::read(file)?));
    let sides = [Side::Wallet, Side::Fisc].into_iter().zip(&files).map(read);
    let files = sides.collect::<anyhow::Result<Vec<_>>>()?;
    let report = reconcile(Books { day: began, entries: &entries, files: &files }, &[]);
    say(report.to_string().trim_end());
    Ok(Some(report))
}
