//! `twqr query`: prints the state of one payment or refund, or every change of it.

use std::process::ExitCode;

use twqr_wire::pos::{InquiryType, QueryRequest, WatchOrderRequest};

use super::print::print;
use crate::cli;

/// Prints the state as JSON with the POS document's field names; exit code 1 if there was no
/// answer.
pub(crate) async fn run(arguments: cli::Query) -> anyhow::Result<ExitCode> {
    let mut client = twqr_client::connect(&arguments.endpoint).await?;
    let inquiry_type = if arguments.refund { InquiryType::Refund } else { InquiryType::Payment };
    if !arguments.watch {
        let answer = client.query(QueryRequest {
            inquiry_type: inquiry_type.into(),
            merchant_id: arguments.merchant_id,
            merchant_trade_no: arguments.merchant_trade_no,
            ..QueryRequest::default()
        });
        return print(answer.await.as_ref().map(|answer| twqr_client::inquiry_json(answer.get_ref())));
    }
    let watch = client.watch_order(WatchOrderRequest {
        inquiry_type: inquiry_type.into(),
        merchant_id: arguments.merchant_id,
        merchant_trade_no: arguments.merchant_trade_no,
        keep_watching: arguments.keep,
    });
    let mut changes = match watch.await {
        Ok(changes) => changes.into_inner(),
        Err(status) => return print(Err(&status)),
    };
    while !twqr_files::is_stdout_closed() {
        match changes.message().await {
            Ok(Some(change)) => drop(print(Ok(twqr_client::inquiry_json(&change.order.unwrap_or_default())))?),
            Ok(None) => return Ok(ExitCode::SUCCESS),
            Err(status) => return print(Err(&status)),
        }
    }
    Ok(ExitCode::SUCCESS)
}
