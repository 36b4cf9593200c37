//! The gRPC service: it converts messages, finds each caller's deadline, counts calls, and streams
//! watches.

mod edge;
mod messages;
mod status;

use std::{pin::Pin, sync::Arc, time::Duration};

use futures::{Stream, StreamExt};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, metadata::MetadataMap};
use twqr_types::RawQuery;
use twqr_wire::{
    convert::{raw_cancel, raw_pay, raw_query, raw_refund},
    pos::{
        CancelRequest, CancelResponse, PayRequest, PayResponse, QueryRequest, QueryResponse, RefundRequest,
        RefundResponse, WatchOrderRequest, WatchOrderResponse, pos_service_server::PosService,
    },
};

use crate::{
    api::{PosApi, parse_inquiry},
    metrics,
    refusal::Refusal,
    router_client::Caller,
    watch::{CHANGES_LEN_MAX, Change, LEASE_MS, Watch},
};

pub(crate) use edge::Edge;

/// The part of the caller's deadline that is reserved for sending the answer, in ms.
const DEADLINE_MARGIN_MS: u64 = 200;

/// The public API as a gRPC service.
pub(crate) struct GrpcService(pub(crate) Arc<PosApi>);

impl GrpcService {
    /// The caller of a request. Its deadline is its own less [`DEADLINE_MARGIN_MS`], or the default
    /// if that is sooner.
    fn caller(&self, metadata: &MetadataMap) -> Caller {
        let ours = self.0.default_deadline(Instant::now());
        let header = metadata.get("grpc-timeout").and_then(|value| value.to_str().ok());
        let theirs = header
            .and_then(parse_timeout)
            .map(|theirs| theirs.saturating_sub(Duration::from_millis(DEADLINE_MARGIN_MS)).max(theirs / 2));
        let deadline = theirs.map_or(ours, |theirs| (Instant::now() + theirs).min(ours));
        Caller { deadline, signed_by: None }
    }
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
fn respond<A, R>(
    method: &'static str,
    began: Instant,
    result: Result<A, Refusal>,
    convert: impl FnOnce(A) -> R,
) -> Result<Response<R>, Status> {
    metrics::call(method, result.as_ref().map_or_else(Refusal::code, |_| Code::Ok), began.elapsed());
    result.map(|answer| Response::new(convert(answer))).map_err(|refusal| status::status(&refusal))
}

#[tonic::async_trait]
impl PosService for GrpcService {
    type WatchOrderStream = Pin<Box<dyn Stream<Item = Result<WatchOrderResponse, Status>> + Send>>;

    async fn pay(&self, request: Request<PayRequest>) -> Result<Response<PayResponse>, Status> {
        let (began, caller) = (Instant::now(), self.caller(request.metadata()));
        let result = self.0.pay(raw_pay(request.into_inner()), caller).await;
        respond("Pay", began, result, messages::pay_response)
    }

    async fn query(&self, request: Request<QueryRequest>) -> Result<Response<QueryResponse>, Status> {
        let (began, caller) = (Instant::now(), self.caller(request.metadata()));
        let request = request.into_inner();
        let inquiry_type = messages::inquiry_type(request.inquiry_type());
        let result = self.0.inquire(raw_query(request), inquiry_type, caller).await;
        respond("Query", began, result, messages::query_response)
    }

    async fn refund(&self, request: Request<RefundRequest>) -> Result<Response<RefundResponse>, Status> {
        let (began, caller) = (Instant::now(), self.caller(request.metadata()));
        let result = self.0.refund(raw_refund(request.into_inner()), caller).await;
        respond("Refund", began, result, messages::refund_response)
    }

    async fn cancel(&self, request: Request<CancelRequest>) -> Result<Response<CancelResponse>, Status> {
        let (began, caller) = (Instant::now(), self.caller(request.metadata()));
        let result = self.0.cancel(raw_cancel(request.into_inner()), caller).await;
        respond("Cancel", began, result, messages::cancel_response)
    }

    async fn watch_order(
        &self,
        request: Request<WatchOrderRequest>,
    ) -> Result<Response<Self::WatchOrderStream>, Status> {
        let changes = start_watch(&self.0, request.into_inner()).map_err(|refusal| status::status(&refusal))?;
        let responses = ReceiverStream::new(changes).map(|change| match change {
            Ok(answer) => Ok(WatchOrderResponse { order: Some(messages::query_response(answer)) }),
            Err(refusal) => Err(status::status(&refusal)),
        });
        Ok(Response::new(Box::pin(responses)))
    }
}

/// Starts a watch; returns the receiver of its changes.
fn start_watch(api: &PosApi, request: WatchOrderRequest) -> Result<mpsc::Receiver<Change>, Refusal> {
    let inquiry_type = messages::inquiry_type(request.inquiry_type());
    let raw = RawQuery {
        merchant_id: request.merchant_id,
        merchant_trade_no: request.merchant_trade_no,
        ..RawQuery::default()
    };
    let (form, inquiry_type) = parse_inquiry(raw, inquiry_type)?;
    let call = api.router.open_watch(Instant::now() + Duration::from_millis(LEASE_MS))?;
    let (changes, receiver) = mpsc::channel(CHANGES_LEN_MAX);
    let watch = Watch {
        key: form.key,
        inquiry_type,
        keep: request.keep_watching,
        call,
        router: api.router.clone(),
        changes,
        shutdown: api.shutdown.clone(),
    };
    tokio::spawn(watch.run());
    Ok(receiver)
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
