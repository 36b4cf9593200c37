//! The calls of the public API.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures::Stream;
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status};
use twqr_service::{CancellationToken, Clock};
use twqr_types::{OrderKey, QueryForm, RawQuery, Violations};
use twqr_wire::{
    bus::reply_record::Body,
    convert::{pay_form, query_form, query_record},
    pos::{
        CancelRequest, CancelResponse, InquiryType, PayRequest, PayResponse, QueryRequest, QueryResponse,
        RefundRequest, RefundResponse, WatchOrderRequest, pos_service_server::PosService,
    },
};

use crate::{
    Settings,
    answers::{no_such_order, query_response},
    desk::{Desk, Waiting},
    metrics,
    pay::Paying,
    refusals,
    repeats::Repeats,
    watch::{BEHIND_MAX, LEASE_MS, Watch, Watched},
};

pub(crate) struct PosApi {
    pub(crate) desk: Arc<Desk>,
    pub(crate) repeats: Arc<Repeats>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: Settings,
    pub(crate) shutdown: CancellationToken,
}

/// What is left of the caller's deadline for the answer's way back, in ms.
const DEADLINE_MARGIN_MS: u64 = 200;

impl PosApi {
    /// How long the caller waits: its own deadline less the way back, or ours.
    fn deadline(&self, metadata: &tonic::metadata::MetadataMap) -> Instant {
        let ours = Duration::from_millis(self.settings.answer_within_ms);
        let header = metadata.get("grpc-timeout").and_then(|value| value.to_str().ok());
        let theirs = header
            .and_then(grpc_timeout)
            .map(|theirs| theirs.saturating_sub(Duration::from_millis(DEADLINE_MARGIN_MS)).max(theirs / 2));
        Instant::now() + theirs.map_or(ours, |theirs| theirs.min(ours))
    }

    /// A place to wait for the router until the deadline.
    pub(crate) fn wait(&self, deadline: Instant) -> Result<Waiting, Status> {
        let left = deadline.saturating_duration_since(Instant::now());
        let until = self.clock.now().plus(i64::try_from(left.as_millis()).unwrap_or(i64::MAX));
        self.desk.wait(until).ok_or_else(refusals::shed)
    }

    /// Asks for the order as it is now.
    async fn ask(&self, key: &OrderKey, deadline: Instant) -> Result<QueryResponse, Status> {
        let mut waiting = self.wait(deadline)?;
        let ack = self.desk.append(key, query_record(self.clock.now(), key, waiting.reply_to, false));
        if let Ok(Err(error)) = tokio::time::timeout_at(deadline, ack).await {
            return Err(refusals::not_accepted(&error));
        }
        let reply = tokio::time::timeout_at(deadline, waiting.replies.recv()).await;
        match reply.ok().flatten().and_then(|reply| reply.body) {
            Some(Body::Payment(payment)) => Ok(query_response(payment, &self.settings.in_progress_code)),
            Some(Body::NotFound(_)) => Ok(no_such_order()),
            Some(Body::Conflict(_) | Body::TooManyWatchers(_)) | None => Err(refusals::no_answer()),
        }
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
        let began = Instant::now();
        let deadline = self.deadline(request.metadata());
        let request = request.into_inner();
        let result = match pay_form(request.clone()) {
            Ok(form) => Paying { api: self, request, form, deadline }.run().await,
            Err(violations) => Err(refusals::invalid(&violations)),
        };
        counted("Pay", began, result)
    }

    async fn query(&self, request: Request<QueryRequest>) -> Result<Response<QueryResponse>, Status> {
        let began = Instant::now();
        let deadline = self.deadline(request.metadata());
        let request = request.into_inner();
        let inquiry_type = request.inquiry_type();
        let result = match (checked(inquiry_type, query_form(request)), inquiry_type) {
            (Ok(form), InquiryType::Payment) => self.ask(&form.key, deadline).await,
            (Ok(_), InquiryType::Refund | InquiryType::Unspecified) => Ok(no_such_order()),
            (Err(refusal), _) => Err(refusal),
        };
        counted("Query", began, result)
    }

    async fn refund(&self, _: Request<RefundRequest>) -> Result<Response<RefundResponse>, Status> {
        Err(refusals::not_there("Refund"))
    }

    async fn cancel(&self, _: Request<CancelRequest>) -> Result<Response<CancelResponse>, Status> {
        Err(refusals::not_there("Cancel"))
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
        let waiting = self.wait(Instant::now() + Duration::from_millis(LEASE_MS))?;
        let (changes, stream) = mpsc::channel(BEHIND_MAX);
        let watch = Watch {
            key: form.key,
            waiting,
            desk: self.desk.clone(),
            clock: self.clock.clone(),
            changes,
            in_progress_code: self.settings.in_progress_code.clone(),
            shutdown: self.shutdown.clone(),
        };
        tokio::spawn(watch.run());
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

fn checked(inquiry_type: InquiryType, form: Result<QueryForm, Violations>) -> Result<QueryForm, Status> {
    let typed = inquiry_type != InquiryType::Unspecified;
    match form {
        Ok(form) if typed => Ok(form),
        Ok(_) => Err(refusals::invalid(&refusals::inquiry_type())),
        Err(mut violations) => {
            if !typed {
                for violation in refusals::inquiry_type().as_slice() {
                    violations.add(violation.field, violation.description.clone());
                }
            }
            Err(refusals::invalid(&violations))
        }
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
