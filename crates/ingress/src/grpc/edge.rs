//! What happens to a gRPC call before and after its handler. A request that cannot be decoded never
//! reaches the handler: it is refused with the code that the public API lists, and counted, and so
//! is a call that the caller cancels before the answer. The hops of a call are added to its answer
//! here, as trailing metadata.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http_body_util::BodyExt;
use tokio::time::Instant;
use tonic::{
    Code, Status,
    body::Body,
    codegen::{Service, http},
    server::NamedService,
};
use twqr_access::{Grant, Verdict};
use twqr_callers::Operation;
use twqr_service::read_whole;
use twqr_wire::{
    hops::HOPS_HEADER,
    pos::{RefusalReason, pos_service_server::PosServiceServer},
};

use super::{GrpcService, status};
use crate::{
    REQUEST_BYTES_MAX,
    api::PosApi,
    fairness::Use,
    hops::CallHops,
    metrics::{self, PendingAnswer},
    refusal::Refusal,
};

/// How long a call with one message and one answer may take, in ms: the longest time for an answer,
/// and 10 s for the message to arrive.
const CALL_MS_MAX: u64 = 70_000;

/// The public API with its refusals before decoding.
#[derive(Clone)]
pub(crate) struct Edge {
    server: PosServiceServer<GrpcService>,
    api: Arc<PosApi>,
}

impl Edge {
    pub(crate) fn new(service: GrpcService) -> Self {
        let api = service.api.clone();
        Self { server: PosServiceServer::new(service).max_decoding_message_size(REQUEST_BYTES_MAX), api }
    }

    /// Finds the caller of a request, and begins its call. What is refused here was not decoded.
    fn admit(&self, method: Option<&'static str>, request: &http::Request<Body>) -> Result<Admitted, Refusal> {
        let grant = self.api.access.identify(method.unwrap_or(OTHER), request.headers(), request.extensions())?;
        let Some(operation) = method.and_then(operation_of) else { return Ok(Admitted { grant, call: None }) };
        self.api.access.check_operation(&grant, operation)?;
        let call = self.api.begin_caller(&grant);
        let call = call.inspect_err(|refusal| self.api.access.note(&grant, refusal.verdict()))?;
        Ok(Admitted { grant, call })
    }
}

/// A method that does not exist, in the log of who called.
const OTHER: &str = "other";
/// A request that cannot be decoded, in the log of who called.
pub(super) const UNDECODABLE: Verdict = Verdict::Request("undecodable");
/// A call of a method that does not exist, in the log of who called.
const UNKNOWN_METHOD: Verdict = Verdict::Request("unknown-method");

/// A request whose caller was found.
struct Admitted {
    grant: Grant,
    /// The caller's call; absent where every call is let in.
    call: Option<Use>,
}

impl NamedService for Edge {
    const NAME: &'static str = PosServiceServer::<GrpcService>::NAME;
}

type Answered = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

impl Service<http::Request<Body>> for Edge {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answered;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<http::Request<Body>>::poll_ready(&mut self.server, context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Answered {
        let mut request = read_whole(request);
        let method = method_of(request.uri().path());
        let (began, answer) = (Instant::now(), method.map(PendingAnswer::begin));
        let Admitted { grant, call } = match self.admit(method, &request) {
            Ok(admitted) => admitted,
            Err(refusal) => {
                if let Some((method, answer)) = method.zip(answer) {
                    answer.given();
                    metrics::call(method, refusal.code(), began.elapsed());
                }
                return Box::pin(async move { Ok(status::status(&refusal).into_http()) });
            }
        };
        request.extensions_mut().insert(grant.clone());
        let api = self.api.clone();
        let unary = method.filter(|method| UNARY.contains(method));
        let hops = unary.and_then(|method| CallHops::of_headers(method, request.headers(), began));
        if let Some(hops) = hops.clone() {
            request.extensions_mut().insert(hops);
        }
        let calling = self.server.call(request);
        Box::pin(async move {
            let mut response = match unary {
                Some(_) => in_time(calling).await?,
                None => calling.await?,
            };
            drop(call);
            if let Some(answer) = answer {
                answer.given();
            }
            let code = Status::from_header_map(response.headers()).map(|status| status.code());
            if let Some((method, reason)) = method.zip(code.and_then(undecodable)) {
                metrics::call(method, Code::InvalidArgument, began.elapsed());
                api.access.note(&grant, UNDECODABLE);
                response = status::undecodable(reason).into_http();
            } else if method.is_none() {
                api.access.note(&grant, UNKNOWN_METHOD);
                response = status::unknown_method().into_http();
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

/// The answer to a call with one message. The handler is always in time; a caller that begins a
/// call and does not send its message is not, and its call ends here.
async fn in_time(
    calling: impl Future<Output = Result<http::Response<Body>, Infallible>>,
) -> Result<http::Response<Body>, Infallible> {
    let late = |_| Ok(status::undecodable(RefusalReason::Undecodable).into_http());
    tokio::time::timeout(Duration::from_millis(CALL_MS_MAX), calling).await.unwrap_or_else(late)
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

/// The method that a path names; `None` if the service has no such method.
fn method_of(path: &str) -> Option<&'static str> {
    let name = path.strip_prefix('/')?.strip_prefix(Edge::NAME)?.strip_prefix('/')?;
    UNARY.into_iter().chain(["PayStream", "WatchOrder"]).find(|known| *known == name)
}

/// The operation of a method.
fn operation_of(method: &'static str) -> Option<Operation> {
    match method {
        "Pay" | "PayStream" => Some(Operation::Pay),
        "Query" => Some(Operation::Query),
        "Refund" => Some(Operation::Refund),
        "Cancel" => Some(Operation::Cancel),
        "WatchOrder" => Some(Operation::Watch),
        _ => None,
    }
}

/// The reason why a request could not be decoded. The library answers it with one of these codes,
/// which no handler uses. Its own text may contain a part of the request, so it is not shown.
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

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[test]
    fn only_the_whole_path_names_a_method() {
        for (path, expected) in [
            ("/twqr.pos.v1.PosService/Pay", Some("Pay")),
            ("/twqr.pos.v1.PosService/WatchOrder", Some("WatchOrder")),
            ("/twqr.pos.v1.PosService/pay", None),
            ("/twqr.pos.v1.PosService/x/Pay", None),
            ("/twqr.pos.v1.PosService/Pay/", None),
            ("/twqr.pos.v1.PosServices/Pay", None),
            ("/Pay", None),
        ] {
            assert_eq!(method_of(path), expected, "{path}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_whose_message_never_arrives_ends() {
        let began = Instant::now();
        let response = in_time(pending()).await.unwrap();
        assert_eq!(began.elapsed(), Duration::from_millis(CALL_MS_MAX));
        let status = Status::from_header_map(response.headers()).unwrap();
        assert_eq!(status.code(), Code::InvalidArgument);
    }
}
