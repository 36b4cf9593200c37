//! What can be typed after `twqr`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Routes payments of TWQR codes: the wallet's own, and other issuers' through FISC.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Cli {
    /// The configuration file; without it, ./twqr.toml if it exists. Variables such as TWQR_ADMIN__LISTEN stand above the file.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Ends with the process that started this one.
    #[arg(long, global = true, hide = true)]
    pub(crate) end_with_parent: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs all services in one process on the embedded journal
    Up,
    /// Runs the ingress alone: the public gRPC API
    Ingress,
    /// Runs the router alone: decides every order
    Router,
    /// Runs the wallet's worker alone
    WalletWorker,
    /// Runs FISC's worker alone
    FiscWorker,
    /// Runs the simulated wallet and FISC with its issuers
    Simulator,
    /// Sends the payments of a file, one JSON object a line in the POS document's field names
    Pay(Pay),
    /// Asks about one payment
    Query(Query),
    /// Shows or checks the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Debug, Args)]
pub(crate) struct Pay {
    /// The requests
    #[arg(long, value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Where the results go, one JSON object a line; written over
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// The public gRPC API
    #[arg(long, value_name = "URI", default_value = DEFAULT_ENDPOINT)]
    pub(crate) endpoint: String,
    /// Payments under way at once
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub(crate) concurrency: u16,
    /// Attempts at each payment, all with its own MerchantTradeNo
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) attempts: u32,
    /// How long one attempt may take, in ms
    #[arg(long, default_value_t = 15_000, value_parser = clap::value_parser!(u64).range(10..=120_000))]
    pub(crate) timeout_ms: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Query {
    /// MerchantID
    pub(crate) merchant_id: String,
    /// MerchantTradeNo
    pub(crate) merchant_trade_no: String,
    /// Shows every change until the payment is final
    #[arg(long)]
    pub(crate) watch: bool,
    /// The public gRPC API
    #[arg(long, value_name = "URI", default_value = DEFAULT_ENDPOINT)]
    pub(crate) endpoint: String,
}

/// Where `twqr up` serves if nothing else is configured.
const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:50051";

#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Checks file and variables; prints OK, or every fault
    Check,
    /// Prints the file with every default and what is allowed
    Default,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
