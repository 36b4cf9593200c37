//! `twqr-lab load tool`: starts a system, lets another load generator send payments to it, and
//! audits what it charged.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::process::Command;
use twqr_config::Config;
use twqr_files::print_line;
use twqr_loadgen::{
    TradeKey, audit, ledger,
    traffic::{MerchantList, payment_query},
};
use twqr_service::CancellationToken;
use twqr_wire::{
    backend::{LedgerEntry, ledger_entry::Kind},
    pos::{QueryResponse, pos_service_client::PosServiceClient},
};

use super::{
    system::{self, Authentication},
    targets::payments_scenario,
};
use crate::launch::{self, Programs, System};

/// Inquiries of the audit in flight at once.
const AT_ONCE: usize = 64;

/// The arguments of `twqr-lab load tool`.
#[derive(clap::Args)]
pub(super) struct ToolOptions {
    /// How many payments the tool makes; it is told as PAYMENTS
    #[arg(long, default_value_t = 600)]
    payments: usize,
    /// The folder for data and logs; it is emptied first
    #[arg(long, default_value = "target/load-tool")]
    dir: PathBuf,
    /// The program, such as load-tests/tools/ghz, with its arguments. It finds the addresses of
    /// the APIs as GRPC and HTTP, and this program as LAB
    #[arg(required = true, num_args = 1.., trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Runs the tool. Fails if the tool fails, or if not every payment was charged exactly once, as the
/// orders say.
pub(super) async fn run(options: &ToolOptions, config: &Config, stop: CancellationToken) -> anyhow::Result<ExitCode> {
    let scenario = payments_scenario()?;
    launch::empty(&options.dir)?;
    let merchants = MerchantList::generated(&scenario.merchants);
    let programs = Programs::beside_this_one()?;
    let open = Authentication::default();
    let mut system = system::start(&scenario, &merchants, programs, &options.dir, config, open).await?;
    let used = tokio::select! {
        used = use_tool(options, &system) => used,
        () = stop.cancelled() => Err(anyhow::anyhow!("stopped before the end of the tool")),
    };
    let audited = match used {
        Ok(()) => audit_payments(&system, options.payments).await,
        Err(error) => Err(error),
    };
    system.end().await;
    audited.map(|()| ExitCode::SUCCESS)
}

async fn use_tool(options: &ToolOptions, system: &System) -> anyhow::Result<()> {
    let (program, arguments) = options.command.split_first().context("no tool is named")?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("GRPC", system.config.grpc.to_string())
        .env("HTTP", system.config.pos_http.to_string())
        .env("PAYMENTS", options.payments.to_string())
        .env("LAB", std::env::current_exe()?)
        .kill_on_drop(true);
    let status = command.status().await.with_context(|| format!("{program} cannot be run"))?;
    ensure!(status.success(), "{program} failed ({status})");
    Ok(())
}

/// Compares the ledger with an inquiry about each charged payment.
async fn audit_payments(system: &System, payments: usize) -> anyhow::Result<()> {
    let entries = ledger(launch::connect(&system.config.wallet).await?).await.context("the simulator's ledger")?;
    let orders = inquire(system, &entries).await?;
    let found = audit(&[], &orders, &entries);
    ensure!(found.is_clean(), "the audit found: {found:?}");
    ensure!(orders.len() == payments, "{} payments were charged, must be {payments}", orders.len());
    print_line(format_args!("audit: {payments} payments, each charged once, as its order says"))?;
    Ok(())
}

async fn inquire(system: &System, entries: &[LedgerEntry]) -> anyhow::Result<BTreeMap<TradeKey, QueryResponse>> {
    let client = PosServiceClient::new(system.channel()?);
    let charged = entries.iter().filter(|entry| entry.kind() == Kind::Charged);
    let answers = stream::iter(charged).map(|entry| {
        let mut client = client.clone();
        async move {
            let answer = client.query(payment_query(&entry.merchant_id, &entry.merchant_trade_no)).await?;
            let key = (entry.merchant_id.clone(), entry.merchant_trade_no.clone());
            anyhow::Ok((key, answer.into_inner()))
        }
    });
    answers.buffer_unordered(AT_ONCE).try_collect().await
}
