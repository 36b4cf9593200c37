//! The calls of the public API.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures::Stream;
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use twqr_journal::JournalError;
use twqr_service::Clock;
use twqr_types::{OrderKey, QueryForm, RawQuery};
use twqr_wire::{
    bus::{self, reply_record::Body},
    convert::{pay_form, pay_record, query_form, query_record},
    pos::{
        CancelRequest, CancelResponse, InquiryType, PayRequest, PayResponse, QueryRequest, QueryResponse,
        RefundRequest, RefundResponse, WatchOrderRequest, WatchOrderResponse, pos_service_server::PosService,
    },
};

use crate::{
    Settings,
    answers::{IN_PROGRESS, is_final, no_such_order, pay_response, query_response},
    desk::{Desk, Waiting},
    refusals,
};

pub(crate) struct PosApi {
    desk: Arc<Desk>,
    clock: Arc<dyn Clock>,
    settings: Settings,
}

/// What is left of the caller's deadline for the answer's way back, in ms.
const DEADLINE_MARGIN_MS: u64 = 200;
/// How long one watch lasts before it is renewed, in ms.
const WATCH_LEASE_MS: u64 = 60_000;
/// How many changes a slow watcher may be behind.
const WATCH_BEHIND_MAX: usize = 16;

type Watched = Result<WatchOrderResponse, Status>;

impl PosApi {
    pub(crate) fn new(desk: Arc<Desk>, clock: Arc<dyn Clock>, settings: Settings) -> Self {
        Self { desk, clock, settings }
    }

    /// How long the caller waits: its own deadline less the way back, or ours.
    fn patience(&self, metadata: &tonic::metadata::MetadataMap) -> Duration {
        let ours = Duration::from_millis(self.settings.answer_within_ms);
        let header = metadata.get("grpc-timeout").and_then(|value| value.to_str().ok());
        let theirs = header
            .and_then(grpc_timeout)
            .map(|theirs| theirs.saturating_sub(Duration::from_millis(DEADLINE_MARGIN_MS)).max(theirs / 2));
        theirs.map_or(ours, |theirs| theirs.min(ours))
    }

    fn wait(&self, patience: Duration) -> Result<Waiting, Status> {
        let until = self.clock.now().plus(i64::try_from(patience.as_millis()).unwrap_or(i64::MAX));
        self.desk.wait(until).ok_or_else(refusals::shed)
    }

    /// Asks for the order as it is now.
    async fn ask(&self, key: &OrderKey, patience: Duration) -> Result<QueryResponse, Status> {
        let mut waiting = self.wait(patience)?;
        let record = query_record(self.clock.now(), key, waiting.reply_to, false);
        self.desk.append(key, record).await.map_err(|error| refusals::not_accepted(&error))?;
        let reply = tokio::time::timeout(patience, waiting.replies.recv()).await;
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

/// What a caller gets at its deadline: the order is in progress, with its number if that is known.
fn in_progress(request: PayRequest, latest: Option<(bus::Payment, bool)>, code: &str) -> PayResponse {
    match latest {
        Some((payment, repeat)) => pay_response(payment, code, repeat),
        None => PayResponse {
            merchant_id: request.merchant_id,
            store_id: request.store_id,
            gateway_trade_no: request.gateway_trade_no,
            merchant_trade_no: request.merchant_trade_no,
            pos_id: request.pos_id,
            status_code: code.to_owned(),
            status_desc: IN_PROGRESS.to_owned(),
            trade_amount: request.trade_amount,
            remark: request.remark,
            extra1: request.extra1,
            extra2: request.extra2,
            ..PayResponse::default()
        },
    }
}

#[tonic::async_trait]
impl PosService for PosApi {
    type WatchOrderStream = Pin<Box<dyn Stream<Item = Watched> + Send>>;

    async fn pay(&self, request: Request<PayRequest>) -> Result<Response<PayResponse>, Status> {
        let patience = self.patience(request.metadata());
        let deadline = Instant::now() + patience;
        let request = request.into_inner();
        let form = pay_form(request.clone()).map_err(|violations| refusals::invalid(&violations))?;
        let mut waiting = self.wait(patience)?;
        let code = &self.settings.in_progress_code;
        let ack = self.desk.append(&form.key, pay_record(self.clock.now(), &form, Some(waiting.reply_to)));
        // An append that was not acknowledged may still land: only a refused one is no order.
        if let Err(error @ (JournalError::AppendRefused { .. } | JournalError::NoPartition(_))) = ack.await {
            return Err(refusals::not_accepted(&error));
        }
        let mut latest = None;
        while let Ok(Some(reply)) = tokio::time::timeout_at(deadline, waiting.replies.recv()).await {
            match reply.body {
                Some(Body::Payment(payment)) if is_final(&payment) => {
                    return Ok(Response::new(echo(pay_response(payment, code, reply.repeat), &request)));
                }
                Some(Body::Payment(payment)) => latest = Some((payment, reply.repeat)),
                Some(Body::Conflict(conflict)) => return Err(refusals::conflict(&conflict.fields)),
                Some(Body::NotFound(_) | Body::TooManyWatchers(_)) | None => {}
            }
        }
        Ok(Response::new(in_progress(request, latest, code)))
    }

    async fn query(&self, request: Request<QueryRequest>) -> Result<Response<QueryResponse>, Status> {
        let patience = self.patience(request.metadata());
        let request = request.into_inner();
        let inquiry_type = request.inquiry_type();
        let form = checked(inquiry_type, query_form(request))?;
        match inquiry_type {
            InquiryType::Payment => self.ask(&form.key, patience).await.map(Response::new),
            InquiryType::Refund | InquiryType::Unspecified => Ok(Response::new(no_such_order())),
        }
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
        let waiting = self.wait(Duration::from_millis(WATCH_LEASE_MS))?;
        let (changes, stream) = mpsc::channel(WATCH_BEHIND_MAX);
        let (desk, clock) = (self.desk.clone(), self.clock.clone());
        tokio::spawn(watch(form.key, waiting, desk, clock, (changes, self.settings.in_progress_code.clone())));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

/// The POS document's echoes are of the request that is answered.
fn echo(mut response: PayResponse, request: &PayRequest) -> PayResponse {
    response.gateway_trade_no.clone_from(&request.gateway_trade_no);
    response.pos_id.clone_from(&request.pos_id);
    response
}

fn checked(inquiry_type: InquiryType, form: Result<QueryForm, twqr_types::Violations>) -> Result<QueryForm, Status> {
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

/// Sends the state now and every change after it, until it is final or nobody listens; renews its lease while it lasts.
async fn watch(
    key: OrderKey,
    mut waiting: Waiting,
    desk: Arc<Desk>,
    clock: Arc<dyn Clock>,
    (changes, in_progress_code): (mpsc::Sender<Watched>, String),
) {
    let mut last = None;
    loop {
        waiting.reply_to.until = clock.now().plus(i64::try_from(WATCH_LEASE_MS).unwrap_or(i64::MAX));
        if let Err(error) = desk.append(&key, query_record(clock.now(), &key, waiting.reply_to, true)).await {
            drop(changes.send(Err(refusals::not_accepted(&error))).await);
            return;
        }
        let renew = tokio::time::sleep(Duration::from_millis(WATCH_LEASE_MS / 2));
        tokio::pin!(renew);
        loop {
            let reply = tokio::select! {
                () = changes.closed() => return,
                () = &mut renew => break,
                reply = waiting.replies.recv() => reply,
            };
            let (order, ends) = match reply.and_then(|reply| reply.body) {
                Some(Body::Payment(payment)) => {
                    (Ok(query_response(payment.clone(), &in_progress_code)), is_final(&payment))
                }
                Some(Body::NotFound(_)) => (Ok(no_such_order()), true),
                Some(Body::TooManyWatchers(_)) => (Err(refusals::too_many_watchers()), true),
                Some(Body::Conflict(_)) | None => (Err(refusals::no_answer()), true),
            };
            if order.as_ref().ok() != last.as_ref() || ends {
                last = order.as_ref().ok().cloned();
                if changes.send(order.map(|order| WatchOrderResponse { order: Some(order) })).await.is_err() {
                    return;
                }
            }
            if ends {
                return;
            }
        }
    }
}
