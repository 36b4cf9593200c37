//! `twqr simulator`: wallet and FISC by configuration and fault script.

use std::{path::Path, sync::Arc};

use anyhow::Context as _;
use twqr_service::{CancellationToken, Context, Health, SystemClock};

use crate::config::Config;

/// Serves until `stop` fires.
pub(crate) async fn run(config: &Config, script: Option<&Path>, stop: CancellationToken) -> anyhow::Result<()> {
    let script = match script {
        None => twqr_simulator::Script::default(),
        Some(file) => {
            let text = std::fs::read_to_string(file).with_context(|| format!("fault script {}", file.display()))?;
            twqr_simulator::Script::parse(&text).with_context(|| file.display().to_string())?
        }
    };
    let settings = twqr_simulator::Settings {
        wallet_address: config.wallet,
        fisc_address: config.fisc,
        data_dir: config.simulator_data_dir.clone(),
        script,
    };
    let context = Context { clock: Arc::new(SystemClock), shutdown: stop, health: Health::default() };
    Ok(twqr_simulator::run(settings, context).await?)
}
