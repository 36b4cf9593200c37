//! `twqr reconcile`: compares a business day with the files of the counterparties, which are the
//! wallet and FISC.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use clap::Args;
use twqr_client::{BooksRange, business_day, check_bounds, cut_offs, settled};
use twqr_config::Config;
use twqr_settlement::{Books, CounterpartyFile, Entry, Side, read_movements, reconcile};

use super::settlement;

/// The arguments of `twqr reconcile`.
#[derive(Debug, Args)]
pub(crate) struct Reconcile {
    /// The business day, YYYY-MM-DD or YYYYMMDD; it ends at the cut-off that was in force at 00:00
    /// of this date
    #[arg(long)]
    date: String,
    /// FISC's file of the day; one of all files may be - for standard input
    #[arg(long, value_name = "FILE")]
    fisc: PathBuf,
    /// The wallet's file of the day
    #[arg(long, value_name = "FILE")]
    wallet: PathBuf,
    /// FISC's file of the day before: shows movements that it books on that day, or on both
    #[arg(long, value_name = "FILE")]
    fisc_before: Option<PathBuf>,
    /// The wallet's file of the day before
    #[arg(long, value_name = "FILE")]
    wallet_before: Option<PathBuf>,
    /// FISC's file of the day after
    #[arg(long, value_name = "FILE")]
    fisc_after: Option<PathBuf>,
    /// The wallet's file of the day after
    #[arg(long, value_name = "FILE")]
    wallet_after: Option<PathBuf>,
    /// The operators' API; the configured one by default
    #[arg(long, value_name = "URI")]
    endpoint: Option<String>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// Accept a day that is not complete
    #[arg(long)]
    partial: bool,
}

/// The exit code if the two sides differ.
const DIFFERS: u8 = 2;

/// Prints the report; exit code 0 if both sides agree, 2 if they differ, 1 on an error.
pub(crate) async fn run(arguments: Reconcile, config: &Config) -> anyhow::Result<ExitCode> {
    let endpoint = config.operators_endpoint(arguments.endpoint.as_deref());
    let day = business_day(&arguments.date, &endpoint).await?;
    let close = settlement::check_complete(day, arguments.partial)?;
    let cut_offs = cut_offs(&endpoint).await?;
    let (before, after) = (cut_offs.day(day.previous()), cut_offs.day(day.next()));
    let files = files(&[(Side::Wallet, Some(&arguments.wallet)), (Side::Fisc, Some(&arguments.fisc))])?;
    let theirs_before =
        self::files(&[(Side::Wallet, arguments.wallet_before.as_ref()), (Side::Fisc, arguments.fisc_before.as_ref())])?;
    let theirs_after =
        self::files(&[(Side::Wallet, arguments.wallet_after.as_ref()), (Side::Fisc, arguments.fisc_after.as_ref())])?;
    // Two calls: the server refuses an incomplete range that has ended, but the day after may still
    // be running.
    let mut entries = settled(&endpoint, BooksRange { from: before.from(), to: day.to(), close }, "").await?;
    entries.extend(settled(&endpoint, BooksRange { from: day.to(), to: after.to(), close: false }, "").await?);
    check_bounds(before, &endpoint).await?;
    check_bounds(day, &endpoint).await?;
    let (ours_before, entries): (Vec<Entry>, Vec<Entry>) =
        entries.into_iter().partition(|entry| entry.booked_at < day.from());
    let (entries, ours_after): (Vec<Entry>, Vec<Entry>) =
        entries.into_iter().partition(|entry| entry.booked_at < day.to());
    let neighbours = [
        Books { day: before, entries: &ours_before, files: &theirs_before },
        Books { day: after, entries: &ours_after, files: &theirs_after },
    ];
    let report = reconcile(Books { day, entries: &entries, files: &files }, &neighbours);
    let text = if arguments.json { serde_json::to_string_pretty(&report)? + "\n" } else { report.to_string() };
    twqr_files::stdout().write_all(text.as_bytes())?;
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(DIFFERS) })
}

fn files(paths: &[(Side, Option<&PathBuf>)]) -> anyhow::Result<Vec<CounterpartyFile>> {
    let given = paths.iter().filter_map(|(side, path)| path.map(|path| (*side, path)));
    given.map(|(side, path)| file(side, path)).collect()
}

fn file(side: Side, path: &Path) -> anyhow::Result<CounterpartyFile> {
    let bytes = twqr_files::read(path).with_context(|| format!("{side}'s file {} cannot be read", path.display()))?;
    let read = read_movements(side, &bytes);
    match read.refusal() {
        Some(refusal) => bail!("{side}'s file {} {refusal}", path.display()),
        None => Ok(read),
    }
}
