//! Serves `twqr.backend.v1`. Each call of a stream is a task, whose answer is sent on the stream as
//! soon as it is known. So answers come in any order, and a slow call delays no other.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures::{Stream, StreamExt};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::{info, warn};
use twqr_service::{BoundSocket, Context, GrpcSettings, Limits, ListenError, grpc_health, grpc_server, serve_grpc};
use twqr_wire::backend::{
    Declined, ExchangeRequest, ExchangeResponse,
    backend_service_server::{BackendService, BackendServiceServer},
    declined::Kind,
    exchange_request::Call,
    exchange_response::Answer,
};

use crate::{
    answers::{answer, undecided},
    calls::outgoing,
    config::AdapterConfig,
    request::{Sender, Sent},
};

/// The code of a call that arrived after its `send_by`: that of the POS document.
const TOO_LATE: &str = "906";
/// The time that calls in progress have at shutdown, beyond the longest answer.
const DRAIN_MORE_MS: u64 = 500;

/// The reason why the adapter cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum AdapterError {
    /// The address cannot be bound.
    #[error("{0}; free the address or set another one")]
    Listen(#[from] ListenError),
}

/// Serves until `context.shutdown` fires; calls in progress are answered first.
pub async fn run(config: AdapterConfig, context: Context) -> Result<(), AdapterError> {
    let listener = BoundSocket::bind("listen", config.listen)?.listen()?;
    let drain = Duration::from_millis(config.window_share_ms() + DRAIN_MORE_MS);
    info!(listen = %config.listen, backend = %config.backend.address, window_share_ms = config.window_share_ms(),
        "the adapter serves; the issuer's window_ms in the policy must be longer than the workers' share and window_share_ms together");
    if config.insecure {
        warn!(listen = %config.listen, "insecure: whoever reaches the adapter can charge and refund");
    }
    if !config.is_local() {
        warn!("the backend is reached in plain HTTP over a network; put TLS in between");
    }
    let in_flight = Arc::new(Semaphore::new(config.backend.in_flight_max));
    let sender = Sender::new(config.backend.clone(), context.clock.clone());
    let service = Adapter { inner: Arc::new(Inner { config, sender }), in_flight };
    let router = grpc_server()
        .add_service(BackendServiceServer::new(service))
        .add_service(grpc_health::<BackendServiceServer<Adapter>>(&context.health));
    context.health.part("adapter").ready();
    let settings = GrpcSettings { limits: Limits::public("adapter"), age: None, drain };
    serve_grpc(listener, router, settings, context.shutdown).await;
    Ok(())
}

/// The gRPC service.
#[derive(Clone)]
struct Adapter {
    inner: Arc<Inner>,
    in_flight: Arc<Semaphore>,
}

struct Inner {
    config: AdapterConfig,
    sender: Sender,
}

#[tonic::async_trait]
impl BackendService for Adapter {
    type ExchangeStream = Pin<Box<dyn Stream<Item = Result<ExchangeResponse, Status>> + Send>>;

    async fn exchange(
        &self,
        request: Request<Streaming<ExchangeRequest>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let mut calls = request.into_inner();
        let (answers, responses) = mpsc::unbounded_channel();
        let Self { inner, in_flight } = self.clone();
        tokio::spawn(async move {
            while let Some(Ok(call)) = calls.next().await {
                // Without a place the stream is not read further, so calls wait in the caller.
                let Ok(place) = in_flight.clone().acquire_owned().await else { return };
                let (inner, answers) = (inner.clone(), answers.clone());
                tokio::spawn(async move {
                    let response = inner.respond(call).await;
                    drop(place);
                    // The stream may be gone. The result is then found by an inquiry.
                    drop(answers.send(Ok(response)));
                });
            }
        });
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(responses))))
    }
}

impl Inner {
    async fn respond(&self, request: ExchangeRequest) -> ExchangeResponse {
        let body = self.decide(&request).await;
        ExchangeResponse { call_id: request.call_id, answer: Some(body) }
    }

    async fn decide(&self, request: &ExchangeRequest) -> Answer {
        let Some(outgoing) = outgoing(&self.config, request) else {
            return undecided("this adapter does not know the call");
        };
        let is_inquiry = matches!(request.call, Some(Call::Inquiry(_)));
        match self.sender.send(&outgoing).await {
            Sent::Answered(status, body) => answer(&self.config, outgoing.subject, is_inquiry, status, &body),
            Sent::Unknown(why) => undecided(why),
            Sent::TooLate => Answer::Declined(too_late(&request.institution)),
        }
    }
}

/// Nothing was sent, and nothing will be.
fn too_late(institution: &str) -> Declined {
    let kind = if institution.is_empty() { Kind::Wallet } else { Kind::Fisc };
    Declined { kind: kind.into(), code: TOO_LATE.to_owned(), reason: "arrived after send_by".to_owned() }
}
