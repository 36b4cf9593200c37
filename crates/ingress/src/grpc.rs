//! The gRPC service: it converts messages, finds each caller's deadline, counts calls and notes
//! refused ones, and streams watches and payments.

#[cfg(test)]
mod contract_tests;
mod edge;
mod messages;
mod pay_stream;
mod status;

use std::{pin::Pin, sync::Arc, time::Duration};

use futures::{Stream, StreamExt};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming, metadata::MetadataMap};
use twqr_access::{Access, Grant, Verdict};
use twqr_service::{CallerConnection, CancellationToken};
use twqr_types::RawQuery;
use twqr_wire::{
    convert::{raw_cancel, raw_pay, raw_query, raw_refund},
    pos::{
        CancelRequest, CancelResponse, PayRequest, PayResponse, PayStreamRequest, QueryRequest, QueryResponse,
        RefundRequest, RefundResponse, WatchOrderRequest, WatchOrderResponse, pos_service_server::PosService,
    },
};

use crate::{
    api::PosApi,
    hops::CallHops,
    metrics,
    refusal::{Refusal, verdict_of},
    router_client::Caller,
    validation::parse_inquiry,
    watch::{CHANGES_LEN_MAX, Change, LEASE_MS, Watch},
};

pub(crate) use edge::Edge;
pub(crate) use pay_stream::StreamPlaces;
pub(crate) use status::unknown_service;

/// The part of the caller's deadline that is reserved for sending the answer, in ms.
const DEADLINE_MARGIN_MS: u64 = 200;

/// The public API as a gRPC service.
#[derive(Clone)]
pub(crate) struct GrpcService {
    pub(crate) api: Arc<PosApi>,
    pub(crate) streams: StreamPlaces,
}

impl GrpcService {
    /// A caller that waits as long as its time-out allows for the answer, or as long as the default
    /// if that is shorter.
    fn caller(&self, timeout: Option<Duration>, grant: Grant, hops: Option<CallHops>) -> Caller {
        let now = Instant::now();
        let ours = self.api.default_deadline(now);
        let deadline = timeout.map_or(ours, |theirs| (now + time_to_answer(theirs)).min(ours));
        Caller { deadline, signed_by: None, nonce: None, grant, hops }
    }

    /// Begins a unary call; returns it and its caller. [`Edge`] has begun to measure it, if at all.
    fn begin<T>(&self, method: &'static str, request: &Request<T>) -> Result<(CountedCall<'_>, Caller), Status> {
        let (began, grant) = (Instant::now(), self.grant(request)?);
        let hops = request.extensions().get().cloned();
        let caller = self.caller(timeout(request.metadata()), grant.clone(), hops);
        Ok((CountedCall { access: &self.api.access, grant, method, began }, caller))
    }

    /// The rights of a request's caller, as [`Edge`] has found them.
    fn grant<T>(&self, request: &Request<T>) -> Result<Grant, Status> {
        self.api.access.granted(request.extensions()).map_err(|refusal| status::status(&refusal.into()))
    }

    /// The signal that a stream of this request must end, because its connection or the process
    /// ends.
    fn leaving<T>(&self, request: &Request<T>) -> CancellationToken {
        CallerConnection::leaving(request.extensions()).unwrap_or_else(|| self.api.shutdown.clone())
    }
}

/// A caller's time-out less [`DEADLINE_MARGIN_MS`], but at least half of it.
fn time_to_answer(timeout: Duration) -> Duration {
    timeout.saturating_sub(Duration::from_millis(DEADLINE_MARGIN_MS)).max(timeout / 2)
}

/// The time-out that a caller names in the header `grpc-timeout`.
fn timeout(metadata: &MetadataMap) -> Option<Duration> {
    parse_timeout(metadata.get("grpc-timeout")?.to_str().ok()?)
}

/// Parses the header `grpc-timeout`: up to eight digits and a unit.
fn parse_timeout(header: &str) -> Option<Duration> {
    let (number, unit) = header.split_at_checked(header.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok().filter(|number| *number < 100_000_000)?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3_600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// A call that is counted when it ends, and noted in the log of who called if it is refused.
struct CountedCall<'a> {
    access: &'a Access,
    grant: Grant,
    method: &'static str,
    began: Instant,
}

impl CountedCall<'_> {
    /// Ends the call and converts its result. `verdict` judges an answer.
    fn end<A, R>(
        self,
        result: Result<A, Refusal>,
        verdict: impl FnOnce(&A) -> Verdict,
        convert: impl FnOnce(A) -> R,
    ) -> Result<R, Status> {
        let code = result.as_ref().map_or_else(Refusal::code, |_| Code::Ok);
        metrics::call(self.method, code, self.began.elapsed());
        self.access.note(&self.grant, result.as_ref().map_or_else(Refusal::verdict, verdict));
        result.map(convert).map_err(|refusal| status::status(&refusal))
    }
}

#[tonic::async_trait]
impl PosService for GrpcService {
    type PayStreamStream = pay_stream::Answers;
    type WatchOrderStream = Pin<Box<dyn Stream<Item = Result<WatchOrderResponse, Status>> + Send>>;

    async fn pay(&self, request: Request<PayRequest>) -> Result<Response<PayResponse>, Status> {
        let (call, caller) = self.begin("Pay", &request)?;
        let result = self.api.pay(raw_pay(request.into_inner()), caller).await;
        call.end(result, |answer| verdict_of(&answer.status), messages::pay_response).map(Response::new)
    }

    async fn pay_stream(
        &self,
        request: Request<Streaming<PayStreamRequest>>,
    ) -> Result<Response<Self::PayStreamStream>, Status> {
        let timeout = timeout(request.metadata()).map(time_to_answer);
        let (grant, leaving) = (self.grant(&request)?, self.leaving(&request));
        pay_stream::open(self, request.into_inner(), timeout, grant, leaving).map(Response::new)
    }

    async fn query(&self, request: Request<QueryRequest>) -> Result<Response<QueryResponse>, Status> {
        let (call, caller) = self.begin("Query", &request)?;
        let request = request.into_inner();
        let inquiry_type = messages::inquiry_type(request.inquiry_type());
        let result = self.api.inquire(raw_query(request), inquiry_type, caller).await;
        call.end(result, |_| Verdict::LetIn, messages::query_response).map(Response::new)
    }

    async fn refund(&self, request: Request<RefundRequest>) -> Result<Response<RefundResponse>, Status> {
        let (call, caller) = self.begin("Refund", &request)?;
        let result = self.api.refund(raw_refund(request.into_inner()), caller).await;
        call.end(result, |answer| verdict_of(&answer.status), messages::refund_response).map(Response::new)
    }

    async fn cancel(&self, request: Request<CancelRequest>) -> Result<Response<CancelResponse>, Status> {
        let (call, caller) = self.begin("Cancel", &request)?;
        let result = self.api.cancel(raw_cancel(request.into_inner()), caller).await;
        call.end(result, |answer| verdict_of(&answer.status), messages::cancel_response).map(Response::new)
    }

    async fn watch_order(
        &self,
        request: Request<WatchOrderRequest>,
    ) -> Result<Response<Self::WatchOrderStream>, Status> {
        let (grant, leaving) = (self.grant(&request)?, self.leaving(&request));
        let (access, clock) = (self.api.access.clone(), self.api.router.clock.clone());
        let noted = grant.clone();
        let refused = move |refusal: Refusal| {
            access.note(&noted, refusal.verdict());
            status::status(&refusal)
        };
        let changes = start_watch(&self.api, request.into_inner(), grant, leaving).map_err(&refused)?;
        let responses = ReceiverStream::new(changes)
            .map(move |change| change.map(|answer| messages::watch_response(answer, clock.now())).map_err(&refused));
        Ok(Response::new(Box::pin(responses)))
    }
}

/// Starts a watch; returns the receiver of its changes.
/// `leaving` fires when the watch must end.
fn start_watch(
    api: &PosApi,
    request: WatchOrderRequest,
    grant: Grant,
    leaving: CancellationToken,
) -> Result<mpsc::Receiver<Change>, Refusal> {
    let open = api.open_watch(&grant, &request.merchant_id)?;
    let inquiry_type = messages::inquiry_type(request.inquiry_type());
    let keep = request.keep_watching;
    let (form, inquiry_type) = parse_inquiry(raw_watch(request), inquiry_type)?;
    let call = api.router.open_watch(Instant::now() + Duration::from_millis(LEASE_MS))?;
    let (changes, receiver) = mpsc::channel(CHANGES_LEN_MAX);
    let watch = Watch {
        key: form.key,
        inquiry_type,
        keep,
        call,
        router: api.router.clone(),
        changes,
        access: api.access.clone(),
        grant,
        _open: open,
        leaving,
    };
    tokio::spawn(watch.run());
    Ok(receiver)
}

/// Takes the fields by which an order is watched, without checking them.
fn raw_watch(request: WatchOrderRequest) -> RawQuery {
    RawQuery { merchant_id: request.merchant_id, merchant_trade_no: request.merchant_trade_no, ..RawQuery::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_timeout_is_parsed_in_every_unit() {
        for (header, expected) in [
            ("1H", Some(Duration::from_hours(1))),
            ("2M", Some(Duration::from_mins(2))),
            ("3S", Some(Duration::from_secs(3))),
            ("4m", Some(Duration::from_millis(4))),
            ("5u", Some(Duration::from_micros(5))),
            ("6n", Some(Duration::from_nanos(6))),
            ("123456789m", None),
            ("", None),
            ("m", None),
            ("7x", None),
            ("７S", None),
        ] {
            assert_eq!(parse_timeout(header), expected, "{header}");
        }
    }
}
