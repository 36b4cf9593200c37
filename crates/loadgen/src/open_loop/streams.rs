//! The requests of one connection over one stream (PayStream). A stream that ends leaves all
//! payments that have no answer, and all later ones, with the code of its end.

use std::{collections::HashMap, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Streaming, transport::Channel};
use twqr_wire::pos::{
    PayResponse, PayStreamRequest, PayStreamResponse, pay_stream_response::Result as StreamResult,
    pos_service_client::PosServiceClient,
};

use super::{CALL_MS, Measurement, Start, micros};
use crate::CallResult;

/// How much longer than the last payment's deadline its answer may take, in ms.
const GRACE_MS: u64 = 1_000;

/// Sends the requests of one connection over one stream.
pub(super) async fn lane(
    mut client: PosServiceClient<Channel>,
    mut starts: mpsc::UnboundedReceiver<Start>,
) -> Measurement {
    let (requests, receiver) = mpsc::unbounded_channel();
    let mut sent = Sent { requests, waiting: HashMap::new(), measured: Measurement::empty() };
    let end = match client.pay_stream(UnboundedReceiverStream::new(receiver)).await {
        Ok(answers) => sent.exchange(&mut starts, answers.into_inner()).await,
        Err(status) => status.code(),
    };
    while let Some(start) = starts.recv().await {
        sent.send(start);
    }
    sent.end_with(end)
}

/// What was sent over the stream.
struct Sent {
    requests: mpsc::UnboundedSender<PayStreamRequest>,
    /// The payments that have no answer, by request_id.
    waiting: HashMap<u64, Start>,
    measured: Measurement,
}

impl Sent {
    /// Sends and receives until every request was answered, or the stream ends. Returns the code
    /// for payments without an answer.
    async fn exchange(
        &mut self,
        starts: &mut mpsc::UnboundedReceiver<Start>,
        mut answers: Streaming<PayStreamResponse>,
    ) -> Code {
        let mut more = true;
        let mut latest = Instant::now();
        while more || !self.waiting.is_empty() {
            let give_up = latest + Duration::from_millis(CALL_MS + GRACE_MS);
            tokio::select! {
                start = starts.recv(), if more => match start {
                    Some(start) => {
                        latest = Instant::now();
                        self.send(start);
                    }
                    None => more = false,
                },
                answer = timeout_at(give_up, answers.message()), if !self.waiting.is_empty() => match answer {
                    Ok(Ok(Some(answer))) => self.take(answer),
                    Ok(Ok(None)) => return Code::Unavailable,
                    Ok(Err(status)) => return status.code(),
                    Err(_) => return Code::DeadlineExceeded,
                },
            }
        }
        Code::DeadlineExceeded
    }

    fn send(&mut self, start: Start) {
        self.measured.start_lag.saturating_record(micros(start.intended));
        let request_id = self.measured.start_lag.len();
        let request = PayStreamRequest {
            request_id,
            payment: Some(start.request.clone()),
            timeout_ms: u32::try_from(CALL_MS).unwrap_or(u32::MAX),
            ..PayStreamRequest::default()
        };
        self.waiting.insert(request_id, start);
        // If it fails, the stream has ended, and `exchange` is about to see its end.
        drop(self.requests.send(request));
    }

    fn take(&mut self, PayStreamResponse { request_id, result, .. }: PayStreamResponse) {
        let Some(start) = self.waiting.remove(&request_id) else { return };
        let answer = match result {
            Some(StreamResult::Response(response)) => Ok(response),
            Some(StreamResult::Refusal(refusal)) => Err(Code::from(refusal.code)),
            None => Err(Code::Internal),
        };
        let result = result_of(&start, answer);
        self.measured.latencies.saturating_record(result.latency_us);
        self.measured.results.push(result);
    }

    /// Gives every payment that has no answer this code.
    fn end_with(self, code: Code) -> Measurement {
        let Self { waiting, mut measured, .. } = self;
        for start in waiting.into_values() {
            let result = result_of(&start, Err(code));
            measured.latencies.saturating_record(result.latency_us);
            measured.results.push(result);
        }
        measured
    }
}

fn result_of(start: &Start, answer: Result<PayResponse, Code>) -> CallResult {
    let key = (start.request.merchant_id.clone(), start.request.merchant_trade_no.clone());
    CallResult { key, latency_us: micros(start.intended), answer }
}
