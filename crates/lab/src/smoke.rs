//! `twqr-lab smoke`: pays, inquires and refunds once through the public API of a running system, as
//! the test of the Helm chart (`helm test`). It prints one line for each step.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, ensure};
use tokio::time::Instant;
use tonic::Request;
use twqr_client::{Attempts, CALL_MS_MAX, Connection};
use twqr_files::print_line;
use twqr_wire::pos::{
    InquiryType, OrderStatus, PayRequest, QueryRequest, QueryResponse, RefundRequest,
    pos_service_client::PosServiceClient,
};

/// A code of the wallet that the simulator approves.
const SIMULATED_CARD: &str = "22abcdefghijklmnop";
/// How long the system may take until it is reached, and again until a result is known.
const WITHIN: Duration = Duration::from_mins(1);
/// The pause before the next try.
const PAUSE: Duration = Duration::from_millis(500);

/// The arguments of `twqr-lab smoke`.
#[derive(clap::Args)]
pub struct SmokeOptions {
    /// The address of the public gRPC API
    #[arg(long, value_name = "URI")]
    endpoint: String,
    /// The merchant that is paid (MerchantID)
    #[arg(long, value_name = "ID", default_value = "M1")]
    merchant: String,
    /// The amount, in whole TWD
    #[arg(long, value_name = "TWD", default_value_t = 1)]
    amount: i64,
    /// A file with the card token that pays; without it, one that the simulator approves
    #[arg(long, value_name = "FILE")]
    card_token_file: Option<PathBuf>,
    /// A file with the API key that pays
    #[arg(long, env = "TWQR_API_KEY_FILE", value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Send the API key also without TLS beyond this machine, where everyone on its way can read it
    #[arg(long)]
    api_key_in_plain_text: bool,
}

/// Fails at the first step whose result is not the expected one.
pub async fn run(options: &SmokeOptions) -> anyhow::Result<()> {
    if let Some(file) = &options.api_key_file {
        twqr_client::use_api_key(file, options.api_key_in_plain_text)?;
    }
    let card_token = options.card_token_file.as_deref().map_or_else(|| Ok(SIMULATED_CARD.to_owned()), card_token)?;
    let mut client = connect(&options.endpoint).await?;
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    let payment_no = format!("SMOKE{}", since_epoch.as_millis());
    let refund_no = format!("{payment_no}R");

    let request = PayRequest {
        merchant_id: options.merchant.clone(),
        merchant_trade_no: payment_no.clone(),
        card_token,
        trade_amount: options.amount,
        ..PayRequest::default()
    };
    let paid = twqr_client::pay(&client, &request, Attempts::default()).await.result?;
    let inquired = settled(&mut client, options, InquiryType::Payment, &payment_no).await?;
    ensure!(
        inquired.order_status() == OrderStatus::Paid,
        "{payment_no} was answered {}, and is {:?} now",
        paid.status_code,
        inquired.order_status()
    );
    print_line(format_args!("paid {} TWD as {payment_no}, and an inquiry says so", options.amount))?;

    let mut request = Request::new(RefundRequest {
        merchant_id: options.merchant.clone(),
        merchant_trade_no: refund_no.clone(),
        trade_no: inquired.payment.unwrap_or_default().trade_no,
        trade_amount: options.amount,
        ..RefundRequest::default()
    });
    request.set_timeout(Duration::from_millis(CALL_MS_MAX));
    let refunded = client.refund(request).await?.into_inner();
    let inquired = settled(&mut client, options, InquiryType::Refund, &refund_no).await?;
    let code = inquired.refund.map(|refund| refund.status_code).unwrap_or_default();
    ensure!(code == "000", "refund {refund_no} was answered {}, and is {code} now", refunded.status_code);
    Ok(print_line(format_args!("refunded it as {refund_no}, and an inquiry says so"))?)
}

/// Tries until the system is reached: its pods may have just started.
async fn connect(endpoint: &str) -> anyhow::Result<PosServiceClient<Connection>> {
    let deadline = Instant::now() + WITHIN;
    loop {
        match twqr_client::connect(endpoint).await {
            Err(_) if Instant::now() < deadline => tokio::time::sleep(PAUSE).await,
            result => return result,
        }
    }
}

/// Inquires until the order is not in progress any more.
async fn settled(
    client: &mut PosServiceClient<Connection>,
    options: &SmokeOptions,
    inquiry_type: InquiryType,
    number: &str,
) -> anyhow::Result<QueryResponse> {
    let deadline = Instant::now() + WITHIN;
    loop {
        let mut request = Request::new(QueryRequest {
            inquiry_type: inquiry_type.into(),
            merchant_id: options.merchant.clone(),
            merchant_trade_no: number.to_owned(),
            ..QueryRequest::default()
        });
        request.set_timeout(Duration::from_millis(CALL_MS_MAX));
        let answer = client.query(request).await?.into_inner();
        if answer.order_status() != OrderStatus::InProgress {
            return Ok(answer);
        }
        ensure!(Instant::now() < deadline, "{number} is still in progress after {WITHIN:?}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Reads the card token, without the line end.
fn card_token(file: &Path) -> anyhow::Result<String> {
    let place = || format!("--card-token-file {}", file.display());
    let text = twqr_files::read_text(file).with_context(place)?;
    Ok(twqr_files::secret(&text).map_err(|what| anyhow::anyhow!("{} {what}", place()))?.to_owned())
}
