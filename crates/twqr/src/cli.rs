//! What the client commands and `twqr config` may be told.

use std::path::PathBuf;

use clap::{Args, Subcommand};

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
    /// MerchantTradeNo; with --refund the refund's own
    pub(crate) merchant_trade_no: String,
    /// Asks about a refund (InquiryType R)
    #[arg(long)]
    pub(crate) refund: bool,
    /// Shows every change until nothing is in progress
    #[arg(long)]
    pub(crate) watch: bool,
    /// Also after that: refunds, cancels, and answers of issuers that contradict what was final;
    /// until Ctrl-C
    #[arg(long, requires = "watch")]
    pub(crate) keep: bool,
    /// The public gRPC API
    #[arg(long, value_name = "URI", default_value = DEFAULT_ENDPOINT)]
    pub(crate) endpoint: String,
}

#[derive(Debug, Args)]
pub(crate) struct Refund {
    /// MerchantID
    pub(crate) merchant_id: String,
    /// The refund's own new MerchantTradeNo; the same again gives back nothing more
    pub(crate) merchant_trade_no: String,
    /// The payment's TradeNo
    #[arg(long, value_name = "TRADENO")]
    pub(crate) payment: String,
    /// What to give back, in whole TWD
    #[arg(long, value_name = "TWD")]
    pub(crate) amount: i64,
    /// StoreID
    #[arg(long, default_value = "")]
    pub(crate) store_id: String,
    /// For the issuer
    #[arg(long, default_value = "")]
    pub(crate) remark: String,
    /// The public gRPC API
    #[arg(long, value_name = "URI", default_value = DEFAULT_ENDPOINT)]
    pub(crate) endpoint: String,
}

#[derive(Debug, Args)]
pub(crate) struct Cancel {
    /// MerchantID
    pub(crate) merchant_id: String,
    /// The payment's MerchantTradeNo
    pub(crate) merchant_trade_no: String,
    /// A file with the payment's code, or - for standard input; a code on the command line could be
    /// seen by others
    #[arg(long, value_name = "FILE")]
    pub(crate) card_token_file: PathBuf,
    /// The payment's TradeAmount, in whole TWD
    #[arg(long, value_name = "TWD")]
    pub(crate) amount: i64,
    /// The payment's UnRedeem, in whole TWD
    #[arg(long, value_name = "TWD", default_value_t = 0)]
    pub(crate) un_redeem: i64,
    /// The payment's GatewayTradeNo
    #[arg(long, default_value = "")]
    pub(crate) gateway_trade_no: String,
    /// The public gRPC API
    #[arg(long, value_name = "URI", default_value = DEFAULT_ENDPOINT)]
    pub(crate) endpoint: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Checks file and environment; exit code 1 and every fault if something is wrong
    Check,
    /// Prints every key with its default and what it means
    Default,
}

/// Where `twqr up` serves if nothing else is configured.
const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:50051";
