//! Refusals as gRPC errors, with the details that a caller's program can read.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use twqr_types::{Violation, Violations};

use crate::refusal::{KEY_REFUSED_TEXT, Refusal, conflict_text};

/// The domain of the error details.
const DOMAIN: &str = "twqr.pos.v1";
/// The delay after which a caller may retry a call that was refused because of load or time, in ms.
const RETRY_AFTER_MS: u64 = 200;

/// Converts a refusal.
pub(super) fn status(refusal: &Refusal) -> Status {
    let code = refusal.code();
    match refusal {
        Refusal::Invalid(violations) => invalid(code, violations),
        Refusal::Conflict(fields) => conflict(code, fields),
        Refusal::KeyRefused => Status::new(code, KEY_REFUSED_TEXT),
        Refusal::TooManyCalls => retryable(
            code,
            "too many calls are pending; nothing was accepted, retry with the same merchant_trade_no".to_owned(),
        ),
        Refusal::TooManyWatches => retryable(
            code,
            "too many watches are open at this instance (a quarter of calls_max); watch the order again later, or use Query"
                .to_owned(),
        ),
        Refusal::TooManyWatchers => {
            retryable(code, "too many callers watch this order already; use Query".to_owned())
        }
        Refusal::NotAccepted(reason) => retryable(
            code,
            format!("the request was not accepted ({reason}); retry with the same merchant_trade_no"),
        ),
        Refusal::NoAnswer => retryable(code, "no answer in time; send the request again".to_owned()),
        Refusal::ShuttingDown => {
            retryable(code, "this instance shuts down; watch the order again".to_owned())
        }
        Refusal::WrongClock => retryable(
            code,
            "the clock of this instance is wrong; nothing was accepted, retry with the same merchant_trade_no".to_owned(),
        ),
    }
}

/// The error of a PayStream that is not opened.
pub(super) fn too_many_streams() -> Status {
    retryable(
        Code::ResourceExhausted,
        "too many payment streams are open at this instance (streams_max); nothing was accepted, open one later, or use Pay"
            .to_owned(),
    )
}

/// The last message of a PayStream at shutdown, after the answers of all requests that were taken.
pub(super) fn stream_shuts_down() -> Status {
    retryable(
        Code::Unavailable,
        "this instance shuts down; requests without an answer were not accepted, send them again over another stream"
            .to_owned(),
    )
}

/// The last message of a PayStream after a request that cannot be read, for this reason.
pub(super) fn stream_is_unreadable(problem: &str) -> Status {
    Status::invalid_argument(format!(
        "{problem}. The stream ends here; this request and later ones, which have no answer, were not accepted"
    ))
}

fn invalid(code: Code, violations: &Violations) -> Status {
    let mut details = ErrorDetails::with_error_info("FIELD_VIOLATIONS", DOMAIN, HashMap::new());
    for Violation { field, description } in violations.as_slice() {
        details.add_bad_request_violation(field.proto_name(), description);
    }
    Status::with_error_details(code, violations.to_string(), details)
}

fn conflict(code: Code, fields: &[String]) -> Status {
    let metadata = HashMap::from([("fields".to_owned(), fields.join(", "))]);
    let details = ErrorDetails::with_error_info("ORDER_CONFLICT", DOMAIN, metadata);
    Status::with_error_details(code, conflict_text(fields), details)
}

/// An error after which a later attempt may succeed.
fn retryable(code: Code, message: String) -> Status {
    let details = ErrorDetails::with_retry_info(Some(Duration::from_millis(RETRY_AFTER_MS)));
    Status::with_error_details(code, message, details)
}
