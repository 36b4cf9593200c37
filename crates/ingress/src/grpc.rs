//! The gRPC service: it converts messages, finds each caller's deadline, counts calls, and streams
//! watches and payments.

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
use twqr_access::Grant;
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
    refusal::Refusal,
    router_client::Caller,
    validation::parse_inquiry,
    watch::{CHANGES_LEN_MAX, Change, LEASE_MS, Watch},
};

pub(crate) use edge::Edge;
pub(crate) use pay_stream::StreamPlaces;

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

    /// The caller of a unary call. [`Edge`] has begun to measure it, if at all.
    fn unary_caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        let hops = request.extensions().get().cloned();
        Ok(self.caller(timeout(request.metadata()), self.grant(request)?, hops))
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

/// Counts a call that ended, and converts its result.
fn outcome<A, R>(
    method: &'static str,
    began: Instant,
    result: Result<A, Refusal>,
    convert: impl FnOnce(A) -> R,
) -> Result<R, Status> {
    metrics::call(method, result.as_ref().map_or_else(Refusal::code, |_| Code::Ok), began.elapsed());
    result.map(convert).map_err(|refusal| status::status(&refusal))
}

/// The same as a unary response.
fn respond<A, R>(
    method: &'static str,
    began: Instant,
    result: Result<A, Refusal>,
    convert: impl FnOnce(A) -> R,
) -> Result<Response<R>, Status> {
    outcome(method, began, result, convert).map(Response::new)
}

#[tonic::async_trait]
impl PosService for GrpcService {
    type PayStreamStream = pay_stream::Answers;
    type WatchOrderStream = Pin<Box<dyn Stream<Item = Result<WatchOrderResponse, Status>> + Send>>;

    async fn pay(&self, request: Request<PayRequest>) -> Result<Response<PayResponse>, Status> {
        let (began, caller) = (Instant::now(), self.unary_caller(&request)?);
        let result = self.api.pay(raw_pay(request.into_inner()), caller).await;
        respond("Pay", began, result, messages::pay_response)
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
        let (began, caller) = (Instant::now(), self.unary_caller(&request)?);
        let request = request.into_inner();
        let inquiry_type = messages::inquiry_type(request.inquiry_type());
        let result = self.api.inquire(raw_query(request), inquiry_type, caller).await;
        respond("Query", began, result, messages::query_response)
    }

    async fn refund(&self, request: Request<RefundRequest>) -> Result<Response<RefundResponse>, Status> {
        let (began, caller) = (Instant::now(), self.unary_caller(&request)?);
        let result = self.api.refund(raw_refund(request.into_inner()), caller).await;
        respond("Refund", began, result, messages::refund_response)
    }

    async fn cancel(&self, request: Request<CancelRequest>) -> Result<Response<CancelResponse>, Status> {
        let (began, caller) = (Instant::now(), self.unary_caller(&request)?);
        let result = self.api.cancel(raw_cancel(request.into_inner()), caller).await;
        respond("Cancel", began, result, messages::cancel_response)
    }

    async fn watch_order(
        &self,
        request: Request<WatchOrderRequest>,
    ) -> Result<Response<Self::WatchOrderStream>, Status> {
        let (grant, leaving) = (self.grant(&request)?, self.leaving(&request));
        let changes =
            start_watch(&self.api, request.into_inner(), grant, leaving).map_err(|refusal| status::status(&refusal))?;
        let clock = self.api.router.clock.clone();
        let responses = ReceiverStream::new(changes).map(move |change| match change {
            Ok(answer) => Ok(messages::watch_response(answer, clock.now())),
            Err(refusal) => Err(status::status(&refusal)),
        });
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
