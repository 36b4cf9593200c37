//! Sends spans to the collector in batches. A batch that the collector does not accept is dropped
//! and counted: no payment waits for a trace.

use std::{collections::BTreeMap, time::Duration};

use opentelemetry::KeyValue;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::{
    ExporterBuildError, SpanExporter, WithExportConfig as _, WithHttpConfig as _, WithTonicConfig as _,
};
use opentelemetry_sdk::{
    Resource,
    trace::{SpanData, SpanExporter as _},
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};
use tonic::transport::Endpoint;
use tracing::warn;
use twqr_service::{CancellationToken, LogThrottle};
use twqr_tls::Connector;

use crate::{SPANS, Settings, Span};

/// How many spans one request carries.
const BATCH_SPANS_MAX: usize = 512;
/// How long a span waits for others of its batch, in ms.
const GATHER_MS: u64 = 200;
/// How long the collector may take to answer, in ms.
const ANSWER_WITHIN_MS: u64 = 3_000;
/// The shortest time between two log lines about the collector, in ms.
const LOG_MS: u64 = 30_000;
/// The path that OTLP over HTTP prescribes.
const HTTP_PATH: &str = "/v1/traces";

/// How OTLP is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC; a collector listens on port 4317.
    Grpc,
    /// Protobuf in HTTP requests; a collector listens on port 4318.
    Http,
}

/// The reason why spans cannot be exported.
#[derive(Debug, thiserror::Error)]
#[error("the collector at {endpoint} cannot be used: {error}")]
pub struct ExporterError {
    endpoint: String,
    error: ClientError,
}

/// The reason why a client of the collector cannot be made.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
enum ClientError {
    Exporter(#[from] ExporterBuildError),
    Endpoint(#[from] tonic::transport::Error),
}

/// Sends the spans of this process.
#[derive(Debug)]
pub(crate) struct Exporter {
    settings: Settings,
    spans: mpsc::Receiver<Span>,
    /// For each service of the process the client with that service's name.
    clients: BTreeMap<&'static str, SpanExporter>,
    log: LogThrottle,
}

impl Exporter {
    /// Fails if the endpoint is not a valid URI; whether a collector listens there shows later.
    pub(crate) fn new(settings: &Settings, spans: mpsc::Receiver<Span>) -> Result<Self, ExporterError> {
        let fault = |error| ExporterError { endpoint: settings.endpoint.clone(), error };
        client(settings, "check").map_err(fault)?;
        let log = LogThrottle::every_ms(LOG_MS);
        Ok(Self { settings: settings.clone(), spans, clients: BTreeMap::new(), log })
    }

    /// Sends spans until `stop` fires, and then those that still wait.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            let mut batch = Vec::new();
            tokio::select! {
                biased;
                received = self.spans.recv_many(&mut batch, BATCH_SPANS_MAX) => if received == 0 { return },
                () = stop.cancelled() => break,
            }
            let until = Instant::now() + Duration::from_millis(GATHER_MS);
            while batch.len() < BATCH_SPANS_MAX && !stop.is_cancelled() {
                let left = BATCH_SPANS_MAX - batch.len();
                tokio::select! {
                    more = timeout_at(until, self.spans.recv_many(&mut batch, left)) => {
                        if more.unwrap_or_default() == 0 { break }
                    }
                    () = stop.cancelled() => {}
                }
            }
            self.send(batch).await;
        }
        self.spans.close();
        let mut batch = Vec::new();
        while self.spans.recv_many(&mut batch, BATCH_SPANS_MAX).await > 0 {
            self.send(std::mem::take(&mut batch)).await;
        }
    }

    /// Sends a batch; what the collector does not take is dropped.
    async fn send(&mut self, batch: Vec<Span>) {
        let mut by_service: BTreeMap<&'static str, Vec<SpanData>> = BTreeMap::new();
        for span in batch {
            by_service.entry(span.service).or_default().push(span.into_data());
        }
        for (service, spans) in by_service {
            let count = spans.len() as u64;
            let within = Duration::from_millis(ANSWER_WITHIN_MS);
            let sent = timeout(within, self.export(service, spans)).await;
            let result = match sent.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
                Ok(()) => "exported",
                Err(why) => {
                    self.warn(&why);
                    "dropped"
                }
            };
            SPANS.counter(&[result]).increment(count);
        }
    }

    async fn export(&mut self, service: &'static str, spans: Vec<SpanData>) -> Result<(), String> {
        if !self.clients.contains_key(service) {
            let client = client(&self.settings, service).map_err(|error| error.to_string())?;
            self.clients.insert(service, client);
        }
        let Some(client) = self.clients.get(service) else { return Ok(()) };
        client.export(spans).await.map_err(|error| error.to_string())
    }

    fn warn(&mut self, why: &str) {
        if let Some(suppressed) = self.log.permit() {
            let endpoint = &self.settings.endpoint;
            warn!(endpoint, why, suppressed, "spans are dropped: the collector did not accept them");
        }
    }
}

/// A client of the collector that sends the spans of one service.
fn client(settings: &Settings, service: &'static str) -> Result<SpanExporter, ClientError> {
    let Settings { endpoint, protocol, member, .. } = settings;
    let timeout = Duration::from_millis(ANSWER_WITHIN_MS);
    let connector = Connector { tls: settings.tls.clone() };
    let mut client = match protocol {
        Protocol::Grpc => {
            let channel = Endpoint::from_shared(endpoint.clone())?.timeout(timeout);
            let channel = channel.connect_with_connector_lazy(connector);
            SpanExporter::builder().with_tonic().with_channel(channel).with_timeout(timeout).build()?
        }
        Protocol::Http => {
            let endpoint = format!("{}{HTTP_PATH}", endpoint.trim_end_matches('/').trim_end_matches(HTTP_PATH));
            let client = SpanExporter::builder().with_http().with_endpoint(endpoint).with_timeout(timeout);
            let client = client.with_http_client(HyperClient::new(connector, timeout, None));
            client.with_protocol(opentelemetry_otlp::Protocol::HttpBinary).build()?
        }
    };
    let resource = Resource::builder_empty()
        .with_service_name(format!("twqr-{service}"))
        .with_attributes([
            KeyValue::new("service.namespace", "twqr"),
            KeyValue::new("service.instance.id", format!("{service}-{member}")),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        ])
        .build();
    client.set_resource(&resource);
    Ok(client)
}
