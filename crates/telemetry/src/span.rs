//! What one process did for a traced call.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use opentelemetry::{
    InstrumentationScope, KeyValue, Value,
    trace::{Link, SpanContext, SpanId as OtelSpanId, Status, TraceFlags, TraceId as OtelTraceId, TraceState},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use twqr_types::OrderKey;
use twqr_wire::trace::{SpanId, TraceContext};

pub use opentelemetry::trace::SpanKind;

/// The name of the library in each span, as OpenTelemetry calls the code that made it.
const SCOPE: &str = "twqr";

/// A span that has ended. Attributes never contain a card token, nor anything else of a request but
/// the order's key.
#[derive(Debug)]
pub struct Span {
    /// The service that did the work, without the product's name; such as `router`.
    pub(crate) service: &'static str,
    data: SpanData,
}

impl Span {
    /// A span with the ids of `context`, from `began_us` to `ended_us` in Unix µs.
    pub fn new(
        service: &'static str,
        name: impl Into<Cow<'static, str>>,
        context: TraceContext,
        began_us: i64,
        ended_us: i64,
    ) -> Self {
        Self {
            service,
            data: SpanData {
                span_context: span_context(context),
                parent_span_id: OtelSpanId::INVALID,
                parent_span_is_remote: false,
                span_kind: SpanKind::Internal,
                name: name.into(),
                start_time: time(began_us),
                // The clocks of two processes may differ, but nothing ends before it begins.
                end_time: time(ended_us.max(began_us)),
                attributes: Vec::new(),
                dropped_attributes_count: 0,
                events: SpanEvents::default(),
                links: SpanLinks::default(),
                status: Status::Unset,
                instrumentation_scope: InstrumentationScope::builder(SCOPE).build(),
            },
        }
    }

    /// Sets the kind; without this the span is internal.
    #[must_use]
    pub fn of_kind(mut self, kind: SpanKind) -> Self {
        self.data.span_kind = kind;
        self
    }

    /// Sets the span that caused this one.
    #[must_use]
    pub fn caused_by(mut self, parent: SpanId) -> Self {
        self.data.parent_span_id = OtelSpanId::from(parent.get());
        self
    }

    /// Adds an attribute.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.data.attributes.push(KeyValue::new(key, value));
        self
    }

    /// Names the order that the span is about.
    #[must_use]
    pub fn about(self, key: &OrderKey) -> Self {
        let (merchant, number) = (key.merchant_id.as_str(), key.merchant_trade_no.as_str());
        self.with("twqr.merchant_id", merchant.to_owned()).with("twqr.merchant_trade_no", number.to_owned())
    }

    /// Links the span to one of another trace.
    #[must_use]
    pub fn linked_to(mut self, other: TraceContext) -> Self {
        self.data.links.links.push(Link::with_context(span_context(other)));
        self
    }

    /// Marks the span as failed, and says why.
    #[must_use]
    pub fn failed(mut self, why: impl Into<Cow<'static, str>>) -> Self {
        self.data.status = Status::error(why);
        self
    }

    pub(crate) fn into_data(self) -> SpanData {
        self.data
    }
}

fn span_context(context: TraceContext) -> SpanContext {
    SpanContext::new(
        OtelTraceId::from(context.trace_id.get()),
        OtelSpanId::from(context.span_id.get()),
        TraceFlags::SAMPLED,
        false,
        TraceState::default(),
    )
}

fn time(unix_us: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(unix_us).unwrap_or_default())
}
