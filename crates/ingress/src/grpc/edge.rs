//! What happens to a gRPC call before and after its handler. A request that cannot be decoded never
//! reaches the handler: it is refused with the code that the public API lists, and counted, and so
//! is a call whose caller leaves before the answer.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::time::Instant;
use tonic::{
    Code, Status,
    body::Body,
    codegen::{Service, http},
    server::NamedService,
};
use twqr_wire::pos::pos_service_server::PosServiceServer;

use super::GrpcService;
use crate::metrics::{self, PendingAnswer};

/// The public API with its refusals before decoding.
#[derive(Clone)]
pub(crate) struct Edge(pub(crate) PosServiceServer<GrpcService>);

impl NamedService for Edge {
    const NAME: &'static str = PosServiceServer::<GrpcService>::NAME;
}

type Answered = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

impl Service<http::Request<Body>> for Edge {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answered;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<http::Request<Body>>::poll_ready(&mut self.0, context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Answered {
        let method = request.uri().path().rsplit('/').next().and_then(known_method);
        let (began, answer) = (Instant::now(), method.map(PendingAnswer::begin));
        let calling = self.0.call(request);
        Box::pin(async move {
            let response = calling.await?;
            if let Some(answer) = answer {
                answer.given();
            }
            let code = Status::from_header_map(response.headers()).map(|status| status.code());
            let Some((method, problem)) = method.zip(code.and_then(undecodable)) else { return Ok(response) };
            metrics::call(method, Code::InvalidArgument, began.elapsed());
            Ok(Status::invalid_argument(format!("{problem}. Nothing was accepted")).into_http())
        })
    }
}

fn known_method(name: &str) -> Option<&'static str> {
    ["Pay", "PayStream", "Query", "Refund", "Cancel", "WatchOrder"].into_iter().find(|known| *known == name)
}

/// What is wrong with a request that could not be decoded. The library answers it with one of these
/// codes, which no handler uses. Its own text may contain a part of the request, so it is not
/// shown.
pub(super) fn undecodable(code: Code) -> Option<&'static str> {
    match code {
        Code::Internal => Some("the request is not a valid protobuf message of this method; every text must be UTF-8"),
        Code::OutOfRange => Some("the request is larger than 64 KiB"),
        Code::Unimplemented => Some("the request is compressed; send it uncompressed"),
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::InvalidArgument
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => None,
    }
}
