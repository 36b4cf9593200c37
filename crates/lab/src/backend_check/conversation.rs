//! One stream to the adapter, with everything that it answered. Messages are sent as bytes, so that
//! the check can also send messages that this build's types cannot express.

use std::{collections::BTreeMap, time::Duration};

use futures::StreamExt;
use prost::{Message, bytes::BufMut};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{
    Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    transport::Channel,
};
use twqr_wire::backend::{ExchangeResponse, exchange_response::Answer};

/// The longest time that a stream may take to end after its last call.
const END_WITHIN: Duration = Duration::from_secs(2);

/// A stream of calls and answers.
pub(super) struct Conversation {
    calls: mpsc::UnboundedSender<Vec<u8>>,
    answers: watch::Receiver<Answers>,
}

/// Everything that was answered on one stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers {
    /// The answers of each call id, in the order of their arrival.
    by_call: BTreeMap<u64, Vec<Option<Answer>>>,
    /// The reason why the stream ended.
    pub(super) ended: Option<String>,
}

impl Answers {
    fn of(&self, call_id: u64) -> &[Option<Answer>] {
        self.by_call.get(&call_id).map_or(&[], Vec::as_slice)
    }

    /// Each call id with its answers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &[Option<Answer>])> {
        self.by_call.iter().map(|(call_id, answers)| (*call_id, answers.as_slice()))
    }
}

impl Conversation {
    /// Opens a stream. Some servers say nothing about a stream before its first answer, so this
    /// does not wait for it.
    pub(super) fn open(channel: Channel) -> Self {
        let (calls, outgoing) = mpsc::unbounded_channel();
        let (seen, answers) = watch::channel(Answers::default());
        tokio::spawn(async move {
            let ended = read(channel, outgoing, &seen).await;
            let why = ended.map_or_else(|status| status.to_string(), |()| "the adapter closed the stream".to_owned());
            seen.send_modify(|answers| answers.ended = Some(why));
        });
        Self { calls, answers }
    }

    /// Sends a message; whether it could be sent is seen by its answer.
    pub(super) fn send(&self, message: Vec<u8>) {
        drop(self.calls.send(message));
    }

    /// Waits until the call has this many answers; returns the last of them.
    pub(super) async fn nth_answer(&self, call_id: u64, nth: usize, within: Duration) -> Option<Answer> {
        let mut answers = self.answers.clone();
        let is_over = |seen: &Answers| seen.of(call_id).len() >= nth || seen.ended.is_some();
        let _ = timeout(within, answers.wait_for(is_over)).await;
        let seen = self.answers.borrow();
        seen.of(call_id).get(nth - 1).cloned().flatten()
    }

    /// Everything that was answered so far.
    pub(super) fn answers(&self) -> Answers {
        self.answers.borrow().clone()
    }

    /// Ends the calls, waits a moment for the stream to end, and returns what was answered.
    pub(super) async fn close(self) -> Answers {
        let Self { calls, mut answers } = self;
        drop(calls);
        let _ = timeout(END_WITHIN, answers.wait_for(|seen| seen.ended.is_some())).await;
        answers.borrow().clone()
    }
}

async fn read(
    channel: Channel,
    outgoing: mpsc::UnboundedReceiver<Vec<u8>>,
    seen: &watch::Sender<Answers>,
) -> Result<(), Status> {
    let mut client = Grpc::new(channel);
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::from_static("/twqr.backend.v1.BackendService/Exchange");
    let calls = Request::new(UnboundedReceiverStream::new(outgoing));
    let mut incoming = client.streaming(calls, path, RawCalls).await?.into_inner();
    while let Some(response) = incoming.next().await {
        let ExchangeResponse { call_id, answer } = response?;
        seen.send_modify(|answers| answers.by_call.entry(call_id).or_default().push(answer));
    }
    Ok(())
}

/// Sends bytes as they are, and reads answers.
#[derive(Clone, Copy, Debug)]
struct RawCalls;

impl Codec for RawCalls {
    type Encode = Vec<u8>;
    type Decode = ExchangeResponse;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for RawCalls {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&message);
        Ok(())
    }
}

impl Decoder for RawCalls {
    type Item = ExchangeResponse;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<ExchangeResponse>, Status> {
        ExchangeResponse::decode(from).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}
