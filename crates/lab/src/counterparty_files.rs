//! `twqr-lab counterparty-files`: writes the settlement files of the simulated wallet and FISC for
//! one day, for `twqr reconcile`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, anyhow};
use clap::Args;
use twqr_client::{business_day, channel};
use twqr_config::Config;
use twqr_settlement::Side;
use twqr_simulator::counterparty_file;
use twqr_types::BusinessDay;
use twqr_wire::backend::LedgerEntry;

/// The arguments of `twqr-lab counterparty-files`.
#[derive(Debug, Args)]
pub struct CounterpartyFilesOptions {
    /// The business day, YYYY-MM-DD or YYYYMMDD; it ends at the cut-off that was in force at 00:00
    /// of this date
    #[arg(long)]
    date: String,
    /// The folder for wallet.csv and fisc.csv; existing files are overwritten
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

/// Reads the simulator's ledger and writes both files.
pub async fn run(options: CounterpartyFilesOptions, config: &Config) -> anyhow::Result<ExitCode> {
    let day = business_day(&options.date, &config.operators_endpoint(None)).await?;
    let channel = channel(&format!("http://{}", config.wallet)).await?;
    let entries = twqr_loadgen::ledger(channel).await.context(
        "the simulator's ledger cannot be read; check that the simulator runs at the configured wallet address",
    )?;
    for file in write(&entries, day, &options.out)? {
        twqr_files::print_line(file.display())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the files of both sides and returns their paths, the wallet's first.
pub(crate) fn write(entries: &[LedgerEntry], day: BusinessDay, out: &Path) -> anyhow::Result<[PathBuf; 2]> {
    fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    let write = |side: Side| {
        let path = out.join(format!("{side}.csv"));
        let file = counterparty_file(entries, side, day.from(), day.to()).map_err(|error| anyhow!(error))?;
        fs::write(&path, file).with_context(|| format!("cannot write {}", path.display()))?;
        anyhow::Ok(path)
    };
    Ok([write(Side::Wallet)?, write(Side::Fisc)?])
}
