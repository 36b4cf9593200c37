//! The metrics of the ingress: every name, and handles that cost no lookup on the path of a payment.

use std::time::Duration;

use dashmap::DashMap;
use metrics::{Counter, Gauge, Histogram, Unit};
use twqr_types::Issuer;

/// Every metric of this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// From the arrival of a payment request to its answer, by result and issuer.
    PayDuration,
    /// Calls that are being answered.
    CallsInFlight,
    /// Open watch streams.
    WatchesOpen,
    /// Calls and watches refused because too many were in flight.
    Shed,
    /// Payments answered "in progress" and queries refused because nothing final was known in time.
    DeadlineReached,
    /// Payments answered by this instance's memory of an equal request, without asking the router.
    RepeatAnswered,
    /// Appends to `orders` that the journal refused or did not acknowledge.
    AppendFailed,
    /// Records on the replies partition that could not be decoded.
    ReplyUndecodable,
}

impl Metric {
    const ALL: [Self; 8] = [
        Self::PayDuration,
        Self::CallsInFlight,
        Self::WatchesOpen,
        Self::Shed,
        Self::DeadlineReached,
        Self::RepeatAnswered,
        Self::AppendFailed,
        Self::ReplyUndecodable,
    ];

    /// The name on the metrics page.
    pub fn name(self) -> &'static str {
        match self {
            Self::PayDuration => "twqr_ingress_pay_duration_seconds",
            Self::CallsInFlight => "twqr_ingress_in_flight_calls",
            Self::WatchesOpen => "twqr_ingress_open_watches",
            Self::Shed => "twqr_ingress_shed_calls_total",
            Self::DeadlineReached => "twqr_ingress_deadline_calls_total",
            Self::RepeatAnswered => "twqr_ingress_answered_repeats_total",
            Self::AppendFailed => "twqr_ingress_failed_appends_total",
            Self::ReplyUndecodable => "twqr_ingress_undecodable_replies_total",
        }
    }

    fn describe(self) {
        match self {
            Self::PayDuration => metrics::describe_histogram!(self.name(), Unit::Seconds, "from request to answer"),
            Self::CallsInFlight => metrics::describe_gauge!(self.name(), Unit::Count, "calls being answered"),
            Self::WatchesOpen => metrics::describe_gauge!(self.name(), Unit::Count, "open watch streams"),
            Self::Shed => metrics::describe_counter!(self.name(), Unit::Count, "refused: too many in flight"),
            Self::DeadlineReached => {
                metrics::describe_counter!(self.name(), Unit::Count, "nothing final was known in time");
            }
            Self::RepeatAnswered => {
                metrics::describe_counter!(self.name(), Unit::Count, "repeats answered without the router");
            }
            Self::AppendFailed => metrics::describe_counter!(self.name(), Unit::Count, "appends refused or unknown"),
            Self::ReplyUndecodable => {
                metrics::describe_counter!(self.name(), Unit::Count, "replies sent to the dead letters");
            }
        }
    }
}

/// How a payment call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PayResult {
    Paid,
    Failed,
    InProgress,
    Conflict,
    Invalid,
    Refused,
}

impl PayResult {
    fn label(self) -> &'static str {
        match self {
            Self::Paid => "paid",
            Self::Failed => "failed",
            Self::InProgress => "in_progress",
            Self::Conflict => "conflict",
            Self::Invalid => "invalid",
            Self::Refused => "refused",
        }
    }
}

/// Handles, taken once.
pub(crate) struct Meters {
    pub(crate) calls_in_flight: Gauge,
    pub(crate) watches_open: Gauge,
    pub(crate) shed: Counter,
    pub(crate) deadline_reached: Counter,
    pub(crate) repeat_answered: Counter,
    pub(crate) append_failed: Counter,
    pub(crate) reply_undecodable: Counter,
    pay_duration: DashMap<(PayResult, Option<Issuer>), Histogram>,
}

impl Meters {
    /// Describes every metric and takes the handles.
    pub(crate) fn new() -> Self {
        Metric::ALL.into_iter().for_each(Metric::describe);
        Self {
            calls_in_flight: metrics::gauge!(Metric::CallsInFlight.name()),
            watches_open: metrics::gauge!(Metric::WatchesOpen.name()),
            shed: metrics::counter!(Metric::Shed.name()),
            deadline_reached: metrics::counter!(Metric::DeadlineReached.name()),
            repeat_answered: metrics::counter!(Metric::RepeatAnswered.name()),
            append_failed: metrics::counter!(Metric::AppendFailed.name()),
            reply_undecodable: metrics::counter!(Metric::ReplyUndecodable.name()),
            pay_duration: DashMap::new(),
        }
    }

    /// Notes how long a payment took. The issuers are those of the policy, so the labels are few.
    pub(crate) fn pay(&self, result: PayResult, issuer: Option<Issuer>, took: Duration) {
        let key = (result, issuer);
        if let Some(histogram) = self.pay_duration.get(&key) {
            histogram.record(took.as_secs_f64());
            return;
        }
        let issuer = issuer.as_ref().map_or("none", Issuer::label).to_owned();
        let histogram =
            metrics::histogram!(Metric::PayDuration.name(), "result" => result.label(), "issuer" => issuer);
        histogram.record(took.as_secs_f64());
        self.pay_duration.insert(key, histogram);
    }
}
