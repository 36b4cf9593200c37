//! What a worker calls: one stream of calls and answers at a time, by gRPC; in tests, by whatever stands for it.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use async_trait::async_trait;
use futures::Stream;
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};
use twqr_wire::backend::{ExchangeRequest, ExchangeResponse, backend_service_client::BackendServiceClient};

use crate::Error;

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
}

/// A backend over gRPC (`proto/twqr/backend/v1`).
#[derive(Clone, Debug)]
pub struct GrpcBackend(Channel);

impl GrpcBackend {
    /// By a URI such as `http://127.0.0.1:50061`; connects when it is used first.
    pub fn new(uri: String) -> Result<Self, Error> {
        let endpoint = Endpoint::from_shared(uri).map_err(|error| Error::Address(error.to_string()))?;
        Ok(Self(endpoint.tcp_nodelay(true).connect_lazy()))
    }
}

#[async_trait]
impl Backend for GrpcBackend {
    async fn exchange(&self, calls: Calls) -> Result<Answers, Status> {
        let answers = BackendServiceClient::new(self.0.clone()).exchange(calls).await?;
        Ok(Box::pin(answers.into_inner()))
    }
}
