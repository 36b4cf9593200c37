//! The arguments of the client commands and of `twqr config`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(crate) struct Pay {
    /// The requests, one JSON object in each line, or - for standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The file for the results, one JSON object in each line, or - for standard output; replaced
    /// if it exists
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// The address of the public gRPC API
    #[arg(long, value_name = "URI", default_value = DEFAULT_ENDPOINT)]
    pub(crate) endpoint: String,
    /// How many payments are in flight at once
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub(crate) concurrency: u16,
    /// How often each payment is attempted, always with the same MerchantTradeNo
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) attempts: u32,
    /// How long one attempt may take, in ms
    #[arg(long, default_value_t = 15_000, value_parser = clap::value_parser!(u64).range(10..=120_000))]
    pub(crate) timeout_ms: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Query {
    /// The merchant (MerchantID)
    pub(crate) merchant_id: String,
    /// MerchantTradeNo of the payment, or with --refund of the refund
    pub(crate) merchant_trade_no: String,
    /// Inquire about a refund (InquiryType R)
    #[arg(long)]
    pub(crate) refund: bool,
    /// Print every change until nothing is in progress
    #[arg(long)]
    pub(crate) watch: bool,
    /// After that, continue until Ctrl-C with later refunds, cancels, and contradictions by issuers
    #[arg(long, requires = "watch")]
    pub(crate) keep: bool,
    /// The address of the public gRPC API
    #[arg(long, value_name = "URI", default_value = DEFAULT_ENDPOINT)]
    pub(crate) endpoint: String,
}

#[derive(Debug, Args)]
pub(crate) struct Refund {
    /// The merchant (MerchantID)
    pub(crate) merchant_id: String,
    /// A new MerchantTradeNo for the refund; sending the same number again refunds nothing more
    pub(crate) merchant_trade_no: String,
    /// The payment's TradeNo
    #[arg(long, value_name = "TRADENO")]
    pub(crate) payment: String,
    /// The amount to refund, in whole TWD
    #[arg(long, value_name = "TWD")]
    pub(crate) amount: i64,
    /// The store (StoreID)
    #[arg(long, default_value = "")]
    pub(crate) store_id: String,
    /// A remark for the issuer
    #[arg(long, default_value = "")]
    pub(crate) remark: String,
    /// The address of the public gRPC API
    #[arg(long, value_name = "URI", default_value = DEFAULT_ENDPOINT)]
    pub(crate) endpoint: String,
}

#[derive(Debug, Args)]
pub(crate) struct Cancel {
    /// The merchant (MerchantID)
    pub(crate) merchant_id: String,
    /// The payment's MerchantTradeNo
    pub(crate) merchant_trade_no: String,
    /// A file with the card token, or - for standard input; a token on the command line would be
    /// visible to other users
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
    /// The address of the public gRPC API
    #[arg(long, value_name = "URI", default_value = DEFAULT_ENDPOINT)]
    pub(crate) endpoint: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Checks file and environment; prints every fault and exits with 1 if there is one
    Check,
    /// Prints every key with its default and its meaning
    Default,
}

/// The address at which `twqr up` serves by default.
const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:17051";
