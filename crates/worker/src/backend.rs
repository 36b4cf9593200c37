//! The connection to the wallet or FISC: a gRPC stream of calls out, and of answers back. Only
//! this file knows the messages of `proto/twqr/backend/v1`; tests implement [`Backend`] themselves.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use async_trait::async_trait;
use futures::{Stream, StreamExt};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};
use tracing::warn;
use twqr_service::LogThrottle;
use twqr_wire::{
    backend::{ExchangeRequest, ExchangeResponse, backend_service_client::BackendServiceClient},
    convert::{BackendAnswer, backend_answer_from, inquiry_out, transfer_out},
};

use crate::{
    call::{Call, Purpose},
    error::Error,
};

/// The shortest time between two log lines about a missing connection, in ms.
const LOG_MS: u64 = 10_000;

/// The stream from which the transport takes the calls. A call that it has taken may arrive.
pub struct Calls(Pin<Box<dyn Stream<Item = ExchangeRequest> + Send>>);

impl Calls {
    pub(crate) fn new(calls: impl Stream<Item = Call> + Send + 'static) -> Self {
        Self(Box::pin(calls.map(|call| match call.purpose {
            Purpose::Transfer => transfer_out(call.id, &call.task),
            Purpose::Inquiry { .. } => inquiry_out(call.id, &call.task),
        })))
    }
}

impl Stream for Calls {
    type Item = ExchangeRequest;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<ExchangeRequest>> {
        self.0.as_mut().poll_next(context)
    }
}

/// The answers, in any order.
pub type Answers = Pin<Box<dyn Stream<Item = Result<ExchangeResponse, Status>> + Send>>;

/// The wallet or FISC.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Opens a stream. When it ends, calls without an answer may or may not have arrived.
    async fn exchange(&self, calls: Calls) -> Result<Answers, Status>;

    /// Logs that there is no connection, and why. It is called for each attempt of each partition,
    /// since each partition has its own connection.
    fn no_connection(&self, status: &Status);
}

/// Opens a stream, and converts its answers. Each is returned with the id of its call.
pub(crate) async fn exchange(
    backend: &dyn Backend,
    calls: Calls,
) -> Result<impl Stream<Item = Result<(u64, BackendAnswer), Status>> + use<>, Status> {
    let answers = backend.exchange(calls).await?;
    Ok(answers.map(|answer| answer.map(backend_answer_from)))
}

/// A backend over gRPC (`proto/twqr/backend/v1`).
#[derive(Clone, Debug)]
pub struct GrpcBackend {
    name: &'static str,
    uri: String,
    channel: Channel,
    log: Arc<Mutex<LogThrottle>>,
}

impl GrpcBackend {
    /// `name` is for logs; an example of `uri` is `http://127.0.0.1:50061`. The backend connects
    /// when it is first used.
    pub fn new(name: &'static str, uri: String) -> Result<Self, Error> {
        let endpoint = Endpoint::from_shared(uri.clone()).map_err(|error| Error::Address(error.to_string()))?;
        let log = Arc::new(Mutex::new(LogThrottle::every_ms(LOG_MS)));
        Ok(Self { name, uri, channel: endpoint.tcp_nodelay(true).connect_lazy(), log })
    }
}

#[async_trait]
impl Backend for GrpcBackend {
    async fn exchange(&self, calls: Calls) -> Result<Answers, Status> {
        let answers = BackendServiceClient::new(self.channel.clone()).exchange(calls).await?;
        Ok(Box::pin(answers.into_inner()))
    }

    fn no_connection(&self, status: &Status) {
        let Some(suppressed) = self.log.lock().unwrap_or_else(PoisonError::into_inner).permit() else { return };
        let Self { name, uri, .. } = self;
        let code = status.code();
        warn!(backend = name, uri, ?code, why = why(status), suppressed, "no connection to the backend; trying again");
    }
}

/// The status' message and its causes, down to the operating system's error text.
fn why(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_missing_connection_is_explained_down_to_the_systems_error_text() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let backend = GrpcBackend::new("the wallet", format!("http://{free}")).unwrap();
        let Err(status) = backend.exchange(Calls::new(futures::stream::pending())).await else {
            unreachable!("no process listens there")
        };
        assert!(why(&status).contains("Connection refused"), "{}", why(&status));
        assert_eq!(backend.log.lock().unwrap().permit(), Some(0));
        backend.clone().no_connection(&status);
        backend.no_connection(&status);
        tokio::time::pause();
        tokio::time::advance(std::time::Duration::from_millis(LOG_MS)).await;
        assert_eq!(
            backend.log.lock().unwrap().permit(),
            Some(2),
            "the suppressed lines of all partitions are counted together"
        );
    }
}
