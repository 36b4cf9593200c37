//! The spans of a traced task: its queues, the worker, and the backend.

use tokio::time::Instant;
use twqr_order::{MovementOutcome, TaskResult};
use twqr_telemetry::{Span, SpanKind, child_of, tracer, unix_us};
use twqr_types::Issuer;
use twqr_wire::{
    convert::HopTimes,
    hops::Hop,
    trace::{SpanId, TraceContext},
};

use super::in_flight::TaskSummary;

/// A traced task in hand, and where it has been.
#[derive(Debug)]
pub(super) struct TaskSpans {
    context: TraceContext,
    router: SpanId,
    /// When the task was appended, in Unix µs.
    appended_us: i64,
    read: Instant,
    /// The hops within the worker's span that have ended.
    stays: Vec<(Hop, Instant, Instant)>,
}

impl TaskSpans {
    /// Begins the spans of a task that is read now, if they are exported.
    pub(super) fn begin(times: &HopTimes) -> Option<Self> {
        let writer = times.trace.filter(|trace| trace.is_sampled && tracer().is_some())?;
        Some(Self {
            context: child_of(writer),
            router: writer.span_id,
            appended_us: times.appended_us,
            read: Instant::now(),
            stays: Vec::new(),
        })
    }

    /// Notes that the task has left a hop, in which it was since `began`.
    pub(super) fn leave(&mut self, hop: Hop, began: Instant, ended: Instant) {
        if hop != Hop::Worker {
            self.stays.push((hop, began, ended));
        }
    }

    /// The worker's span, which the outcome names as its cause.
    pub(super) fn context(&self) -> TraceContext {
        self.context
    }

    /// Exports the spans of a task whose outcome is appended now.
    pub(super) fn export(self, task: &TaskSummary, outcome: &MovementOutcome) {
        let Some(tracer) = tracer() else { return };
        let service = service_of(task.issuer);
        let read_us = unix_us(self.read);
        let part =
            |hop: Hop, began_us, ended_us| Span::new(service, hop.name(), child_of(self.context), began_us, ended_us);
        let topic = if task.issuer == Issuer::Wallet { "wallet-tasks" } else { "fisc-tasks" };
        let wait = part(Hop::TasksWait, self.appended_us, read_us).of_kind(SpanKind::Consumer);
        tracer.export(wait.caused_by(self.router).with("messaging.destination.name", topic));
        for (hop, began, ended) in self.stays {
            let span = part(hop, unix_us(began), unix_us(ended)).caused_by(self.context.span_id);
            let kind = if hop == Hop::Backend { SpanKind::Client } else { SpanKind::Internal };
            tracer.export(span.of_kind(kind).with("twqr.institution", task.issuer.as_wire().to_owned()));
        }
        let mut span = Span::new(service, Hop::Worker.name(), self.context, read_us, unix_us(Instant::now()))
            .caused_by(self.router)
            .about(&task.key)
            .with("twqr.trade_no", task.trade_no.as_str().to_owned())
            .with("twqr.institution", task.issuer.as_wire().to_owned());
        let (name, why) = result(outcome);
        span = span.with("twqr.result", name);
        if let Some(why) = why {
            span = span.failed(why.to_owned());
        }
        tracer.export(span);
    }
}

/// The service that calls this issuer.
pub(super) fn service_of(issuer: Issuer) -> &'static str {
    match issuer {
        Issuer::Wallet => "wallet-worker",
        Issuer::Institution(_) => "fisc-worker",
    }
}

/// The name of a result, and for one that is not an issuer's answer, why.
fn result(outcome: &MovementOutcome) -> (&'static str, Option<&str>) {
    fn of<A>(result: &TaskResult<A>) -> (&'static str, Option<&str>) {
        match result {
            TaskResult::Done(_) => ("done", None),
            TaskResult::Declined(_) => ("declined", None),
            TaskResult::NotSent(why) => ("not sent", Some(why)),
            TaskResult::Unknown(why) => ("unknown", Some(why)),
            TaskResult::Absent => ("absent", None),
        }
    }
    match outcome {
        MovementOutcome::Charge(result) => of(result),
        MovementOutcome::Refund(_, result) => of(result),
        MovementOutcome::Reversal(result) => of(result),
    }
}
