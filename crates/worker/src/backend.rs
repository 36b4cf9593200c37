//! What a worker calls: one stream of calls and answers at a time, by gRPC; in tests, by whatever
//! stands for it.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use async_trait::async_trait;
use futures::Stream;
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};
use tracing::warn;
use twqr_service::LogThrottle;
use twqr_wire::backend::{ExchangeRequest, ExchangeResponse, backend_service_client::BackendServiceClient};

use crate::Error;

/// How often it is said at the most that there is no connection, in ms.
const LOG_MS: u64 = 10_000;

/// Calls, as the transport pulls them: each that it has pulled may arrive.
pub struct Calls(Pin<Box<dyn Stream<Item = ExchangeRequest> + Send>>);

impl Calls {
    /// Of a stream.
    pub(crate) fn new(calls: impl Stream<Item = ExchangeRequest> + Send + 'static) -> Self {
        Self(Box::pin(calls))
    }
}

impl Stream for Calls {
    type Item = ExchangeRequest;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<ExchangeRequest>> {
        self.0.as_mut().poll_next(context)
    }
}

/// Answers, in any order.
pub type Answers = Pin<Box<dyn Stream<Item = Result<ExchangeResponse, Status>> + Send>>;

/// The wallet, or FISC.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Opens a stream. When it ends, nobody knows which of the calls without an answer arrived.
    async fn exchange(&self, calls: Calls) -> Result<Answers, Status>;

    /// Tells people that there is no connection, and why. Every partition has a connection of its
    /// own, and says it again and again.
    fn no_connection(&self, status: &Status);
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
    /// By its name for people, and a URI such as `http://127.0.0.1:50061`; connects when it is used
    /// first.
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

/// The status' message and what stands behind it, down to the system's own words.
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
    async fn why_there_is_no_connection_is_told_down_to_the_systems_words() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let backend = GrpcBackend::new("the wallet", format!("http://{free}")).unwrap();
        let Err(status) = backend.exchange(Calls::new(futures::stream::pending())).await else {
            unreachable!("nobody listens there")
        };
        assert!(why(&status).contains("Connection refused"), "{}", why(&status));
        assert_eq!(backend.log.lock().unwrap().permit(), Some(0));
        backend.clone().no_connection(&status);
        backend.no_connection(&status);
        tokio::time::pause();
        tokio::time::advance(std::time::Duration::from_millis(LOG_MS)).await;
        assert_eq!(backend.log.lock().unwrap().permit(), Some(2), "two were kept back, of whichever partition");
    }
}
