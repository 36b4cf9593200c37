//! The spans of a call that has ended. Each process makes the spans of a sampled call; those of the
//! ingress are made here. For a call that was slow or failed but not sampled, the spans of all
//! processes are made here from its hops: each process has measured its part, but exported no span.

use std::time::Duration;

use tokio::time::Instant;
use tonic::Code;
use twqr_telemetry::{Span, SpanKind, Tracer, child_of, unix_us};
use twqr_types::StatusCode;
use twqr_wire::{
    hops::Hop,
    trace::{TraceContext, TraceId},
};

use super::Progress;

const SERVICE: &str = "ingress";

/// The reason why a call is traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// Its caller has sampled the trace, or its trace is among the share that is.
    Sampled,
    Failed,
    Slow,
}

impl Reason {
    const fn name(self) -> &'static str {
        match self {
            Self::Sampled => "sampled",
            Self::Failed => "failed",
            Self::Slow => "slow",
        }
    }

    /// Returns `None` if the call is not traced.
    fn of(span: TraceContext, progress: &Progress, took: Duration, slow: Duration) -> Option<Self> {
        let is_failure = |status: StatusCode| status != StatusCode::SUCCESS;
        if span.is_sampled {
            Some(Self::Sampled)
        } else if progress.status.is_some_and(is_failure) || progress.code.is_none_or(is_fault) {
            Some(Self::Failed)
        } else if took >= slow {
            Some(Self::Slow)
        } else {
            None
        }
    }
}

/// Whether an answer with this code means that something is wrong here, and not with the request.
fn is_fault(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::Internal | Code::Unknown | Code::DeadlineExceeded)
}

/// Exports the spans of a call that ends now, if it is traced. Without a request on the log there
/// is nothing to trace, unless its caller has sampled it.
pub(super) fn export(
    tracer: &Tracer,
    method: &'static str,
    began: Instant,
    caller: Option<TraceContext>,
    progress: &Progress,
) {
    let refused = || caller.filter(|caller| caller.is_sampled).map(child_of);
    let Some(span) = progress.traced.as_ref().map(|(span, _)| *span).or_else(refused) else { return };
    let now = Instant::now();
    let Some(reason) = Reason::of(span, progress, now - began, tracer.slow()) else { return };
    tracer.export(whole(method, span, caller, reason, progress, (began, now)));
    if reason == Reason::Sampled {
        export_own(tracer, span, progress, began, now);
    } else {
        export_all(tracer, span, progress, began, now);
    }
}

/// The span of the whole call.
fn whole(
    method: &'static str,
    context: TraceContext,
    caller: Option<TraceContext>,
    reason: Reason,
    progress: &Progress,
    (began, now): (Instant, Instant),
) -> Span {
    let code = progress.code.unwrap_or(Code::Cancelled);
    let mut span = Span::new(SERVICE, method, context, unix_us(began), unix_us(now))
        .of_kind(SpanKind::Server)
        .with("twqr.traced_because", reason.name())
        .with("rpc.grpc.status_code", i64::from(i32::from(code)));
    if let Some(caller) = caller {
        span = span.caused_by(caller.span_id);
    }
    if let Some((_, key)) = &progress.traced {
        span = span.about(key);
        let own = TraceId::of_order(key);
        if own != context.trace_id {
            span = span.linked_to(TraceContext { trace_id: own, ..context });
        }
    }
    if let Some(status) = progress.status {
        span = span.with("twqr.status_code", status.to_string());
        if status != StatusCode::SUCCESS {
            span = span.failed(format!("StatusCode {status}"));
        }
    } else if is_fault(code) {
        span = span.failed(code.description());
    }
    span
}

/// The parts of a sampled call at the ingress: before the request is appended, and from the reply
/// on.
fn export_own(tracer: &Tracer, whole: TraceContext, progress: &Progress, began: Instant, now: Instant) {
    let part = |hop: Hop, began_us, ended_us| Span::new(SERVICE, hop.name(), child_of(whole), began_us, ended_us);
    let appended = progress.request.map_or(now, |(_, at)| at);
    tracer.export(part(Hop::Ingress, unix_us(began), unix_us(appended)).caused_by(whole.span_id));
    if let Some((times, read)) = &progress.times {
        let replier = times.trace.map_or(whole.span_id, |context| context.span_id);
        let read_us = unix_us(*read);
        tracer
            .export(part(Hop::RepliesWait, times.appended_us, read_us).of_kind(SpanKind::Consumer).caused_by(replier));
        tracer.export(part(Hop::Reply, read_us, unix_us(now)).caused_by(replier));
    }
}

/// Every hop of a call, one after the other. Both visits of the router are one span.
fn export_all(tracer: &Tracer, whole: TraceContext, progress: &Progress, began: Instant, now: Instant) {
    let mut at_us = unix_us(began);
    for (hop, us) in progress.report(began, now).passed() {
        let until_us = at_us.saturating_add(i64::try_from(us).unwrap_or(i64::MAX));
        let span = Span::new(SERVICE, hop.name(), child_of(whole), at_us, until_us);
        tracer.export(span.caused_by(whole.span_id).with("twqr.from_hops", true));
        at_us = until_us;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_traced_if_it_is_sampled_failed_or_slow() {
        let slow = Duration::from_secs(2);
        let span = |flag: &str| {
            let header = format!("00-{}-{}-{flag}", "1".repeat(32), "2".repeat(16));
            TraceContext::parse(&header).unwrap()
        };
        let reason = |flag, status: Option<&str>, code, took_ms| {
            let status = status.map(|text| StatusCode::parse(text).unwrap());
            let progress = Progress { status, code, ..Progress::default() };
            Reason::of(span(flag), &progress, Duration::from_millis(took_ms), slow)
        };
        let (paid, declined) = (Some("000"), Some("928"));
        for (flag, status, code, took_ms, expected) in [
            ("00", paid, Some(Code::Ok), 1, None),
            ("01", paid, Some(Code::Ok), 1, Some(Reason::Sampled)),
            ("00", paid, Some(Code::Ok), 2_000, Some(Reason::Slow)),
            ("00", declined, Some(Code::Ok), 1, Some(Reason::Failed)),
            ("00", None, None, 1, Some(Reason::Failed)),
            ("00", None, Some(Code::Unavailable), 1, Some(Reason::Failed)),
            ("00", None, Some(Code::AlreadyExists), 1, None),
            ("00", None, Some(Code::Ok), 1, None),
        ] {
            assert_eq!(reason(flag, status, code, took_ms), expected, "{flag} {status:?} {code:?} {took_ms}");
        }
    }
}
