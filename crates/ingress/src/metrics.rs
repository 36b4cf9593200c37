//! The ingress' metrics. A merchant is never a label: there are too many.

use std::{sync::LazyLock, time::Duration};

use tokio::time::Instant;
use tonic::Code;
use twqr_service::{CALL_SECONDS, Metric, MetricKind, PART_SECONDS};
use twqr_types::SignatureForm;
use twqr_wire::hops::{Hop, HopReport};

use crate::{
    admission::ShedReason,
    refusal::{Limited, Opened},
};

const CALLS: Metric = Metric {
    name: "twqr_ingress_calls_total",
    kind: MetricKind::Counter,
    unit: "calls",
    labels: &["method", "code"],
    meaning: "Calls that ended, by method and gRPC code; Cancelled: the caller ended the call. Each payment of a PayStream counts",
    action: "Its rate is the load. Unavailable and ResourceExhausted: alerts AnswerBudgetBurnsFast and CallsShed",
};
const SECONDS: Metric = Metric {
    name: "twqr_ingress_call_duration_seconds",
    kind: MetricKind::Histogram(CALL_SECONDS),
    unit: "seconds",
    labels: &["method"],
    meaning: "From the call's arrival to its answer, by method",
    action: "Alerts AnswerBudgetBurnsFast and AnswerBudgetBurnsSlowly; the hops show which step is slow",
};
const HOPS: Metric = Metric {
    name: "twqr_ingress_hop_duration_seconds",
    kind: MetricKind::Histogram(PART_SECONDS),
    unit: "seconds",
    labels: &["hop", "kind"],
    meaning: "Time of calls that asked for their hops, by hop and by kind: working, waiting or unknown",
    action: "Find the slow hop: orders_wait is the router's queue, worker_wait the issuer's lane, backend the issuer",
};
const LIMITED: Metric = Metric {
    name: "twqr_ingress_limited_total",
    kind: MetricKind::Counter,
    unit: "calls",
    labels: &["by", "kind"],
    meaning: "Calls that were refused because one caller or one merchant had too many: rate (per second), concurrency (in \
              progress), streams or watches (open)",
    action: "The log names the caller or merchant: ask them, or raise their limit ([fairness], `twqr callers`)",
};
const WAITING: Metric = Metric {
    name: "twqr_ingress_calls_waiting",
    kind: MetricKind::Gauge,
    unit: "calls",
    labels: &[],
    meaning: "Calls that wait for an answer of the router",
    action: "Near calls_max, further calls are refused: look for a slow issuer",
};
const WATCHES: Metric = Metric {
    name: "twqr_ingress_watches",
    kind: MetricKind::Gauge,
    unit: "watches",
    labels: &[],
    meaning: "Watches of orders that are open",
    action: "",
};
const STREAMS: Metric = Metric {
    name: "twqr_ingress_streams",
    kind: MetricKind::Gauge,
    unit: "streams",
    labels: &[],
    meaning: "Streams of payments that are open",
    action: "Near streams_max, further streams are refused: add ingresses",
};
const SHED: Metric = Metric {
    name: "twqr_ingress_calls_shed_total",
    kind: MetricKind::Counter,
    unit: "calls",
    labels: &["kind", "reason"],
    meaning: "Calls, watches and streams refused because too many were pending, by kind and reason: limit (of the \
              shard's undecided calls), reserved (for calls about accepted orders), share (of the caller), calls_max, \
              streams_max",
    action: "Alert CallsShed. limit, reserved: journal or routers are too slow for the load. share: one merchant sends \
             more than its share. calls_max: too many calls wait, perhaps for a slow issuer",
};
const UNDECIDED: Metric = Metric {
    name: "twqr_ingress_calls_undecided",
    kind: MetricKind::Gauge,
    unit: "calls",
    labels: &[],
    meaning: "Calls that, as far as the ingress knows, no router has decided yet",
    action: "At the limit, calls are refused with the reason limit",
};
const LIMIT: Metric = Metric {
    name: "twqr_ingress_calls_undecided_limit",
    kind: MetricKind::Gauge,
    unit: "calls",
    labels: &[],
    meaning: "How many undecided calls may be admitted at once, over all shards",
    action: "It falls while the decision delay is above admission.delay_ms",
};
const DELAY: Metric = Metric {
    name: "twqr_ingress_decision_delay_seconds",
    kind: MetricKind::Gauge,
    unit: "seconds",
    labels: &[],
    meaning: "From an append until the answer of the router, as measured last; only measured while calls are undecided",
    action: "Above admission.delay_ms: the journal or the routers are too slow for the load",
};
const REPEATS: Metric = Metric {
    name: "twqr_ingress_repeats_total",
    kind: MetricKind::Counter,
    unit: "calls",
    labels: &["how"],
    meaning: "Repeated payments answered without the router: cached (from the remembered answer) or joined (together \
              with the first call)",
    action: "Many repeats: callers' time-outs are too short, or answers are slow",
};
const SIGNATURES: Metric = Metric {
    name: "twqr_ingress_signatures_total",
    kind: MetricKind::Counter,
    unit: "calls",
    labels: &["form"],
    meaning: "Valid signatures of the POS HTTP form, by form of the signed text",
    action: "Forms that stay at 0 can be removed from signature_forms",
};
/// Replies that could not be decoded.
pub(crate) const DEAD_LETTERS: Metric = Metric {
    name: "twqr_ingress_dead_letters_total",
    kind: MetricKind::Counter,
    unit: "records",
    labels: &[],
    meaning: "Replies that could not be read and were written to dead-letters",
    action: "Alert DeadLettersWritten",
};

/// The metrics of the ingress.
pub const METRICS: &[Metric] = &[
    CALLS,
    SECONDS,
    HOPS,
    LIMITED,
    WAITING,
    WATCHES,
    STREAMS,
    SHED,
    UNDECIDED,
    LIMIT,
    DELAY,
    REPEATS,
    SIGNATURES,
    DEAD_LETTERS,
];

/// The method of payments.
const PAY: &str = "Pay";
/// The values of the label `method`: those of gRPC, and those of the HTTP form.
const METHODS: [&str; 10] = [
    PAY,
    "PayStream",
    "Query",
    "Refund",
    "Cancel",
    "WatchOrder",
    "http_Payment",
    "http_Inquiry",
    "http_Refund",
    "http_Cancel",
];
/// The codes with which calls end.
const CODES: [Code; 8] = [
    Code::Ok,
    Code::Cancelled,
    Code::InvalidArgument,
    Code::AlreadyExists,
    Code::PermissionDenied,
    Code::Unauthenticated,
    Code::ResourceExhausted,
    Code::Unavailable,
];
/// The refused call, and the reason.
const SHED_KINDS: [(&str, &str); 6] = [
    ("call", "limit"),
    ("call", "reserved"),
    ("call", "share"),
    ("call", "calls_max"),
    ("watch", "calls_max"),
    ("stream", "streams_max"),
];

/// The kind of a pending call. Watches have their own limit, so that they never take the place of a
/// payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallKind {
    Call,
    Watch,
    /// An inquiry of the ingress' own, to learn whether and when a shard answers.
    Probe,
}

/// How a repeated payment was answered without the router.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RepeatAnswer {
    /// From the remembered answer.
    Cached,
    /// Together with the first call, which was still pending.
    Joined,
}

impl RepeatAnswer {
    const ALL: [Self; 2] = [Self::Cached, Self::Joined];

    const fn label(self) -> &'static str {
        match self {
            Self::Cached => "cached",
            Self::Joined => "joined",
        }
    }
}

/// Registers the metrics with the exporter, and the series whose labels are known.
pub(crate) fn register() {
    METRICS.iter().for_each(Metric::describe);
    for method in METHODS {
        for code in &CODES {
            CALLS.touch(&[method, code_label(*code)]);
        }
        SECONDS.touch(&[method]);
    }
    for hop in &Hop::ALL {
        HOPS.touch(&[hop.name(), hop.kind().name()]);
    }
    for of in [Limited::Caller, Limited::Merchant] {
        LIMITED.touch(&[limited_label(of), "rate"]);
        LIMITED.touch(&[limited_label(of), "concurrency"]);
    }
    for what in Opened::ALL {
        LIMITED.touch(&[limited_label(Limited::Caller), what.name()]);
    }
    for (kind, reason) in &SHED_KINDS {
        SHED.touch(&[kind, reason]);
    }
    for how in &RepeatAnswer::ALL {
        REPEATS.touch(&[how.label()]);
    }
    for form in &SignatureForm::ALL {
        SIGNATURES.touch(&[form.name()]);
    }
}

/// The label of a gRPC code.
const fn code_label(code: Code) -> &'static str {
    match code {
        Code::Ok => "Ok",
        Code::Cancelled => "Cancelled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

/// Counts a valid signature.
pub(crate) fn signature(form: SignatureForm) {
    SIGNATURES.counter(&[form.name()]).increment(1);
}

/// The metrics of payments that were answered, and the numbers of pending calls. Nearly every call
/// changes them, so they are looked up once.
struct FrequentMetrics {
    paid: metrics::Counter,
    pay_seconds: metrics::Histogram,
    waiting: metrics::Gauge,
    undecided: metrics::Gauge,
}

static FREQUENT: LazyLock<FrequentMetrics> = LazyLock::new(|| FrequentMetrics {
    paid: CALLS.counter(&[PAY, code_label(Code::Ok)]),
    pay_seconds: SECONDS.histogram(&[PAY]),
    waiting: WAITING.gauge(&[]),
    undecided: UNDECIDED.gauge(&[]),
});

/// Counts a call that ended.
pub(crate) fn call(method: &'static str, code: Code, took: Duration) {
    if method == PAY && code == Code::Ok {
        FREQUENT.paid.increment(1);
        FREQUENT.pay_seconds.record(took.as_secs_f64());
        return;
    }
    CALLS.counter(&[method, code_label(code)]).increment(1);
    SECONDS.histogram(&[method]).record(took.as_secs_f64());
}

/// Records where the time of a call went.
pub(crate) fn hops(report: &HopReport) {
    for (hop, us) in report.passed() {
        let time = Duration::from_micros(us).as_secs_f64();
        HOPS.histogram(&[hop.name(), hop.kind().name()]).record(time);
    }
}

/// A call that has no answer yet. Dropping it counts the call as `Cancelled`: its caller left.
pub(crate) struct PendingAnswer {
    method: &'static str,
    began: Instant,
    is_given: bool,
}

impl PendingAnswer {
    pub(crate) fn begin(method: &'static str) -> Self {
        Self { method, began: Instant::now(), is_given: false }
    }

    /// The call has its answer, which is counted elsewhere.
    pub(crate) fn given(mut self) {
        self.is_given = true;
    }
}

impl Drop for PendingAnswer {
    fn drop(&mut self) {
        if !self.is_given {
            call(self.method, Code::Cancelled, self.began.elapsed());
        }
    }
}

/// Changes the number of pending calls of this kind.
pub(crate) fn change_pending(kind: CallKind, change: f64) {
    match kind {
        CallKind::Call => FREQUENT.waiting.increment(change),
        CallKind::Watch => WATCHES.gauge(&[]).increment(change),
        CallKind::Probe => {}
    }
}

/// Counts a call that was refused because too many were pending. Without a reason of the admission,
/// all places of its kind were taken.
pub(crate) fn shed(kind: CallKind, reason: Option<ShedReason>) {
    let kind = match kind {
        CallKind::Call => "call",
        CallKind::Watch => "watch",
        CallKind::Probe => "probe",
    };
    let reason = match reason {
        Some(ShedReason::Limit) => "limit",
        Some(ShedReason::Reserved) => "reserved",
        Some(ShedReason::Share) => "share",
        None => "calls_max",
    };
    SHED.counter(&[kind, reason]).increment(1);
}

/// Changes the number of undecided calls.
pub(crate) fn change_undecided(change: i32) {
    FREQUENT.undecided.increment(f64::from(change));
}

/// Changes the sum of the shards' limits.
pub(crate) fn change_admission_limit(change: f64) {
    LIMIT.gauge(&[]).increment(change);
}

/// Sets the delay that was measured last.
pub(crate) fn decision_delay(delay: Duration) {
    DELAY.gauge(&[]).set(delay.as_secs_f64());
}

/// Changes the number of open streams of payments.
pub(crate) fn change_streams(change: f64) {
    STREAMS.gauge(&[]).increment(change);
}

/// Counts a stream that was refused because too many were open.
pub(crate) fn shed_stream() {
    SHED.counter(&["stream", "streams_max"]).increment(1);
}

fn limited_label(of: Limited) -> &'static str {
    match of {
        Limited::Caller => "caller",
        Limited::Merchant => "merchant",
    }
}

/// Counts a call of one caller or merchant that had too many of this kind.
pub(crate) fn limited(of: Limited, kind: &'static str) {
    LIMITED.counter(&[limited_label(of), kind]).increment(1);
}

/// Counts a repeat that was answered without the router.
pub(crate) fn repeat(how: RepeatAnswer) {
    REPEATS.counter(&[how.label()]).increment(1);
}
