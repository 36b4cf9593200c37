//! The ingress' metrics, by name. A merchant is never a label.

use std::time::Duration;

use tonic::Code;

use crate::desk::Kind;

const CALLS: &str = "twqr_ingress_calls_total";
const SECONDS: &str = "twqr_ingress_call_duration_seconds";
const WAITING: &str = "twqr_ingress_calls_waiting";
const WATCHES: &str = "twqr_ingress_watches";
const SHED: &str = "twqr_ingress_calls_shed_total";
const REPEATS: &str = "twqr_ingress_repeats_total";
const DEAD_LETTERS: &str = "twqr_ingress_dead_letters_total";

/// How a repeat was answered without the router.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Repeat {
    /// From the cache.
    Cached,
    /// With the first call.
    Joined,
}

/// Tells the exporter what each metric means.
pub(crate) fn describe() {
    metrics::describe_counter!(CALLS, "Calls ended, by method and gRPC code");
    metrics::describe_histogram!(SECONDS, metrics::Unit::Seconds, "From the call's arrival to its answer, by method");
    metrics::describe_gauge!(WAITING, "Calls that wait for an answer of the router");
    metrics::describe_gauge!(WATCHES, "Watches of orders that are open");
    metrics::describe_counter!(SHED, "Calls and watches refused because too many waited, by kind");
    metrics::describe_counter!(REPEATS, "Repeated payments answered without the router, by how");
    metrics::describe_counter!(DEAD_LETTERS, "Replies that could not be decoded");
}

/// A call ended.
pub(crate) fn call(method: &'static str, code: Code, took: Duration) {
    metrics::counter!(CALLS, "method" => method, "code" => format!("{code:?}")).increment(1);
    metrics::histogram!(SECONDS, "method" => method).record(took.as_secs_f64());
}

/// More or fewer of them wait.
pub(crate) fn waiting(kind: Kind, change: f64) {
    match kind {
        Kind::Call => metrics::gauge!(WAITING).increment(change),
        Kind::Watch => metrics::gauge!(WATCHES).increment(change),
    }
}

/// One was shed.
pub(crate) fn shed(kind: Kind) {
    let kind = match kind {
        Kind::Call => "call",
        Kind::Watch => "watch",
    };
    metrics::counter!(SHED, "kind" => kind).increment(1);
}

/// A repeat needed no router.
pub(crate) fn repeat(how: Repeat) {
    let how = match how {
        Repeat::Cached => "cached",
        Repeat::Joined => "joined",
    };
    metrics::counter!(REPEATS, "how" => how).increment(1);
}

/// A reply went to the dead letters.
pub(crate) fn dead_letter() {
    metrics::counter!(DEAD_LETTERS).increment(1);
}
