//! The gRPC service: deadlines, metrics and streams around the calls.

use std::{pin::Pin, time::Duration};

use futures::Stream;
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status};
use twqr_types::{QueryForm, RawQuery};
use twqr_wire::pos::{
    CancelRequest, CancelResponse, PayRequest, PayResponse, QueryRequest, QueryResponse, RefundRequest, RefundResponse,
    WatchOrderRequest, pos_service_server::PosService,
};

use crate::{
    api::{Caller, PosApi, checked},
    metrics,
    watch::{BEHIND_MAX, LEASE_MS, Watch, Watched},
};

/// What is left of the caller's deadline for the answer's way back, in ms.
const DEADLINE_MARGIN_MS: u64 = 200;

impl PosApi {
    /// How long the caller waits: its own deadline less the way back, or ours.
    fn caller(&self, metadata: &tonic::metadata::MetadataMap) -> Caller {
        let ours = self.own_deadline(Instant::now());
        let header = metadata.get("grpc-timeout").and_then(|value| value.to_str().ok());
        let theirs = header
            .and_then(grpc_timeout)
            .map(|theirs| theirs.saturating_sub(Duration::from_millis(DEADLINE_MARGIN_MS)).max(theirs / 2));
        let deadline = theirs.map_or(ours, |theirs| (Instant::now() + theirs).min(ours));
        Caller { deadline, signed_by: None }
    }
}

/// `grpc-timeout`: up to eight digits and a unit.
fn grpc_timeout(header: &str) -> Option<Duration> {
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

/// Counts a call that ended.
fn counted<T>(method: &'static str, began: Instant, result: Result<T, Status>) -> Result<Response<T>, Status> {
    metrics::call(method, result.as_ref().map_or_else(Status::code, |_| Code::Ok), began.elapsed());
    result.map(Response::new)
}

#[tonic::async_trait]
impl PosService for PosApi {
    type WatchOrderStream = Pin<Box<dyn Stream<Item = Watched> + Send>>;

    async fn pay(&self, request: Request<PayRequest>) -> Result<Response<PayResponse>, Status> {
        let (began, caller) = (Instant::now(), self.caller(request.metadata()));
        counted("Pay", began, PosApi::pay(self, request.into_inner(), caller).await)
    }

    async fn query(&self, request: Request<QueryRequest>) -> Result<Response<QueryResponse>, Status> {
        let (began, caller) = (Instant::now(), self.caller(request.metadata()));
        counted("Query", began, PosApi::query(self, request.into_inner(), caller).await)
    }

    async fn refund(&self, request: Request<RefundRequest>) -> Result<Response<RefundResponse>, Status> {
        let (began, caller) = (Instant::now(), self.caller(request.metadata()));
        counted("Refund", began, PosApi::refund(self, request.into_inner(), caller).await)
    }

    async fn cancel(&self, request: Request<CancelRequest>) -> Result<Response<CancelResponse>, Status> {
        let (began, caller) = (Instant::now(), self.caller(request.metadata()));
        counted("Cancel", began, PosApi::cancel(self, request.into_inner(), caller).await)
    }

    async fn watch_order(
        &self,
        request: Request<WatchOrderRequest>,
    ) -> Result<Response<Self::WatchOrderStream>, Status> {
        let request = request.into_inner();
        let inquiry_type = request.inquiry_type();
        let raw = RawQuery {
            merchant_id: request.merchant_id,
            merchant_trade_no: request.merchant_trade_no,
            ..RawQuery::default()
        };
        let form = checked(inquiry_type, QueryForm::parse(raw))?;
        let waiting = self.wait_watching(Instant::now() + Duration::from_millis(LEASE_MS))?;
        let (changes, stream) = mpsc::channel(BEHIND_MAX);
        let watch = Watch {
            key: form.key,
            inquiry_type,
            keep: request.keep_watching,
            waiting,
            desk: self.desk.clone(),
            clock: self.clock.clone(),
            changes,
            shutdown: self.shutdown.clone(),
        };
        tokio::spawn(watch.run());
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_deadline_is_read_in_every_unit() {
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
            assert_eq!(grpc_timeout(header), expected, "{header}");
        }
    }
}
