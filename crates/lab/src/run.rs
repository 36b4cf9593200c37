//! `twqr-lab run`: starts the simulator and all services as processes, plays both sample days
//! through the public API, audits them, and continues to serve.

use std::path::PathBuf;

use twqr_config::Config;
use twqr_service::CancellationToken;

use crate::{
    full_api_run::{FullApiDay, take_full_api_day},
    launch::{Launch, Listen, Programs, Shape, System},
    payments_run::{Day, Serving, say, take_day},
    simulator::Kinds,
};

/// The arguments of `twqr-lab run`.
#[derive(clap::Args)]
pub struct RunOptions {
    /// The day of payments: one JSON object a line, with the POS document's field names.
    #[arg(long, default_value = "load-tests/samples/day.jsonl")]
    file: PathBuf,
    /// The day that uses the full API.
    #[arg(long, default_value = "load-tests/samples/day-full-api.jsonl")]
    whole_api_file: PathBuf,
    /// The simulator's fault script, or - for standard input.
    #[arg(long, default_value = "load-tests/samples/simulator.toml")]
    script: PathBuf,
    /// The folder for data and reports; it is emptied first.
    #[arg(long, default_value = "target/run")]
    dir: PathBuf,
    /// Exit after the audit, with a non-zero code if it found a fault.
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    kinds: Kinds,
}

/// Plays both days and then serves until `stop` fires.
pub async fn run(options: &RunOptions, config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    let (day, full_api_day) = (Day::read(&options.file)?, FullApiDay::read(&options.whole_api_file)?);
    let mut system = Launch {
        programs: Programs::beside_this_one()?,
        dir: &options.dir,
        script: Some(&options.script),
        config,
        listen: Listen::AsConfigured,
        shape: Shape::AllInOne,
        kinds: options.kinds.clone(),
        tls: false,
        log_filter: None,
    }
    .start()
    .await?;
    let result = tokio::select! {
        result = serve_days(day, full_api_day, options, &system) => result,
        () = stop.cancelled() => Err(anyhow::anyhow!("stopped before both sample days were played")),
    };
    if result.is_ok() && !options.once {
        say(&format!("serving gRPC on {} until Ctrl-C", system.config.grpc));
        stop.cancelled().await;
    }
    system.end().await;
    result
}

async fn serve_days(day: Day, full_api_day: FullApiDay, options: &RunOptions, system: &System) -> anyhow::Result<()> {
    let config = &system.config;
    let serving = Serving { pos: system.channel()?, wallet: config.wallet.clone(), services: system.ids() };
    take_day(day, &options.dir, &serving, serde_json::Value::Null).await?;
    say("the day that uses the full API: payments, refunds, cancels, inquiries");
    take_full_api_day(full_api_day, &options.dir, &serving, config).await
}
