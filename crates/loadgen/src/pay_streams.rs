//! Payments over PayStream: one stream on each gRPC connection. A stream that has ended leaves its
//! payments without an answer; the next payment opens another one.

use std::{
    collections::HashMap,
    mem,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Status};
use twqr_wire::pos::{
    PayRequest, PayResponse, PayStreamRequest, PayStreamResponse, pay_stream_response::Result as StreamResult,
    pos_service_client::PosServiceClient,
};

use crate::KeyedChannel;

/// A payment's answer with its hops, which are empty if it did not ask for them; or the code of its
/// refusal, or of the end of its stream.
pub(crate) type StreamAnswer = Result<(PayResponse, String), Code>;

/// The streams of a sender, one on each connection.
pub(crate) struct PayStreams {
    clients: Vec<PosServiceClient<KeyedChannel>>,
    streams: Vec<Mutex<Option<OpenStream>>>,
    /// The request_id of the next request; no two requests of a sender share one.
    next: AtomicU64,
}

/// The sending side of a stream.
struct OpenStream {
    requests: mpsc::UnboundedSender<PayStreamRequest>,
    waiting: Arc<Mutex<WaitingCalls>>,
}

/// The payments of a stream that have no answer yet.
#[derive(Default)]
struct WaitingCalls {
    /// How the stream ended, if it has.
    end: Option<Code>,
    by_id: HashMap<u64, oneshot::Sender<StreamAnswer>>,
}

impl PayStreams {
    pub(crate) fn new(clients: &[PosServiceClient<KeyedChannel>]) -> Self {
        let streams = clients.iter().map(|_| Mutex::default()).collect();
        Self { clients: clients.to_vec(), streams, next: AtomicU64::new(0) }
    }

    /// Sends a payment over the stream of connection `turn`, and waits for its answer.
    /// `timeout_ms` is its deadline; it asks for its hops if `hops`.
    pub(crate) async fn call(&self, turn: usize, payment: PayRequest, timeout_ms: u64, hops: bool) -> StreamAnswer {
        let request_id = self.next.fetch_add(1, Ordering::Relaxed);
        let timeout_ms = u32::try_from(timeout_ms).unwrap_or(u32::MAX);
        let request =
            PayStreamRequest { request_id, payment: Some(payment), timeout_ms, hops, ..PayStreamRequest::default() };
        let answer = self.send(turn % self.streams.len(), request);
        answer.await.unwrap_or(Err(Code::Unknown))
    }

    fn send(&self, index: usize, request: PayStreamRequest) -> oneshot::Receiver<StreamAnswer> {
        let (sender, answer) = oneshot::channel();
        let mut stream = self.streams[index].lock().unwrap_or_else(PoisonError::into_inner);
        if stream.as_ref().is_none_or(|stream| lock(&stream.waiting).end.is_some()) {
            *stream = Some(OpenStream::open(self.clients[index].clone()));
        }
        if let Some(stream) = &*stream {
            lock(&stream.waiting).add(request.request_id, sender);
            // If it fails, the stream has ended, and the call was given its end.
            drop(stream.requests.send(request));
        }
        answer
    }
}

impl OpenStream {
    fn open(client: PosServiceClient<KeyedChannel>) -> Self {
        let (requests, receiver) = mpsc::unbounded_channel();
        let waiting = Arc::<Mutex<WaitingCalls>>::default();
        tokio::spawn({
            let waiting = waiting.clone();
            async move {
                let Err(status) = read(client, receiver, &waiting).await;
                lock(&waiting).end_with(status.code());
            }
        });
        Self { requests, waiting }
    }
}

impl WaitingCalls {
    fn add(&mut self, request_id: u64, sender: oneshot::Sender<StreamAnswer>) {
        match self.end {
            Some(end) => drop(sender.send(Err(end))),
            None => drop(self.by_id.insert(request_id, sender)),
        }
    }

    fn end_with(&mut self, end: Code) {
        self.end = Some(end);
        for sender in mem::take(&mut self.by_id).into_values() {
            // A call that has given up does not wait any more.
            drop(sender.send(Err(end)));
        }
    }
}

fn lock(waiting: &Mutex<WaitingCalls>) -> std::sync::MutexGuard<'_, WaitingCalls> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Delivers answers until the stream ends; the error says how it ended.
async fn read(
    mut client: PosServiceClient<KeyedChannel>,
    requests: mpsc::UnboundedReceiver<PayStreamRequest>,
    waiting: &Mutex<WaitingCalls>,
) -> Result<std::convert::Infallible, Status> {
    let mut answers = client.pay_stream(UnboundedReceiverStream::new(requests)).await?.into_inner();
    while let Some(PayStreamResponse { request_id, result, hops }) = answers.message().await? {
        let Some(sender) = lock(waiting).by_id.remove(&request_id) else { continue };
        let answer = match result {
            Some(StreamResult::Response(response)) => Ok((response, hops)),
            Some(StreamResult::Refusal(refusal)) => Err(Code::from(refusal.code)),
            None => Err(Code::Internal),
        };
        drop(sender.send(answer));
    }
    Err(Status::unavailable("the server ended the stream"))
}
