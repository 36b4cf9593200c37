//! Measures the hops of one call, if its caller asked for them or telemetry is on. The total, from
//! the arrival to the answer, is measured here with the monotonic clock. The replies contain the
//! parts: each process' own time by its monotonic clock, and the queues between processes by the
//! wall clocks of both. The clocks' differences cancel out over the whole call, but not in each
//! queue: [`fit`] makes the parts add up to the total.

mod spans;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::http::{HeaderMap, HeaderValue};
use tokio::time::Instant;
use tonic::Code;
use twqr_types::{OrderKey, StatusCode};
use twqr_wire::{
    convert::HopTimes,
    hops::{HOPS_HEADER, Hop, HopReport},
    trace::{TRACEPARENT_HEADER, TraceContext},
};

use crate::metrics;

/// The stays, each measured by one clock.
const STAYS: [Hop; 4] = [Hop::Router, Hop::WorkerWait, Hop::Worker, Hop::Backend];
/// The queues between two processes.
const QUEUES: [Hop; 4] = [Hop::OrdersWait, Hop::TasksWait, Hop::OutcomesWait, Hop::RepliesWait];

/// The measurement of one call; a clone belongs to the same call. When the last one is dropped, the
/// call has ended: its spans are exported if it is traced.
#[derive(Clone)]
pub(crate) struct CallHops(Arc<MeasuredCall>);

/// A call and what is known of it.
struct MeasuredCall {
    method: &'static str,
    began: Instant,
    /// Whether the caller asked for its hops.
    is_asked: bool,
    /// The span of the caller, if it passed that on and telemetry is on.
    caller: Option<TraceContext>,
    progress: Mutex<Progress>,
}

/// The events of the call so far.
#[derive(Default)]
struct Progress {
    /// The request that was appended for the call: its correlation number, and when.
    request: Option<(u64, Instant)>,
    /// How long the call has followed another one for the same payment.
    followed: Duration,
    /// The hops in the newest reply that had them, and when the call read it.
    times: Option<(HopTimes, Instant)>,
    /// When the call read its newest reply, or stopped waiting.
    waited_until: Option<Instant>,
    /// The call's span and its order, if telemetry is on and a request was appended.
    traced: Option<(TraceContext, OrderKey)>,
    /// The StatusCode of the answer, if the call changes an order.
    status: Option<StatusCode>,
    /// The gRPC code of the answer; absent if the caller left before that.
    code: Option<Code>,
}

impl CallHops {
    /// Begins to measure a call that arrived at `began`, if its caller asks for that or telemetry
    /// is on.
    pub(crate) fn of_headers(method: &'static str, headers: &HeaderMap, began: Instant) -> Option<Self> {
        let is_asked = headers.get(HOPS_HEADER).is_some_and(|value| value == "1");
        let traceparent = || headers.get(TRACEPARENT_HEADER)?.to_str().ok();
        Self::begin(method, is_asked, traceparent, began)
    }

    /// The same for a call without headers of its own; `traceparent` is that of its caller.
    pub(crate) fn begin<'a>(
        method: &'static str,
        is_asked: bool,
        traceparent: impl FnOnce() -> Option<&'a str>,
        began: Instant,
    ) -> Option<Self> {
        let tracer = twqr_telemetry::tracer();
        let caller = tracer.and_then(|_| traceparent()).and_then(TraceContext::parse);
        let measures = is_asked || tracer.is_some();
        measures.then(|| Self(Arc::new(MeasuredCall { method, began, is_asked, caller, progress: Mutex::default() })))
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.0.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the request about this order is appended now, at `now_us` in Unix µs; returns the
    /// hops that its record carries.
    pub(crate) fn appended(&self, correlation: u64, now_us: i64, key: &OrderKey) -> HopTimes {
        let mut progress = self.progress();
        progress.request = Some((correlation, Instant::now()));
        let mut times = HopTimes::new(correlation, now_us);
        if let Some(tracer) = twqr_telemetry::tracer() {
            let span = tracer.begin(self.0.caller, key);
            times.trace = Some(span);
            progress.traced = Some((span, key.clone()));
        }
        times
    }

    /// Notes that the call has read a reply, at `now_us` in Unix µs. The order's reply may have the
    /// hops of another call: those are not this call's.
    pub(crate) fn replied(&self, times: Option<HopTimes>, now_us: i64) {
        let (mut progress, now) = (self.progress(), Instant::now());
        progress.waited_until = Some(now);
        let own = progress.request.map(|(correlation, _)| correlation);
        if let Some(mut times) = times.filter(|times| Some(times.correlation) == own) {
            times.add_wait(Hop::RepliesWait, now_us);
            progress.times = Some((times, now));
        }
    }

    /// Notes that the call stopped waiting for a reply.
    pub(crate) fn gave_up(&self) {
        self.progress().waited_until = Some(Instant::now());
    }

    /// Notes that the call followed another one since `since`.
    pub(crate) fn followed(&self, since: Instant) {
        self.progress().followed += since.elapsed();
    }

    /// Notes the StatusCode with which a call that changes an order is answered.
    pub(crate) fn result(&self, status: StatusCode) {
        self.progress().status = Some(status);
    }

    /// Notes the gRPC code with which the call is answered.
    pub(crate) fn ended(&self, code: Code) {
        self.progress().code = Some(code);
    }

    /// The hops from the call's arrival to the present, when it is answered; `None` unless its
    /// caller asked for that.
    pub(crate) fn report(&self) -> Option<HopReport> {
        self.0.is_asked.then(|| {
            let report = self.progress().report(self.0.began, Instant::now());
            metrics::hops(&report);
            report
        })
    }

    /// The value of [`HOPS_HEADER`] in the answer that is given now.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.report()?.to_string()).ok()
    }
}

impl Drop for MeasuredCall {
    fn drop(&mut self) {
        let Some(tracer) = twqr_telemetry::tracer() else { return };
        let progress = self.progress.get_mut().unwrap_or_else(PoisonError::into_inner);
        spans::export(tracer, self.method, self.began, self.caller, progress);
    }
}

impl Progress {
    fn report(&self, began: Instant, now: Instant) -> HopReport {
        // Each moment is rounded, not each part, so that the parts are exactly the whole.
        let at = |moment: Instant| us(moment.duration_since(began));
        let mut report = HopReport::default();
        let appended = self.request.map_or(at(now), |(_, moment)| at(moment));
        let followed = us(self.followed).min(appended);
        report.add(Hop::Ingress, appended - followed);
        report.add(Hop::Unknown, followed);
        let mut known_until = appended;
        if let Some((times, read)) = &self.times {
            known_until = at(*read);
            fit(&mut report, times, known_until - appended);
        }
        let waited_until = self.waited_until.map_or(known_until, at).max(known_until);
        report.add(Hop::Unknown, waited_until - known_until);
        report.add(Hop::Reply, at(now) - waited_until);
        report
    }
}

/// Adds the hops between the append of the request and the reply, which took `whole_us` by the
/// ingress' clock.
///
/// - A stay counts as measured. If clocks of different speed make all stays longer than the whole,
///   the longest is shortened.
/// - A queue counts by the stamps at its two ends; one that seems negative counts as 0. What is too
///   much is taken from the longest queue: so the difference of two clocks, which makes one queue
///   of a way seem shorter and another one longer, is taken back.
/// - What is left over is unknown.
fn fit(report: &mut HopReport, times: &HopTimes, whole_us: u64) {
    let mut left_us = whole_us;
    for hops in [STAYS, QUEUES] {
        let measured = hops.map(|hop| u64::try_from(times.us(hop)).unwrap_or_default());
        let fitted = shortened(measured, left_us);
        for (hop, us) in hops.into_iter().zip(fitted) {
            report.add(hop, us);
            left_us -= us;
        }
    }
    report.add(Hop::Unknown, left_us);
}

/// Shortens the longest parts until their sum is at most `most`.
fn shortened(mut parts: [u64; 4], most: u64) -> [u64; 4] {
    let mut excess = parts.iter().fold(0_u64, |sum, part| sum.saturating_add(*part)).saturating_sub(most);
    while excess > 0 {
        let Some(longest) = parts.iter_mut().max() else { break };
        let cut = excess.min(*longest);
        *longest -= cut;
        excess -= cut;
    }
    parts
}

fn us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
