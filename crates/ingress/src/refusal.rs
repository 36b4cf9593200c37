//! Every way in which a call is refused, and the one place that makes a gRPC status of it. A refusal of a payment says that this
//! request was not accepted: a payment that may have been accepted is always answered "in progress" instead.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use twqr_types::{Violation, Violations};

/// Domain of every `google.rpc.ErrorInfo`.
const DOMAIN: &str = "twqr.pos.v1";
/// Retry hints are spread over this range, so that callers who were refused together do not return together.
const RETRY_AFTER_MS: std::ops::RangeInclusive<u64> = 100..=500;

/// Why a call is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the request is out of its limits: {0}")]
    Invalid(Violations),
    #[error(
        "this merchant_trade_no belongs to another request, which differs in {}; that order is unchanged",
        .0.join(", ")
    )]
    DifferentRequest(Vec<String>),
    #[error("too many calls are in flight; this one was not accepted, send it again after the retry delay")]
    TooManyCalls,
    #[error("too many orders are watched through this instance; watch again after the retry delay, or query")]
    TooManyWatches,
    #[error("too many watch this order; query it instead, or watch it again later")]
    TooManyWatchers,
    #[error("the order log takes nothing at the moment; this request was not accepted, send the same one again")]
    LogRefused,
    #[error("the order's state was not known in time; asking again is safe")]
    NoAnswerInTime,
    #[error("this instance is shutting down; watch again")]
    ShuttingDown,
    #[error("this watch has lasted as long as one may; watch again")]
    WatchedTooLong,
    #[error("{0} is not offered by this version; nothing was changed")]
    NotOffered(&'static str),
}

impl Refusal {
    fn code(&self) -> Code {
        match self {
            Self::Invalid(_) => Code::InvalidArgument,
            Self::DifferentRequest(_) => Code::AlreadyExists,
            Self::TooManyCalls | Self::TooManyWatches | Self::TooManyWatchers => Code::ResourceExhausted,
            Self::LogRefused | Self::NoAnswerInTime | Self::ShuttingDown | Self::WatchedTooLong => Code::Unavailable,
            Self::NotOffered(_) => Code::Unimplemented,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "INVALID_FIELDS",
            Self::DifferentRequest(_) => "DIFFERENT_REQUEST",
            Self::TooManyCalls => "TOO_MANY_CALLS",
            Self::TooManyWatches => "TOO_MANY_WATCHES",
            Self::TooManyWatchers => "TOO_MANY_WATCHERS",
            Self::LogRefused => "LOG_REFUSED",
            Self::NoAnswerInTime => "NO_ANSWER_IN_TIME",
            Self::ShuttingDown => "SHUTTING_DOWN",
            Self::WatchedTooLong => "WATCHED_TOO_LONG",
            Self::NotOffered(_) => "NOT_OFFERED",
        }
    }

    fn metadata(&self) -> HashMap<String, String> {
        match self {
            Self::DifferentRequest(fields) => HashMap::from([("fields".to_owned(), fields.join(","))]),
            Self::Invalid(_)
            | Self::TooManyCalls
            | Self::TooManyWatches
            | Self::TooManyWatchers
            | Self::LogRefused
            | Self::NoAnswerInTime
            | Self::ShuttingDown
            | Self::WatchedTooLong
            | Self::NotOffered(_) => HashMap::new(),
        }
    }

    fn is_retryable(&self) -> bool {
        matches!(self.code(), Code::ResourceExhausted | Code::Unavailable)
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let mut details = ErrorDetails::with_error_info(refusal.reason(), DOMAIN, refusal.metadata());
        if let Refusal::Invalid(violations) = &refusal {
            for Violation { field, description } in violations.as_slice() {
                details.add_bad_request_violation(field.proto_name(), description);
            }
        }
        if refusal.is_retryable() {
            details.set_retry_info(Some(Duration::from_millis(rand::random_range(RETRY_AFTER_MS))));
        }
        Status::with_error_details(refusal.code(), refusal.to_string(), details)
    }
}
