//! `twqr settlement`: writes the accounting file of each merchant for a business day, and verifies
//! files.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use twqr_client::BooksRange;
use twqr_config::{Config, parse_table, typed};
use twqr_files::{print_error_line, print_line};
use twqr_service::{Clock, SystemClock};
use twqr_settlement::{AccountingFile, Entry, Layout, LayoutConfig, verify_file, write_file};
use twqr_types::{BusinessDay, MerchantId};

/// The arguments of `twqr settlement`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Settlement {
    #[command(subcommand)]
    command: Option<Verify>,
    #[command(flatten)]
    day: Option<Day>,
}

#[derive(Debug, Subcommand)]
enum Verify {
    /// Checks a file's checksum, counts and totals; prints every fault and exits with 1 if there is
    /// one
    Verify {
        /// The accounting file, or - for standard input
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Day {
    /// The business day, YYYY-MM-DD or YYYYMMDD; it ends at the cut-off that was in force at 00:00
    /// of this date
    #[arg(long)]
    date: String,
    /// Write only this merchant's file, even without movements; by default one for each merchant
    /// with movements
    #[arg(long, value_parser = merchant_id)]
    merchant: Option<String>,
    /// The folder for the files, made for the present user alone if it does not exist; files of the
    /// same name are replaced
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// The operators' API; the configured one by default
    #[arg(long, value_name = "URI")]
    endpoint: Option<String>,
    /// A layout (TOML), or - for standard input; by default `settlement.layout` of the
    /// configuration
    #[arg(long, value_name = "FILE")]
    layout: Option<PathBuf>,
    /// Accept a day that is not complete; the names of its files end in .partial
    #[arg(long)]
    partial: bool,
}

/// Checks the form of a MerchantID.
fn merchant_id(raw: &str) -> Result<String, String> {
    MerchantId::parse(raw.to_owned()).map(|id| id.as_str().to_owned())
}

/// How long after a day's end its last states may take to reach the read model, in ms. States are
/// written at checkpoints, some time after they were decided.
const CHECKPOINT_DELAY_MS_MAX: i64 = 60_000;
/// How many warnings are printed for each file.
const WARNINGS_MAX: usize = 20;

/// Writes or verifies files; exit code 1 if a file could not be written or is invalid.
pub(crate) async fn run(arguments: Settlement, config: &Config) -> anyhow::Result<ExitCode> {
    match (arguments.command, arguments.day) {
        (Some(Verify::Verify { file }), _) => verify(&file),
        (None, Some(day)) => write(&day, config).await,
        (None, None) => anyhow::bail!("--date is missing; write --date YYYY-MM-DD"),
    }
}

fn verify(file: &Path) -> anyhow::Result<ExitCode> {
    let place = file.display();
    let bytes = twqr_files::read(file).with_context(|| format!("{place} cannot be read"))?;
    match verify_file(&bytes) {
        Ok(good) => {
            let (count, net) = (good.totals.all.count(), good.totals.all.net());
            let (merchant, date) = (good.merchant_id, good.date);
            print_line(format_args!("{place}: good, merchant {merchant:?}, {date}, {count} movements, net {net} TWD"))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(faults) => {
            for fault in faults.0 {
                print_error_line(format_args!("{place}: {fault}"));
            }
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn write(arguments: &Day, config: &Config) -> anyhow::Result<ExitCode> {
    let layout = layout(arguments.layout.as_deref(), config)?;
    let endpoint = config.operators_endpoint(arguments.endpoint.as_deref());
    let day = twqr_client::business_day(&arguments.date, &endpoint).await?;
    let is_complete = check_complete(day, arguments.partial)?;
    let merchant = arguments.merchant.as_deref().unwrap_or_default();
    let mut merchants: BTreeMap<Box<str>, Vec<Entry>> = BTreeMap::new();
    if !merchant.is_empty() {
        merchants.insert(merchant.into(), Vec::new());
    }
    let range = BooksRange { from: day.from(), to: day.to(), close: is_complete };
    for entry in twqr_client::settled(&endpoint, range, merchant).await? {
        merchants.entry(entry.merchant_id.clone()).or_default().push(entry);
    }
    twqr_client::check_bounds(day, &endpoint).await?;
    for (merchant, _) in merchants.iter().filter(|(_, entries)| entries.is_empty()) {
        print_error_line(format_args!("merchant {merchant:?} has no movement on {day}; check the MerchantID"));
    }
    // A folder that exists may be one for other users.
    let created = fs::DirBuilder::new().recursive(true).mode(0o700).create(&arguments.out);
    created.with_context(|| format!("{} cannot be created", arguments.out.display()))?;
    let mut failed = 0;
    for (merchant, entries) in &merchants {
        let ending = if is_complete { "" } else { ".partial" };
        let written = write_file(merchant, day, entries, &layout).map_err(anyhow::Error::from);
        if let Err(error) = written.and_then(|file| save(&file, &arguments.out, ending)) {
            failed += 1;
            print_error_line(format_args!("merchant {merchant:?}: {error:#}"));
        }
    }
    print_line(format_args!("{day}: {} of {} files written", merchants.len() - failed, merchants.len()))?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Returns whether the day is complete. Fails if it is not, unless `partial` accepts that.
pub(super) fn check_complete(day: BusinessDay, partial: bool) -> anyhow::Result<bool> {
    let complete_at = day.to().plus(CHECKPOINT_DELAY_MS_MAX);
    let is_complete = complete_at <= SystemClock.now();
    anyhow::ensure!(
        is_complete || partial,
        "{day} is not complete before {} in Asia/Taipei; --partial writes the movements that are final so far",
        complete_at.taipei()
    );
    Ok(is_complete)
}

fn layout(file: Option<&Path>, config: &Config) -> anyhow::Result<Layout> {
    let Some(file) = file else { return config.settlement.layout.layout().context("settlement.layout") };
    let place = || format!("layout {}", file.display());
    let text = twqr_files::read_text(file).with_context(place)?;
    let layout: LayoutConfig = parse_table(&text).and_then(typed).map_err(anyhow::Error::msg).with_context(place)?;
    layout.layout().with_context(place)
}

/// Writes the file under a temporary name and renames it, so that readers never see a part of it.
fn save(file: &AccountingFile, folder: &Path, ending: &str) -> anyhow::Result<()> {
    let path = folder.join(file.name.clone() + ending);
    let unfinished = folder.join(format!(".{}.unfinished", file.name));
    let place = || format!("{} cannot be written", path.display());
    fs::write(&unfinished, &file.bytes).with_context(place)?;
    fs::rename(&unfinished, &path).with_context(place)?;
    let (count, net) = (file.totals.all.count(), file.totals.all.net());
    print_line(format_args!("{}: {count} movements, net {net} TWD", path.display()))?;
    for warning in file.warnings.iter().take(WARNINGS_MAX) {
        print_error_line(format_args!("{}: {warning}", path.display()));
    }
    if let Some(more) = file.warnings.len().checked_sub(WARNINGS_MAX).filter(|more| *more > 0) {
        print_error_line(format_args!("{}: {more} more warnings", path.display()));
    }
    Ok(())
}
