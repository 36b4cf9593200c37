//! A client of the public API and of the operators': what the client commands and `twqr run` share.

mod answer;
mod attempts;
mod request_line;

use std::{
    io::{Write, stdout},
    process::ExitCode,
};

use anyhow::Context as _;
use serde_json::{Map, Value, json};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};
use twqr_wire::{ops::operator_service_client::OperatorServiceClient, pos::pos_service_client::PosServiceClient};

pub(crate) use answer::{answered, cancel_answered, order_state, refund_answered, refused};
pub(crate) use attempts::{Answer, Attempts, pay};
pub(crate) use request_line::{Problem, parse};

/// How long a connection may take to open, in seconds.
const CONNECT_S_MAX: u64 = 5;

/// How long one call may take, in ms: as long as a POS waits (POS API, section 4).
pub(crate) const CALL_MS_MAX: u64 = 15_000;

/// Connects to the public API.
pub(crate) async fn connect(endpoint: &str) -> anyhow::Result<PosServiceClient<Channel>> {
    Ok(PosServiceClient::new(channel(endpoint).await?))
}

/// Connects to the operators' API.
pub(crate) async fn operators(endpoint: &str) -> anyhow::Result<OperatorServiceClient<Channel>> {
    Ok(OperatorServiceClient::new(channel(endpoint).await?))
}

/// Opens a connection, or says what to look at.
pub(crate) async fn channel(endpoint: &str) -> anyhow::Result<Channel> {
    let form = || format!("{endpoint:?} is no address; use a form such as http://127.0.0.1:50051");
    let parsed = Endpoint::from_shared(endpoint.to_owned()).with_context(form)?;
    let open = parsed.tcp_nodelay(true).connect_timeout(std::time::Duration::from_secs(CONNECT_S_MAX));
    open.connect().await.with_context(|| format!("cannot reach {endpoint}: is `twqr up` running there?"))
}

/// Prints an answer, or the error instead of one, as one line; exit code 1 if there was no answer.
pub(crate) fn print(answer: Result<Map<String, Value>, &Status>) -> anyhow::Result<ExitCode> {
    let (line, code) = match answer {
        Ok(fields) => (json!(fields), ExitCode::SUCCESS),
        Err(status) => (json!({ "Error": refused(status) }), ExitCode::FAILURE),
    };
    writeln!(stdout(), "{line}")?;
    Ok(code)
}
