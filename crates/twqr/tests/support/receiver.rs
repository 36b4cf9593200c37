//! A receiver of OTLP for tests: a gRPC server and an HTTP server that keep what they receive.

#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking"
)]

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, extract::State, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::Span,
};
use prost::Message;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};
use twqr_service::{BoundSocket, CancellationToken, GrpcSettings, Limits, grpc_server, serve_grpc, serve_http};
use twqr_tls::{Protocol, ServerFiles, ServerTls};

/// What has been received.
#[derive(Clone, Default)]
pub struct Received(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

/// A received span with the service that sent it, and the name of that service's instance.
#[derive(Clone, Debug)]
pub struct ReceivedSpan {
    pub service: String,
    pub instance: String,
    pub span: Span,
}

/// How long a test waits for spans.
const WAIT: Duration = Duration::from_secs(20);

impl Received {
    /// Serves OTLP over gRPC on a free port.
    pub async fn over_grpc() -> (Self, SocketAddr) {
        let received = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(received.clone()));
        tokio::spawn(server.serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener)));
        (received, address)
    }

    /// Serves OTLP over HTTP on a free port.
    pub async fn over_http() -> (Self, SocketAddr) {
        let (received, router) = Self::http_router();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        (received, address)
    }

    /// Serves OTLP on a free port, with TLS and over the protocol of its files.
    pub fn over_tls(files: ServerFiles) -> (Self, SocketAddr) {
        let (protocol, limits) = (files.protocol, Limits::operators("collector"));
        let socket = BoundSocket::on_loopback("collector").unwrap();
        let address = socket.address();
        let listener = socket.with_tls(Some(ServerTls::start(files).unwrap())).listen().unwrap();
        let (received, router) = Self::http_router();
        let (stop, drain) = (CancellationToken::new(), Duration::ZERO);
        match protocol {
            Protocol::Http1 => drop(tokio::spawn(serve_http(listener, router, limits, stop, drain))),
            Protocol::Http2 => {
                let router = grpc_server().add_service(TraceServiceServer::new(received.clone()));
                let settings = GrpcSettings { limits, age: None, drain };
                drop(tokio::spawn(serve_grpc(listener, router, settings, stop)));
            }
        }
        (received, address)
    }

    fn http_router() -> (Self, Router) {
        let received = Self::default();
        let take = |State(received): State<Self>, body: Bytes| async move {
            received.0.lock().unwrap().push(ExportTraceServiceRequest::decode(body).unwrap());
            ExportTraceServiceResponse::default().encode_to_vec()
        };
        let router = Router::new().route("/v1/traces", post(take)).with_state(received.clone());
        (received, router)
    }

    /// Every span so far.
    pub fn spans(&self) -> Vec<ReceivedSpan> {
        let received = self.0.lock().unwrap();
        let of_request = |request: &ExportTraceServiceRequest| request.resource_spans.clone();
        let resources = received.iter().flat_map(of_request);
        let mut spans = Vec::new();
        for resource in resources {
            let attributes = resource.resource.unwrap_or_default().attributes;
            let [service, instance] =
                ["service.name", "service.instance.id"].map(|key| attribute(&attributes, key).unwrap());
            let scopes = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            let with_sender = |span| ReceivedSpan { service: service.clone(), instance: instance.clone(), span };
            spans.extend(scopes.map(with_sender));
        }
        spans
    }

    /// The spans of one trace.
    pub fn of_trace(&self, trace_id: &str) -> Vec<ReceivedSpan> {
        self.spans().into_iter().filter(|received| received.trace_id() == trace_id).collect()
    }

    /// Waits until a trace has so many spans.
    pub async fn until(&self, trace_id: &str, count: usize) -> Vec<ReceivedSpan> {
        let began = Instant::now();
        loop {
            let spans = self.of_trace(trace_id);
            if spans.len() >= count {
                return spans;
            }
            let names = |spans: &[ReceivedSpan]| spans.iter().map(ReceivedSpan::described).collect::<Vec<_>>();
            assert!(
                began.elapsed() < WAIT,
                "{} of {count}: {:?}; all: {:?}",
                spans.len(),
                names(&spans),
                names(&self.spans())
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// All that has been received, as bytes.
    pub fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().iter().flat_map(Message::encode_to_vec).collect()
    }
}

impl ReceivedSpan {
    pub fn trace_id(&self) -> String {
        hex(&self.span.trace_id)
    }

    pub fn id(&self) -> String {
        hex(&self.span.span_id)
    }

    pub fn parent(&self) -> String {
        hex(&self.span.parent_span_id)
    }

    /// The traces that the span is linked to.
    pub fn links(&self) -> Vec<String> {
        self.span.links.iter().map(|link| hex(&link.trace_id)).collect()
    }

    /// The text of an attribute.
    pub fn attribute(&self, key: &str) -> Option<String> {
        attribute(&self.span.attributes, key)
    }

    /// Whether the span is marked as failed.
    pub fn has_failed(&self) -> bool {
        self.span.status.as_ref().is_some_and(|status| status.code == 2)
    }

    fn described(&self) -> String {
        format!("{}/{} of {}", self.service, self.span.name, self.trace_id())
    }
}

fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.clone()?.value? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[tonic::async_trait]
impl TraceService for Received {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
