//! A wallet that charges whatever arrives, however late: it does not look at `send_by`.

#![allow(unreachable_pub, clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test fails by panicking")]

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{Stream, StreamExt};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::{Request, Response, Status, Streaming, transport::Server};
use twqr_wire::{
    backend::{
        Approved, ExchangeRequest, ExchangeResponse, TradeUnknown,
        backend_service_server::{BackendService, BackendServiceServer},
        exchange_request::Call,
        exchange_response::Answer,
    },
    pos::PaymentType,
};

/// A flow-control window of a stream, in bytes, that is shorter than a call: the rest of a call
/// stays in the worker's memory while the backend does not read.
pub const SHORT_WINDOW: u32 = 64;
/// A flow-control window for many calls, in bytes.
pub const LONG_WINDOW: u32 = 65_535;

/// A handle to a running backend. A clone is another handle to the same one.
#[derive(Clone)]
pub struct PlainBackend {
    pub address: SocketAddr,
    latency: Duration,
    charged: Arc<Mutex<Vec<String>>>,
    reads: Arc<watch::Sender<bool>>,
}

impl PlainBackend {
    /// Starts a backend that answers each call after `latency`, and whose streams have this window.
    pub async fn start(latency: Duration, window: u32) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let backend = Self {
            address: listener.local_addr().unwrap(),
            latency,
            charged: Arc::default(),
            reads: Arc::new(watch::Sender::new(true)),
        };
        let service = BackendServiceServer::new(backend.clone());
        let server = Server::builder().tcp_nodelay(true).initial_stream_window_size(window);
        let serving = server.clone().add_service(service).serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(serving);
        backend
    }

    /// The TradeNos that were charged.
    pub fn charged(&self) -> Vec<String> {
        self.charged.lock().unwrap().clone()
    }

    /// Whether it reads calls. While it does not, the windows of its streams stay closed.
    pub fn set_reads(&self, reads: bool) {
        self.reads.send_replace(reads);
    }

    fn answer(&self, call: ExchangeRequest) -> ExchangeResponse {
        let mut charged = self.charged.lock().unwrap();
        let trade_no = match call.call {
            Some(Call::Charge(charge)) => {
                charged.push(charge.trade_no.clone());
                charge.trade_no
            }
            Some(Call::Inquiry(inquiry)) => inquiry.trade_no,
            other => unreachable!("{other:?}"),
        };
        let approved = Approved {
            payment_type: PaymentType::StoredValue.into(),
            debit_amount: 100,
            issuer_trade_no: "1".to_owned(),
            ..Approved::default()
        };
        let is_known = charged.contains(&trade_no);
        let answer = if is_known { Answer::Approved(approved) } else { Answer::TradeUnknown(TradeUnknown {}) };
        ExchangeResponse { call_id: call.call_id, answer: Some(answer) }
    }

    async fn serve(
        self,
        mut calls: Streaming<ExchangeRequest>,
        answers: mpsc::UnboundedSender<Result<ExchangeResponse, Status>>,
    ) {
        let mut reads = self.reads.subscribe();
        loop {
            reads.wait_for(|reads| *reads).await.unwrap();
            let call = tokio::select! {
                call = calls.next() => call,
                _ = reads.wait_for(|reads| !*reads) => continue,
            };
            let Some(Ok(call)) = call else { return };
            let answer = self.answer(call);
            let (answers, latency) = (answers.clone(), self.latency);
            tokio::spawn(async move {
                tokio::time::sleep(latency).await;
                drop(answers.send(Ok(answer)));
            });
        }
    }
}

#[tonic::async_trait]
impl BackendService for PlainBackend {
    type ExchangeStream = Pin<Box<dyn Stream<Item = Result<ExchangeResponse, Status>> + Send>>;

    async fn exchange(
        &self,
        request: Request<Streaming<ExchangeRequest>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let (sender, answers) = mpsc::unbounded_channel();
        tokio::spawn(self.clone().serve(request.into_inner(), sender));
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(answers))))
    }
}
