//! Traces: which calls are traced, the spans of one process, and their export by OTLP. A process
//! has one [`Tracer`], as it has one recorder of metrics. Without it, no hops are measured for
//! traces, and no record contains a trace context.
//!
//! A span is made once what it describes has ended, from times that were measured anyway, and is
//! handed over without waiting: if the collector is slow or does not answer, spans are dropped and
//! counted, and no payment waits.

mod exporter;
mod span;

use std::{sync::OnceLock, time::Duration};

use rand::Rng as _;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, timeout},
};
use tracing::warn;
use twqr_service::{CancellationToken, Clock as _, Metric, MetricKind, SystemClock};
use twqr_tls::ClientTls;
use twqr_types::OrderKey;
use twqr_wire::{
    convert::HopTimes,
    trace::{SpanId, TraceContext, TraceId},
};

use exporter::Exporter;
pub use exporter::{ExporterError, Protocol};
pub use span::{Span, SpanKind};

pub(crate) const SPANS: Metric = Metric {
    name: "twqr_telemetry_spans_total",
    kind: MetricKind::Counter,
    unit: "spans",
    labels: &["result"],
    meaning: "Spans that were exported, or dropped because the collector took them too slowly or not at all",
    action: "Many dropped: give the collector more, or lower telemetry.sample_ratio; payments do not wait for it",
};

/// The metrics of telemetry.
pub const METRICS: &[Metric] = &[SPANS];

/// Registers the metrics with the exporter, also where telemetry is off.
pub fn register_metrics() {
    SPANS.describe();
    for result in ["exported", "dropped"] {
        SPANS.touch(&[result]);
    }
}

/// How many spans may wait for their export.
const WAITING_SPANS_MAX: usize = 8_192;
/// How long a process that ends may still send spans.
const FINISH_WITHIN: Duration = Duration::from_secs(2);

/// The calls that are traced, and the destination of the spans.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The URI of the collector, such as `https://collector:4317`.
    pub endpoint: String,
    /// Needed for a collector whose URI begins with `https://`.
    pub tls: Option<ClientTls>,
    /// How spans are sent.
    pub protocol: Protocol,
    /// The share of calls without a trace context of their caller that are traced: 0 to 1.
    pub sample_ratio: f64,
    /// A call that takes longer is traced in any case.
    pub slow: Duration,
    /// The name of this instance, for `service.instance.id`.
    pub member: String,
}

/// Decides what is traced, and takes spans.
#[derive(Debug)]
pub struct Tracer {
    sample_ratio: f64,
    slow: Duration,
    spans: mpsc::Sender<Span>,
}

static TRACER: OnceLock<Tracer> = OnceLock::new();

/// The tracer of this process; `None` if telemetry is off.
pub fn tracer() -> Option<&'static Tracer> {
    TRACER.get()
}

/// Turns telemetry on for this process. Must be called within the runtime, at most once: later ones
/// have no effect.
pub fn start(settings: &Settings) -> Result<Export, ExporterError> {
    let (spans, receiver) = mpsc::channel(WAITING_SPANS_MAX);
    let exporter = Exporter::new(settings, receiver)?;
    // An error means that telemetry is on already.
    drop(TRACER.set(Tracer { sample_ratio: settings.sample_ratio, slow: settings.slow, spans }));
    let stop = CancellationToken::new();
    let task = tokio::spawn(exporter.run(stop.clone()));
    Ok(Export { stop, task })
}

/// The running export of this process' spans.
#[derive(Debug)]
pub struct Export {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Export {
    /// Sends what still waits, for a moment; call it once no service runs any more.
    pub async fn finish(self) {
        self.stop.cancel();
        if timeout(FINISH_WITHIN, self.task).await.is_err() {
            warn!("spans are lost: the collector did not accept them before this process ended");
        }
    }
}

impl Tracer {
    /// A call that takes at least as long is traced in any case.
    pub fn slow(&self) -> Duration {
        self.slow
    }

    /// A new span of the trace that the caller passes on, or of the order's own trace. The caller
    /// decides about its own trace; of the others a share is sampled.
    pub fn begin(&self, caller: Option<TraceContext>, key: &OrderKey) -> TraceContext {
        caller.map_or_else(
            || {
                let trace_id = TraceId::of_order(key);
                let is_sampled = trace_id.is_in_share(self.sample_ratio);
                TraceContext { trace_id, span_id: new_span_id(), is_sampled }
            },
            child_of,
        )
    }

    /// Hands a span over, without waiting. It is dropped and counted if too many wait.
    pub fn export(&self, span: Span) {
        if self.spans.try_send(span).is_err() {
            SPANS.counter(&["dropped"]).increment(1);
        }
    }
}

/// A new span of the same trace.
pub fn child_of(context: TraceContext) -> TraceContext {
    TraceContext { span_id: new_span_id(), ..context }
}

/// The hops of a record that no call caused, such as a due check, which is appended at `now_us` in
/// Unix µs. They begin a sampled span in the order's own trace: an order that needs such a record
/// is slow, or worse. `None` if telemetry is off.
pub fn hops_without_call(service: &'static str, name: &'static str, key: &OrderKey, now_us: i64) -> Option<HopTimes> {
    let tracer = tracer()?;
    let context = TraceContext { trace_id: TraceId::of_order(key), span_id: new_span_id(), is_sampled: true };
    tracer.export(Span::new(service, name, context, now_us, now_us).about(key));
    let mut times = HopTimes::new(0, now_us);
    times.trace = Some(context);
    Some(times)
}

fn new_span_id() -> SpanId {
    loop {
        if let Some(id) = SpanId::new(rand::rng().random()) {
            return id;
        }
    }
}

/// When this moment was, in Unix µs by this machine's clock.
pub fn unix_us(at: Instant) -> i64 {
    SystemClock.now_us().saturating_sub(i64::try_from(at.elapsed().as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_collector_that_never_answers_delays_no_span_and_no_shutdown() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        for protocol in [Protocol::Grpc, Protocol::Http] {
            let settings = Settings {
                endpoint: format!("http://{}", silent.local_addr().unwrap()),
                tls: None,
                protocol,
                sample_ratio: 1.0,
                slow: Duration::MAX,
                member: "0".into(),
            };
            let (spans, receiver) = mpsc::channel(WAITING_SPANS_MAX);
            let tracer = Tracer { sample_ratio: settings.sample_ratio, slow: settings.slow, spans };
            let stop = CancellationToken::new();
            let task = tokio::spawn(Exporter::new(&settings, receiver).unwrap().run(stop.clone()));
            let context = TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
            for began_us in (0..).take(2 * WAITING_SPANS_MAX) {
                tracer.export(Span::new("ingress", "Pay", child_of(context), began_us, began_us));
            }
            assert_eq!(tracer.spans.capacity(), 0, "what does not fit is dropped");
            tokio::task::yield_now().await;
            Export { stop, task }.finish().await;
        }
    }
}
