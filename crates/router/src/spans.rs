//! The spans of the records of one batch whose calls are traced, and of those by which an issuer
//! contradicted a final state, which are always traced. The machine never sees them.

use twqr_order::{Position, Step};
use twqr_telemetry::{Span, SpanKind, child_of, tracer};
use twqr_types::OrderKey;
use twqr_wire::{
    convert::HopTimes,
    hops::Hop,
    trace::{SpanId, TraceContext, TraceId},
};

use crate::outgoing::Reading;

const SERVICE: &str = "router";

/// The spans of a batch, which end when its effects are appended.
#[derive(Debug, Default)]
pub(crate) struct RecordSpans(Vec<RecordSpan>);

#[derive(Debug)]
struct RecordSpan {
    context: TraceContext,
    /// The queue in which the record waited, its writer's span, and when it was appended, in Unix
    /// µs; absent if the record was not measured.
    waited: Option<(Hop, SpanId, i64)>,
    key: OrderKey,
    cause: Position,
    step: Step,
}

impl RecordSpans {
    /// Begins the span of a record that was applied to this order, if it is traced; returns the
    /// span, which its effects name as their cause. `hops` are those of the record, which waited in
    /// `queue`.
    pub(crate) fn begin(
        &mut self,
        hops: Option<&HopTimes>,
        queue: Hop,
        key: &OrderKey,
        cause: Position,
        step: Step,
    ) -> Option<TraceContext> {
        tracer()?;
        let writer = hops.and_then(|times| times.trace);
        let trace_id = match writer {
            Some(writer) if writer.is_sampled || step == Step::Contradicted => writer.trace_id,
            None if step == Step::Contradicted => TraceId::of_order(key),
            Some(_) | None => return None,
        };
        let span_id = SpanId::of_record(trace_id, cause.shard.0.into(), cause.offset);
        let context = TraceContext { trace_id, span_id, is_sampled: true };
        let waited = writer.zip(hops).map(|(writer, times)| (queue, writer.span_id, times.appended_us));
        self.0.push(RecordSpan { context, waited, key: key.clone(), cause, step });
        Some(context)
    }

    /// Exports the spans, whose effects are appended now.
    pub(crate) fn export(self, reading: Reading<'_>) {
        let Some(tracer) = tracer().filter(|_| !self.0.is_empty()) else { return };
        let (read_us, now_us) = reading.stay();
        for RecordSpan { context, waited, key, cause, step } in self.0 {
            let (shard, offset) = (i64::from(cause.shard.0), cause.offset.cast_signed());
            let mut span = Span::new(SERVICE, Hop::Router.name(), context, read_us, now_us)
                .about(&key)
                .with("twqr.shard", shard)
                .with("twqr.offset", offset)
                .with("twqr.step", format!("{step:?}"));
            if let Some((queue, writer, appended_us)) = waited {
                span = span.caused_by(writer);
                let wait = Span::new(SERVICE, queue.name(), child_of(context), appended_us, read_us)
                    .of_kind(SpanKind::Consumer)
                    .caused_by(writer)
                    .with("messaging.destination.name", "orders")
                    .with("messaging.destination.partition.id", shard.to_string());
                tracer.export(wait);
            }
            // Of a refund, the payment's trace.
            let own = TraceId::of_order(&key);
            if own != context.trace_id {
                span = span.linked_to(TraceContext { trace_id: own, ..context });
            }
            if step == Step::Contradicted {
                span = span.failed("an issuer contradicted a final state");
            }
            tracer.export(span);
        }
    }
}
