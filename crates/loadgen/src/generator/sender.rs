//! One sending thread: it draws each call when it is due, sends it, and records how it ended. A
//! payment whose answer left it in progress is watched until it is final; a cancel is sent again
//! until its result is known.

use std::{
    cell::RefCell,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt, future::LocalBoxFuture, stream::FuturesUnordered};
use tokio::{sync::mpsc, time::timeout};
use tonic::{Status, metadata::MetadataValue, transport::Endpoint};
use twqr_service::GatheringConnector;
use twqr_wire::{
    hops::HOPS_HEADER,
    pos::{InquiryType, OrderStatus, WatchOrderRequest, pos_service_client::PosServiceClient},
};

use super::{
    LoadError, Targets,
    answer::ReducedAnswer,
    hop_sample::{HopSample, is_asked},
    http_client::HttpPool,
    progress::LoadProgress,
    record::{CallRecord, Reply},
};
use crate::{
    CallerKey, KeyedChannel,
    pay_streams::PayStreams,
    scenario::ClientChoice,
    schedule::IntendedStart,
    send::is_refusal,
    traffic::{
        BuiltRequest, CallChannel, CallKind, DrawnCall, MerchantList, PaidPayment, RecentPayments, SentPayment, Traffic,
    },
};

/// The pause before a watch that broke is opened again, and before a cancel that is in progress is
/// sent again, in ms.
const WATCH_AGAIN_MS: u64 = 250;
/// How much longer the client waits than the deadline that it names, in ms.
const DEADLINE_GRACE_MS: u64 = 500;

/// A sending thread before it runs.
pub(super) struct Sender {
    traffic: Traffic,
    recent: RecentPayments,
    merchants: MerchantList,
    client: ClientChoice,
    endpoints: Vec<Endpoint>,
    connector: GatheringConnector,
    /// At least one.
    callers: Vec<CallerKey>,
    http: Option<HttpPool>,
    progress: Arc<LoadProgress>,
    began: Instant,
}

/// The state that all calls of a thread share while it runs.
struct Connections {
    clients: Vec<PosServiceClient<KeyedChannel>>,
    streams: PayStreams,
    http: Option<HttpPool>,
    merchants: MerchantList,
    client: ClientChoice,
    began: Instant,
}

/// The records of a thread.
#[derive(Debug, Default)]
pub(super) struct SentCalls {
    pub(super) records: Vec<CallRecord>,
    pub(super) hops: Vec<HopSample>,
}

/// A call that ended.
struct EndedCall {
    record: CallRecord,
    hops: Option<HopSample>,
    paid: Option<PaidPayment>,
    open: Option<OpenCall>,
}

/// A call whose answer left its result open.
enum OpenCall {
    /// A payment by MerchantID and MerchantTradeNo, which is watched.
    Payment(String, String),
    /// A cancel, which is sent again.
    Cancel(Box<DrawnCall>),
}

/// The result of a call that was open.
struct LaterResult {
    /// When it was known, in µs since the run began.
    at_us: u64,
    /// The answer to the cancel then.
    reply: Option<Reply>,
}

impl Sender {
    pub(super) fn new(
        traffic: Traffic,
        merchants: MerchantList,
        client: ClientChoice,
        targets: &Targets,
        progress: Arc<LoadProgress>,
        began: Instant,
    ) -> Result<Self, LoadError> {
        let endpoint = |uri: &String| {
            let wrong = || LoadError::Endpoint(uri.clone());
            let endpoint = Endpoint::from_shared(uri.clone()).map_err(|_| wrong())?;
            endpoint.uri().port().is_some().then(|| endpoint.tcp_nodelay(true)).ok_or_else(wrong)
        };
        let endpoints = targets.grpc.iter().map(endpoint).collect::<Result<Vec<_>, _>>()?;
        if endpoints.is_empty() {
            return Err(LoadError::Endpoint(String::new()));
        }
        let http = targets.http.map(HttpPool::new);
        let connector = GatheringConnector { tls: targets.tls.clone() };
        let recent = RecentPayments::default();
        let callers = if targets.callers.is_empty() { vec![CallerKey::default()] } else { targets.callers.clone() };
        Ok(Self { traffic, recent, merchants, client, endpoints, connector, callers, http, progress, began })
    }

    /// Sends until `starts` ends and every call has ended.
    pub(super) async fn run(self, mut starts: mpsc::UnboundedReceiver<IntendedStart>) -> SentCalls {
        let Self { mut traffic, mut recent, merchants, client, endpoints, connector, callers, http, progress, began } =
            self;
        if let Ok(task) = std::fs::read_link("/proc/thread-self") {
            progress.name_task(format!("/proc/{}", task.display()));
        }
        let (lanes, settle_s) = (client.connections as usize * endpoints.len(), client.settle_s);
        let connect = |endpoint: &Endpoint| endpoint.connect_with_connector_lazy(connector.clone());
        let channels = endpoints.iter().cycle().take(lanes).map(connect);
        let clients: Vec<_> = channels.zip(callers.iter().cycle()).map(|(channel, key)| key.client(channel)).collect();
        let streams = PayStreams::new(&clients);
        let connections = Connections { clients, streams, http, merchants, client, began };
        let (records, mut hops) = (RefCell::new(Vec::new()), Vec::new());
        let mut calls = FuturesUnordered::new();
        let mut watches: FuturesUnordered<LocalBoxFuture<'_, (usize, LaterResult)>> = FuturesUnordered::new();
        let mut due = Vec::with_capacity(64);
        let mut more = true;
        while more || !calls.is_empty() {
            tokio::select! {
                count = starts.recv_many(&mut due, 64), if more => {
                    more = count > 0;
                    for start in due.drain(..) {
                        let call = traffic.draw(&mut recent);
                        remember_sent(&mut recent, &call);
                        let turn = records.borrow().len() + calls.len();
                        calls.push(connections.call(start, call, turn));
                    }
                }
                Some(ended) = calls.next(), if !calls.is_empty() => {
                    let EndedCall { record, hops: sample, paid, open }: EndedCall = ended;
                    hops.extend(sample);
                    progress.end(record.segment, record.latency_us(), record.error().is_some());
                    if let Some(paid) = paid {
                        recent.remember_paid(paid);
                    }
                    let index = records.borrow().len();
                    records.borrow_mut().push(record);
                    if let Some(open) = open {
                        let known = connections.until_known(index, open);
                        watches.push(Box::pin(async move { (index, known.await) }));
                    }
                }
                Some((index, result)) = watches.next(), if !watches.is_empty() => {
                    note_later(&mut records.borrow_mut(), index, &result);
                }
            }
        }
        let settle = async {
            while let Some((index, result)) = watches.next().await {
                note_later(&mut records.borrow_mut(), index, &result);
            }
        };
        // What is not final by then stays without a final time, and the audit says so.
        drop(timeout(Duration::from_secs(settle_s), settle).await);
        SentCalls { records: records.take(), hops }
    }
}

fn note_later(records: &mut [CallRecord], index: usize, result: &LaterResult) {
    if let Some(record) = records.get_mut(index) {
        record.final_us = result.at_us;
        record.later_reply = result.reply;
    }
}

fn remember_sent(recent: &mut RecentPayments, call: &DrawnCall) {
    if let (CallKind::Pay, BuiltRequest::Pay(request)) = (call.kind, &call.request) {
        let DrawnCall { merchant, order, is_declined, .. } = *call;
        recent.remember_sent(SentPayment { merchant, order, is_declined, request: request.clone() });
    }
}

impl Connections {
    fn now_us(&self) -> u64 {
        self.began.elapsed().as_micros() as u64
    }

    async fn call(&self, start: IntendedStart, call: DrawnCall, turn: usize) -> EndedCall {
        let sent_us = self.now_us();
        let mut attempts = 1;
        let asks = is_asked(turn, self.client.hops_share);
        let answer = loop {
            let answer = self.attempt(&call, turn + attempts as usize, asks).await;
            if is_decided(call.channel, answer.reply) || attempts >= self.client.attempts {
                break answer;
            }
            attempts += 1;
            tokio::time::sleep(Duration::from_millis(self.client.retry_pause_ms)).await;
        };
        let answered_us = self.now_us();
        let record = CallRecord {
            kind: call.kind,
            channel: call.channel,
            is_declined: call.is_declined,
            segment: start.segment,
            merchant: call.merchant,
            order: call.order,
            refund: call.refund,
            amount: call.amount,
            debit: answer.debit,
            intended_us: start.at_ns / 1_000,
            sent_us,
            answered_us,
            final_us: if answer.is_in_progress { 0 } else { answered_us },
            is_in_progress: answer.is_in_progress,
            later_reply: None,
            is_repeat: answer.is_repeat,
            attempts: u16::try_from(attempts).unwrap_or(u16::MAX),
            reply: answer.reply,
        };
        let hops = answer.hops.filter(|_| attempts == 1).map(|hops| HopSample { record, hops });
        if call.kind == CallKind::Cancel && record.is_in_progress {
            return EndedCall { record, hops, paid: None, open: Some(OpenCall::Cancel(Box::new(call))) };
        }
        let BuiltRequest::Pay(request) = call.request else {
            return EndedCall { record, hops, paid: None, open: None };
        };
        let watched = || OpenCall::Payment(request.merchant_id.clone(), request.merchant_trade_no.clone());
        let open = record.is_in_progress.then(watched);
        let is_paid = call.kind == CallKind::Pay && record.is_success();
        let (merchant, order, trade_no) = (call.merchant, call.order, answer.trade_no);
        let paid = is_paid.then_some(PaidPayment { merchant, order, trade_no, request });
        EndedCall { record, hops, paid, open }
    }

    async fn attempt(&self, call: &DrawnCall, turn: usize, asks: bool) -> ReducedAnswer {
        let limit = Duration::from_millis(self.client.deadline_ms + DEADLINE_GRACE_MS);
        let answer = async {
            match (call.channel, &call.request, &self.http) {
                (CallChannel::Http, request, Some(http)) => {
                    http.call(request, self.merchants.key(call.merchant), asks).await
                }
                (CallChannel::GrpcStream, BuiltRequest::Pay(payment), _) => {
                    let answer = self.streams.call(turn, payment.clone(), self.client.deadline_ms, asks).await;
                    ReducedAnswer::streamed(answer)
                }
                (_, request, _) => self.grpc(request, turn, asks).await,
            }
        };
        timeout(limit, answer).await.unwrap_or(ReducedAnswer::without_response(Reply::Broken))
    }

    async fn grpc(&self, request: &BuiltRequest, turn: usize, asks: bool) -> ReducedAnswer {
        let mut client = self.clients[turn % self.clients.len()].clone();
        match request {
            BuiltRequest::Pay(message) => {
                let answer = client.pay(self.request(message.clone(), asks)).await;
                reduced(answer, ReducedAnswer::payment)
            }
            BuiltRequest::Query(message) => {
                let answer = client.query(self.request(message.clone(), asks)).await;
                reduced(answer, |answer| ReducedAnswer::query(&answer))
            }
            BuiltRequest::Refund(message) => {
                let answer = client.refund(self.request(message.clone(), asks)).await;
                reduced(answer, |answer| ReducedAnswer::refund(&answer))
            }
            BuiltRequest::Cancel(message) => {
                let answer = client.cancel(self.request(message.clone(), asks)).await;
                reduced(answer, |answer| ReducedAnswer::cancel(&answer))
            }
        }
    }

    fn request<T>(&self, message: T, asks: bool) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        if asks {
            request.metadata_mut().insert(HOPS_HEADER, MetadataValue::from_static("1"));
        }
        request.set_timeout(Duration::from_millis(self.client.deadline_ms));
        request
    }

    async fn until_known(&self, index: usize, open: OpenCall) -> LaterResult {
        match open {
            OpenCall::Payment(merchant, number) => {
                LaterResult { at_us: self.until_final(index, merchant, number).await, reply: None }
            }
            OpenCall::Cancel(call) => self.until_cancel_is_known(index, &call).await,
        }
    }

    /// Sends a cancel again until its answer says how it ended.
    async fn until_cancel_is_known(&self, index: usize, call: &DrawnCall) -> LaterResult {
        let mut turn = index;
        loop {
            tokio::time::sleep(Duration::from_millis(WATCH_AGAIN_MS)).await;
            turn += 1;
            let answer = self.attempt(call, turn, false).await;
            if is_decided(call.channel, answer.reply) && !answer.is_in_progress {
                return LaterResult { at_us: self.now_us(), reply: Some(answer.reply) };
            }
        }
    }

    /// Watches an order until it is not in progress; returns when that was seen, in µs since the
    /// run began.
    async fn until_final(&self, index: usize, merchant: String, number: String) -> u64 {
        let message = WatchOrderRequest {
            inquiry_type: InquiryType::Payment.into(),
            merchant_id: merchant,
            merchant_trade_no: number,
            keep_watching: false,
        };
        let mut turn = index;
        loop {
            turn += 1;
            let mut client = self.clients[turn % self.clients.len()].clone();
            if let Ok(stream) = client.watch_order(message.clone()).await {
                let mut stream = stream.into_inner();
                while let Ok(Some(update)) = stream.message().await {
                    let status = update.order.and_then(|order| order.order_status);
                    if status.is_some_and(|status| status != i32::from(OrderStatus::InProgress)) {
                        return self.now_us();
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(WATCH_AGAIN_MS)).await;
        }
    }
}

/// Whether the reply decides the call, so that it need not be sent again.
fn is_decided(channel: CallChannel, reply: Reply) -> bool {
    match reply {
        Reply::Status(code) => !(channel == CallChannel::Http && &code == b"301"),
        Reply::Grpc(code) => is_refusal(code),
        Reply::Http(_) | Reply::Broken => false,
    }
}

fn reduced<T>(answer: Result<tonic::Response<T>, Status>, reduce: impl FnOnce(T) -> ReducedAnswer) -> ReducedAnswer {
    match answer {
        Ok(response) => {
            let (metadata, message, _) = response.into_parts();
            reduce(message).with_metadata(&metadata)
        }
        Err(status) => ReducedAnswer::refused(&status).with_metadata(status.metadata()),
    }
}
