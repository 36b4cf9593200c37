//! `twqr refund`: sends one refund of one payment.

use std::{process::ExitCode, time::Duration};

use twqr_wire::pos::RefundRequest;

use super::print::print;
use crate::cli;

/// Prints the answer as JSON with the POS document's field names; exit code 1 if there was none.
pub(crate) async fn run(arguments: cli::Refund) -> anyhow::Result<ExitCode> {
    let mut client = twqr_client::connect(&arguments.endpoint).await?;
    let mut request = tonic::Request::new(RefundRequest {
        merchant_id: arguments.merchant_id,
        merchant_trade_no: arguments.merchant_trade_no,
        trade_no: arguments.payment,
        trade_amount: arguments.amount,
        store_id: arguments.store_id,
        remark: arguments.remark,
        ..RefundRequest::default()
    });
    request.set_timeout(Duration::from_millis(twqr_client::CALL_MS_MAX));
    print(client.refund(request).await.as_ref().map(|answer| twqr_client::refund_json(answer.get_ref())))
}
