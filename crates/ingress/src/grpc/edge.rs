//! What happens to a gRPC call before and after its handler. A request that cannot be decoded never
//! reaches the handler: it is refused with the code that the public API lists, and counted, and so
//! is a call whose caller leaves before the answer. The hops of a call are added to its answer
//! here, as trailing metadata.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http_body_util::BodyExt;
use tokio::time::Instant;
use tonic::{
    Code, Status,
    body::Body,
    codegen::{Service, http},
    server::NamedService,
};
use twqr_wire::{
    hops::HOPS_HEADER,
    pos::{RefusalReason, pos_service_server::PosServiceServer},
};

use super::{GrpcService, status};
use crate::{
    hops::CallHops,
    metrics::{self, PendingAnswer},
};

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

    fn call(&mut self, mut request: http::Request<Body>) -> Answered {
        let method = request.uri().path().rsplit('/').next().and_then(known_method);
        let (began, answer) = (Instant::now(), method.map(PendingAnswer::begin));
        let unary = method.filter(|method| UNARY.contains(method));
        let hops = unary.and_then(|method| CallHops::of_headers(method, request.headers(), began));
        if let Some(hops) = hops.clone() {
            request.extensions_mut().insert(hops);
        }
        let calling = self.0.call(request);
        Box::pin(async move {
            let mut response = calling.await?;
            if let Some(answer) = answer {
                answer.given();
            }
            let code = Status::from_header_map(response.headers()).map(|status| status.code());
            if let Some((method, reason)) = method.zip(code.and_then(undecodable)) {
                metrics::call(method, Code::InvalidArgument, began.elapsed());
                response = status::undecodable(reason).into_http();
            }
            Ok(match hops {
                Some(hops) => {
                    hops.ended(code.unwrap_or(Code::Ok));
                    with_hops(response, &hops)
                }
                None => response,
            })
        })
    }
}

/// The methods with one answer, which may carry hops in its metadata.
const UNARY: [&str; 4] = ["Pay", "Query", "Refund", "Cancel"];

/// Adds the hops to the trailing metadata. A response that is only a status has it in its headers.
fn with_hops(mut response: http::Response<Body>, hops: &CallHops) -> http::Response<Body> {
    let Some(value) = hops.header() else { return response };
    if Status::from_header_map(response.headers()).is_some() {
        response.headers_mut().insert(HOPS_HEADER, value);
        return response;
    }
    response.map(|body| {
        Body::new(body.map_frame(move |mut frame| {
            if let Some(trailers) = frame.trailers_mut() {
                trailers.insert(HOPS_HEADER, value.clone());
            }
            frame
        }))
    })
}

fn known_method(name: &str) -> Option<&'static str> {
    UNARY.into_iter().chain(["PayStream", "WatchOrder"]).find(|known| *known == name)
}

/// Why a request could not be decoded. The library answers it with one of these codes, which no
/// handler uses. Its own text may contain a part of the request, so it is not shown.
pub(super) fn undecodable(code: Code) -> Option<RefusalReason> {
    match code {
        Code::Internal => Some(RefusalReason::Undecodable),
        Code::OutOfRange => Some(RefusalReason::TooLarge),
        Code::Unimplemented => Some(RefusalReason::Compressed),
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
