//! A client of the public API and of the operators': what `twqr pay`, `twqr query`, `twqr policy` and `twqr run` share.

mod answer;
mod attempts;
mod request_line;

use anyhow::Context as _;
use tonic::transport::{Channel, Endpoint};
use twqr_wire::{ops::operator_service_client::OperatorServiceClient, pos::pos_service_client::PosServiceClient};

pub(crate) use answer::{answered, order_state, refused};
pub(crate) use attempts::{Answer, Attempts, pay};
pub(crate) use request_line::{Problem, parse};

/// How long a connection may take to open, in seconds.
const CONNECT_S_MAX: u64 = 5;

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
