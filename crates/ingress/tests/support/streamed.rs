//! The caller's side of a PayStream.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a test fails by panicking; not every test needs all of it"
)]

use std::time::Duration;

use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming, transport::Channel};
use twqr_wire::pos::{
    PayRefusal, PayRequest, PayResponse, PayStreamRequest, PayStreamResponse, pay_stream_response::Result as Answer,
    pos_service_client::PosServiceClient,
};

/// The caller's side of a stream.
pub struct Stream {
    pub requests: mpsc::Sender<PayStreamRequest>,
    pub answers: Streaming<PayStreamResponse>,
}

impl Stream {
    /// Opens a stream; the error is that of a stream that is refused.
    pub async fn open(mut client: PosServiceClient<Channel>) -> Result<Self, Status> {
        let (requests, receiver) = mpsc::channel(1_000);
        let answers = client.pay_stream(ReceiverStream::new(receiver)).await?.into_inner();
        Ok(Self { requests, answers })
    }

    /// Opens a stream with an API key.
    pub async fn open_as(mut client: PosServiceClient<Channel>, key: &str) -> Result<Self, Status> {
        let (requests, receiver) = mpsc::channel(1_000);
        let mut request = Request::new(ReceiverStream::new(receiver));
        request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
        let answers = client.pay_stream(request).await?.into_inner();
        Ok(Self { requests, answers })
    }

    pub async fn send(&self, request_id: u64, payment: PayRequest) {
        let request = PayStreamRequest { request_id, payment: Some(payment), ..PayStreamRequest::default() };
        self.requests.send(request).await.unwrap();
    }

    /// The next answer; fails the test if there is none within 10 s.
    pub async fn next(&mut self) -> Result<Option<(u64, Answer)>, Status> {
        let next = timeout(Duration::from_secs(10), self.answers.message()).await;
        let next = next.unwrap_or_else(|_| panic!("no answer arrived within 10 s"))?;
        Ok(next.map(|answer| (answer.request_id, answer.result.unwrap())))
    }

    pub async fn response(&mut self) -> (u64, PayResponse) {
        match self.next().await.unwrap().unwrap() {
            (id, Answer::Response(response)) => (id, response),
            (id, Answer::Refusal(refusal)) => panic!("{id} was refused: {refusal:?}"),
        }
    }

    pub async fn refusal(&mut self) -> (u64, PayRefusal) {
        match self.next().await.unwrap().unwrap() {
            (id, Answer::Refusal(refusal)) => (id, refusal),
            (id, Answer::Response(response)) => panic!("{id} was answered: {response:?}"),
        }
    }
}
