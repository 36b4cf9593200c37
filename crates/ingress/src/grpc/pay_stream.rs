//! PayStream: payments of one caller over one stream. Each payment is handled like a Pay; they
//! share only the HTTP/2 work. One task serves all payments of a stream, so none needs its own
//! task, and answers that are ready at the same time are sent in one frame.
//!
//! The capacity of the answer channel limits the waiting payments: a request is read only once a
//! slot is reserved for its answer, and the slot is freed when the answer is handed to the
//! connection. So the requests of a caller that does not read its answers are not read either.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use prost::Message;
use tokio::{
    sync::{
        OwnedSemaphorePermit, Semaphore,
        mpsc::{self, OwnedPermit},
    },
    time::Instant,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};
use twqr_access::{Access, Grant, Verdict};
use twqr_service::CancellationToken;
use twqr_wire::{
    convert::raw_pay,
    pos::{PayRefusal, PayStreamRequest, PayStreamResponse, pay_stream_response},
};

use super::{
    CountedCall, GrpcService,
    edge::{UNDECODABLE, undecodable},
    messages, status,
};
use crate::{
    fairness::Use,
    hops::CallHops,
    metrics::{self, PendingAnswer},
    refusal::verdict_of,
};

/// The method in metrics: each payment of a stream counts as one call of it.
pub(super) const METHOD: &str = "PayStream";

/// An answer of a stream, or the error that ends it.
type Answer = Result<PayStreamResponse, Status>;

/// The answers of a stream, for tonic.
pub(crate) type Answers = ReceiverStream<Answer>;

/// How many streams may be open, and how many payments each may have in flight.
#[derive(Clone)]
pub(crate) struct StreamPlaces {
    open: Arc<Semaphore>,
    in_flight_max: usize,
}

impl StreamPlaces {
    pub(crate) fn new(streams_max: usize, in_flight_max: usize) -> Self {
        Self { open: Arc::new(Semaphore::new(streams_max)), in_flight_max }
    }
}

/// The slot of an open stream, and its slot among the streams of its caller.
struct OpenStream {
    _place: OwnedSemaphorePermit,
    _of_caller: Option<Use>,
}

impl OpenStream {
    /// Takes the slots; fails if too many streams are open, at this ingress or of the caller.
    fn take(service: &GrpcService, grant: &Grant) -> Result<Self, Status> {
        let access = &service.api.access;
        let of_caller = service.api.open_stream(grant).map_err(|refusal| {
            access.note(grant, refusal.verdict());
            status::status(&refusal)
        })?;
        let Ok(place) = service.streams.open.clone().try_acquire_owned() else {
            metrics::shed_stream();
            access.note(grant, Verdict::Request("streams"));
            return Err(status::too_many_streams());
        };
        metrics::change_streams(1.0);
        Ok(Self { _place: place, _of_caller: of_caller })
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        metrics::change_streams(-1.0);
    }
}

/// An open stream.
struct PayStream {
    service: GrpcService,
    requests: Streaming<PayStreamRequest>,
    /// When the caller ends the whole stream, less the time to send an answer; absent if it has
    /// named no deadline for it.
    until: Option<Instant>,
    grant: Grant,
    _open: OpenStream,
}

/// Opens a stream; returns its answers. `timeout` is the caller's deadline for the whole stream,
/// and `grant` what the caller may do. `leaving` fires when it must end.
pub(super) fn open(
    service: &GrpcService,
    requests: Streaming<PayStreamRequest>,
    timeout: Option<Duration>,
    grant: Grant,
    leaving: CancellationToken,
) -> Result<Answers, Status> {
    let open = OpenStream::take(service, &grant)?;
    let (answers, receiver) = mpsc::channel(service.streams.in_flight_max);
    let until = timeout.map(|timeout| Instant::now() + timeout);
    let stream = PayStream { service: service.clone(), requests, until, grant, _open: open };
    tokio::spawn(stream.run(answers, leaving));
    Ok(ReceiverStream::new(receiver))
}

impl PayStream {
    /// Takes requests until there are no more, or until its connection leaves, and answers those
    /// that it has taken. If the caller leaves, they are dropped, like a Pay whose caller leaves.
    async fn run(mut self, answers: mpsc::Sender<Answer>, leaving: CancellationToken) {
        let (caller_left, leaving) = (answers.closed(), leaving.cancelled());
        let (access, grant) = (self.service.api.access.clone(), self.grant.clone());
        let credential_ended = access.ended(&grant);
        tokio::pin!(caller_left, leaving, credential_ended);
        let mut calls = FuturesUnordered::new();
        let last = loop {
            tokio::select! {
                biased;
                () = &mut caller_left => return,
                () = &mut leaving => break Some(status::stream_shuts_down()),
                refusal = &mut credential_ended => break Some(status::stream_is_refused(refusal)),
                Some(()) = calls.next(), if !calls.is_empty() => {}
                next = next_request(&mut self.requests, &answers) => match next {
                    Ok(Some((request, place))) => calls.push(answer(&self.service, self.until, &grant, request, place)),
                    Ok(None) => break None,
                    Err(error) => break Some(unreadable(&error, &access, &grant)),
                },
            }
        };
        tokio::select! {
            () = &mut caller_left => return,
            () = calls.collect::<()>() => {}
        }
        if let Some(status) = last {
            drop(answers.send(Err(status)).await);
        }
    }
}

/// Waits for a slot for an answer, and then for a request.
async fn next_request(
    requests: &mut Streaming<PayStreamRequest>,
    answers: &mpsc::Sender<Answer>,
) -> Result<Option<(PayStreamRequest, OwnedPermit<Answer>)>, Status> {
    // It fails only if the caller has left.
    let Ok(place) = answers.clone().reserve_owned().await else { return Ok(None) };
    Ok(requests.message().await?.map(|request| (request, place)))
}

/// Answers one request, as Pay does.
async fn answer(
    service: &GrpcService,
    until: Option<Instant>,
    grant: &Grant,
    request: PayStreamRequest,
    place: OwnedPermit<Answer>,
) {
    let (began, pending) = (Instant::now(), PendingAnswer::begin(METHOD));
    let PayStreamRequest { request_id, payment, timeout_ms, hops, traceparent } = request;
    let hops = CallHops::begin(METHOD, hops, || Some(&traceparent), began);
    let timeout = (timeout_ms > 0).then(|| Duration::from_millis(timeout_ms.into()));
    let mut caller = service.caller(timeout, grant.clone(), hops.clone());
    caller.deadline = until.map_or(caller.deadline, |until| until.min(caller.deadline));
    let payment = raw_pay(payment.unwrap_or_default());
    let answered = match service.api.begin_caller(grant) {
        Ok(_use) => service.api.pay(payment, caller).await,
        Err(refusal) => Err(refusal),
    };
    pending.given();
    let call = CountedCall { access: &service.api.access, grant: grant.clone(), method: METHOD, began };
    let outcome = call.end(answered, |answer| verdict_of(&answer.status), messages::pay_response);
    if let Some(hops) = &hops {
        hops.ended(outcome.as_ref().map_or_else(Status::code, |_| Code::Ok));
    }
    let result = match outcome {
        Ok(response) => pay_stream_response::Result::Response(response),
        Err(status) => pay_stream_response::Result::Refusal(refusal(&status)),
    };
    let hops = hops.and_then(|hops| hops.report()).map_or_else(String::new, |report| report.to_string());
    place.send(Ok(PayStreamResponse { request_id, result: Some(result), hops }));
}

/// The refusal with the code, text and details of the error with which a Pay would end.
fn refusal(status: &Status) -> PayRefusal {
    // The details of a gRPC error are an encoded google.rpc.Status, which has the same fields.
    let details = PayRefusal::decode(status.details()).map(|error| error.details).unwrap_or_default();
    PayRefusal { code: status.code().into(), message: status.message().to_owned(), details }
}

/// The error that ends a stream whose next request cannot be read.
fn unreadable(error: &Status, access: &Access, grant: &Grant) -> Status {
    let Some(reason) = undecodable(error.code()) else { return error.clone() };
    metrics::call(METHOD, Code::InvalidArgument, Duration::ZERO);
    access.note(grant, UNDECODABLE);
    status::stream_is_undecodable(reason)
}
