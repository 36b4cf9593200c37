//! The gRPC health service of a listener (`grpc.health.v1.Health`): SERVING while the process is
//! ready, as `/readyz` says. It needs no credential, so its cost is bounded.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{Stream, stream};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::timeout,
};
use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::{Service, http},
    server::NamedService,
};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus,
    health_server::{Health as HealthOverGrpc, HealthServer},
};

use crate::{EndsWithConnection, Health};

/// The greatest size of a request, in bytes: it has only the name of a service.
const REQUEST_BYTES_MAX: usize = 1_024;
/// How long a request may take to arrive, in ms.
const REQUEST_MS_MAX: u64 = 10_000;
/// How many watches of a listener may be open.
const WATCHES_MAX: usize = 64;

/// The health of the process, for callers of the service `S`. One for each listener.
pub fn grpc_health<S: NamedService>(health: &Health) -> GrpcHealth {
    let served = ServedHealth {
        readiness: health.readiness(),
        service: S::NAME,
        watches: Arc::new(Semaphore::new(WATCHES_MAX)),
    };
    GrpcHealth(EndsWithConnection(HealthServer::new(served).max_decoding_message_size(REQUEST_BYTES_MAX)))
}

/// Answers health checks for the process as a whole, and for one service. A call whose request does
/// not arrive within 10 s ends with DEADLINE_EXCEEDED.
#[derive(Clone, Debug)]
pub struct GrpcHealth(EndsWithConnection<HealthServer<ServedHealth>>);

impl NamedService for GrpcHealth {
    const NAME: &'static str = HealthServer::<ServedHealth>::NAME;
}

impl Service<http::Request<Body>> for GrpcHealth {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let calling = timeout(Duration::from_millis(REQUEST_MS_MAX), self.0.call(request));
        let late = |_| Ok(Status::deadline_exceeded("the request did not arrive in time").into_http());
        Box::pin(async move { calling.await.unwrap_or_else(late) })
    }
}

#[derive(Debug)]
struct ServedHealth {
    readiness: watch::Receiver<bool>,
    service: &'static str,
    /// A permit for each watch that may be opened.
    watches: Arc<Semaphore>,
}

impl ServedHealth {
    fn check_name(&self, request: &HealthCheckRequest) -> Result<(), Status> {
        let is_known = request.service.is_empty() || request.service == self.service;
        if is_known { Ok(()) } else { Err(Status::not_found("this listener has no such service")) }
    }
}

fn response(is_ready: bool) -> HealthCheckResponse {
    let status = if is_ready { ServingStatus::Serving } else { ServingStatus::NotServing };
    HealthCheckResponse { status: status.into() }
}

/// An open watch.
struct HealthWatch {
    readiness: watch::Receiver<bool>,
    last: Option<bool>,
    _permit: OwnedSemaphorePermit,
}

impl HealthWatch {
    /// Waits until the process is ready and was not, or the other way round. `None` if the process
    /// ends.
    async fn next(mut self) -> Option<(Result<HealthCheckResponse, Status>, Self)> {
        let last = self.last;
        let is_ready = *self.readiness.wait_for(|is_ready| Some(*is_ready) != last).await.ok()?;
        self.last = Some(is_ready);
        Some((Ok(response(is_ready)), self))
    }
}

#[tonic::async_trait]
impl HealthOverGrpc for ServedHealth {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        self.check_name(request.get_ref())?;
        Ok(Response::new(response(*self.readiness.borrow())))
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        self.check_name(request.get_ref())?;
        let too_many = |_| Status::resource_exhausted("this listener has no room for another watch; use Check");
        let permit = self.watches.clone().try_acquire_owned().map_err(too_many)?;
        let watch = HealthWatch { readiness: self.readiness.clone(), last: None, _permit: permit };
        Ok(Response::new(Box::pin(stream::unfold(watch, HealthWatch::next))))
    }
}
