//! The ingress' metrics, each under one name. A merchant is never a label: there are too many.

use std::{sync::LazyLock, time::Duration};

use tokio::time::Instant;
use tonic::Code;
use twqr_types::SignatureForm;
use twqr_wire::hops::HopReport;

use crate::admission::ShedReason;

const CALLS: &str = "twqr_ingress_calls_total";
const SECONDS: &str = "twqr_ingress_call_duration_seconds";
const HOPS: &str = "twqr_ingress_hop_duration_seconds";
const WAITING: &str = "twqr_ingress_calls_waiting";
const WATCHES: &str = "twqr_ingress_watches";
const STREAMS: &str = "twqr_ingress_streams";
const SHED: &str = "twqr_ingress_calls_shed_total";
const UNDECIDED: &str = "twqr_ingress_calls_undecided";
const LIMIT: &str = "twqr_ingress_calls_undecided_limit";
const DELAY: &str = "twqr_ingress_decision_delay_seconds";
const REPEATS: &str = "twqr_ingress_repeats_total";
/// The method of payments.
const PAY: &str = "Pay";
const SIGNATURES: &str = "twqr_ingress_signatures_total";
/// Replies that could not be decoded.
pub(crate) const DEAD_LETTERS: &str = "twqr_ingress_dead_letters_total";

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

/// Registers what each metric means with the exporter.
pub(crate) fn describe() {
    metrics::describe_counter!(
        CALLS,
        "Calls that ended, by method and gRPC code; Cancelled: the caller left. Each payment of a PayStream counts"
    );
    metrics::describe_histogram!(SECONDS, metrics::Unit::Seconds, "From the call's arrival to its answer, by method");
    metrics::describe_histogram!(
        HOPS,
        metrics::Unit::Seconds,
        "Time of calls that asked for their hops, by hop and by kind: working, waiting or unknown"
    );
    metrics::describe_gauge!(WAITING, "Calls that wait for an answer of the router");
    metrics::describe_gauge!(WATCHES, "Watches of orders that are open");
    metrics::describe_counter!(
        SHED,
        "Calls, watches and streams refused because too many were pending, by kind and reason: limit (of the shard's \
         undecided calls), reserved (for calls about accepted orders), share (of the caller), calls_max, streams_max"
    );
    metrics::describe_gauge!(UNDECIDED, "Calls that no router is known to have decided");
    metrics::describe_gauge!(LIMIT, "How many undecided calls may be admitted at once, over all shards");
    metrics::describe_gauge!(
        DELAY,
        metrics::Unit::Seconds,
        "From an append until the answer of the router, as measured last; only measured while calls are undecided"
    );
    metrics::describe_gauge!(STREAMS, "Streams of payments that are open");
    metrics::describe_counter!(REPEATS, "Repeated payments answered without the router, by how");
    metrics::describe_counter!(SIGNATURES, "Valid signatures of the POS HTTP form, by form of the signed text");
}

/// Counts a valid signature.
pub(crate) fn signature(form: SignatureForm) {
    metrics::counter!(SIGNATURES, "form" => form.name()).increment(1);
}

/// The metrics of payments that were answered, and the number of pending calls. Nearly every call
/// changes them, so they are looked up once.
struct FrequentMetrics {
    paid: metrics::Counter,
    pay_seconds: metrics::Histogram,
    waiting: metrics::Gauge,
}

static FREQUENT: LazyLock<FrequentMetrics> = LazyLock::new(|| FrequentMetrics {
    paid: metrics::counter!(CALLS, "method" => PAY, "code" => "Ok"),
    pay_seconds: metrics::histogram!(SECONDS, "method" => PAY),
    waiting: metrics::gauge!(WAITING),
});

/// Counts a call that ended.
pub(crate) fn call(method: &'static str, code: Code, took: Duration) {
    if method == PAY && code == Code::Ok {
        FREQUENT.paid.increment(1);
        FREQUENT.pay_seconds.record(took.as_secs_f64());
        return;
    }
    metrics::counter!(CALLS, "method" => method, "code" => format!("{code:?}")).increment(1);
    metrics::histogram!(SECONDS, "method" => method).record(took.as_secs_f64());
}

/// Records where the time of a call went.
pub(crate) fn hops(report: &HopReport) {
    for (hop, us) in report.passed() {
        let time = Duration::from_micros(us).as_secs_f64();
        metrics::histogram!(HOPS, "hop" => hop.name(), "kind" => hop.kind().name()).record(time);
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
        CallKind::Watch => metrics::gauge!(WATCHES).increment(change),
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
    metrics::counter!(SHED, "kind" => kind, "reason" => reason).increment(1);
}

/// Changes the number of undecided calls.
pub(crate) fn change_undecided(change: i32) {
    metrics::gauge!(UNDECIDED).increment(f64::from(change));
}

/// Changes the sum of the shards' limits.
pub(crate) fn change_admission_limit(change: f64) {
    metrics::gauge!(LIMIT).increment(change);
}

/// Sets the delay that was measured last.
pub(crate) fn decision_delay(delay: Duration) {
    metrics::gauge!(DELAY).set(delay.as_secs_f64());
}

/// Changes the number of open streams of payments.
pub(crate) fn change_streams(change: f64) {
    metrics::gauge!(STREAMS).increment(change);
}

/// Counts a stream that was refused because too many were open.
pub(crate) fn shed_stream() {
    metrics::counter!(SHED, "kind" => "stream", "reason" => "streams_max").increment(1);
}

/// Counts a repeat that was answered without the router.
pub(crate) fn repeat(how: RepeatAnswer) {
    let how = match how {
        RepeatAnswer::Cached => "cached",
        RepeatAnswer::Joined => "joined",
    };
    metrics::counter!(REPEATS, "how" => how).increment(1);
}
