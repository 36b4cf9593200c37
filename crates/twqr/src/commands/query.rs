//! `twqr query`: one payment's state, or every change of it.

use std::{
    io::{Write, stdout},
    process::ExitCode,
};

use serde_json::json;
use tonic::Status;
use twqr_wire::pos::{InquiryType, QueryRequest, QueryResponse, WatchOrderRequest};

use crate::{cli, client};

/// Prints the state as JSON in the POS document's field names; exit code 1 if there was no answer.
pub(crate) async fn run(arguments: cli::Query) -> anyhow::Result<ExitCode> {
    let mut client = client::connect(&arguments.endpoint).await?;
    if !arguments.watch {
        let answer = client.query(QueryRequest {
            inquiry_type: InquiryType::Payment.into(),
            merchant_id: arguments.merchant_id,
            merchant_trade_no: arguments.merchant_trade_no,
            ..QueryRequest::default()
        });
        return match answer.await {
            Ok(answer) => print(answer.get_ref()),
            Err(status) => print_refusal(&status),
        };
    }
    let watch = client.watch_order(WatchOrderRequest {
        inquiry_type: InquiryType::Payment.into(),
        merchant_id: arguments.merchant_id,
        merchant_trade_no: arguments.merchant_trade_no,
    });
    let mut changes = match watch.await {
        Ok(changes) => changes.into_inner(),
        Err(status) => return print_refusal(&status),
    };
    loop {
        match changes.message().await {
            Ok(Some(change)) => drop(print(&change.order.unwrap_or_default())?),
            Ok(None) => return Ok(ExitCode::SUCCESS),
            Err(status) => return print_refusal(&status),
        }
    }
}

fn print(answer: &QueryResponse) -> anyhow::Result<ExitCode> {
    writeln!(stdout(), "{}", json!(client::order_state(answer)))?;
    Ok(ExitCode::SUCCESS)
}

fn print_refusal(status: &Status) -> anyhow::Result<ExitCode> {
    writeln!(stdout(), "{}", json!({ "Error": client::refused(status) }))?;
    Ok(ExitCode::FAILURE)
}
