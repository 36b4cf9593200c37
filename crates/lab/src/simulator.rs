//! `twqr-lab simulator`: the wallet and FISC with its issuers, with a durable ledger of their own.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use twqr_config::Config;
use twqr_service::{CancellationToken, Context, Health, SystemClock};
use twqr_simulator::{KindChoice, Script, Settings};

/// The arguments of `twqr-lab simulator`.
#[derive(clap::Args)]
pub struct SimulatorOptions {
    /// The fault script (TOML), or - for standard input; without it there are no faults
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// The folder of the ledger
    #[arg(long, value_name = "DIR", default_value = "data-simulator")]
    data_dir: PathBuf,
    #[command(flatten)]
    kinds: Kinds,
}

/// The option that chooses kinds of issuers.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Kinds {
    /// What issuers do with late and repeated calls: KIND for all issuers, 392=KIND or wallet=KIND
    /// for one; several are separated by commas. Kinds: plain, refuses-late, idempotent,
    /// idempotent-charges, idempotent-refunds, forgets-refusals, forgets-reversals
    #[arg(long = "issuer-kind", value_name = "KIND", value_delimiter = ',')]
    pub(crate) choices: Vec<KindChoice>,
}

/// Serves at the configured addresses of wallet and FISC until `stop` fires.
pub async fn run(options: &SimulatorOptions, config: &Config, stop: CancellationToken) -> anyhow::Result<()> {
    serve(settings(config, &options.data_dir, options.script.as_deref(), &options.kinds)?, stop).await
}

pub(crate) fn settings(
    config: &Config,
    data_dir: &Path,
    script: Option<&Path>,
    kinds: &Kinds,
) -> anyhow::Result<Settings> {
    let script = match script {
        None => Script::default(),
        Some(file) => {
            let text = twqr_files::read_text(file).with_context(|| format!("fault script {}", file.display()))?;
            Script::parse(&text).with_context(|| file.display().to_string())?
        }
    };
    let script = script.with_kinds(&kinds.choices);
    Ok(Settings { wallet_address: config.wallet, fisc_address: config.fisc, data_dir: data_dir.to_owned(), script })
}

pub(crate) async fn serve(settings: Settings, stop: CancellationToken) -> anyhow::Result<()> {
    let context = Context { clock: Arc::new(SystemClock), shutdown: stop, health: Health::default() };
    Ok(twqr_simulator::run(settings, context).await?)
}
