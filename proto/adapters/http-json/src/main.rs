//! `twqr-http-json-adapter CONFIG`: serves until Ctrl-C or SIGTERM.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::{Context as _, bail};
use tracing::error;
use tracing_subscriber::EnvFilter;
use twqr_http_json_adapter::{config::AdapterConfig, run};
use twqr_service::{Context, Health, SystemClock, forbid_core_dumps, stop_on_signal};

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_env("ADAPTER_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            error!("{why:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> anyhow::Result<()> {
    // The memory contains card tokens and the backend's secrets.
    forbid_core_dumps();
    let mut arguments = std::env::args_os().skip(1);
    let (Some(file), None) = (arguments.next().map(PathBuf::from), arguments.next()) else {
        bail!("usage: twqr-http-json-adapter CONFIG");
    };
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let config = AdapterConfig::parse(&text).with_context(|| file.display().to_string())?;
    let context = Context { clock: Arc::new(SystemClock), shutdown: stop_on_signal()?, health: Health::default() };
    Ok(run(config, context).await?)
}
