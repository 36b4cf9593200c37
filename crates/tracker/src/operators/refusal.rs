//! Refusals of the operators' API as gRPC errors. Each has an ErrorInfo with its reason, and says
//! whether the request may be sent again. An error that was made elsewhere gets its reason here.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};
use tracing::error;
use twqr_access::AccessRefusal;
use twqr_service::{NO_SUCH_METHOD, NO_SUCH_SERVICE, refusal_details};
use twqr_wire::ops::OperatorRefusalReason;

/// The domain of the error details.
const DOMAIN: &str = "twqr.ops.v1";
/// The prefix of the reasons' names in the contract.
const REASON_PREFIX: &str = "OPERATOR_REFUSAL_REASON_";
/// The delay after which a caller may retry, in ms, unless the refusal has another one.
const RETRY_AFTER_MS: u64 = 1_000;

/// Refuses a call for this reason; `text` is for people.
pub(super) fn refuse(reason: OperatorRefusalReason, text: impl Into<String>) -> Status {
    Status::with_error_details(rule(reason).0, text, details(reason, HashMap::new()))
}

/// The same, with the metadata that the contract names at the reason.
pub(super) fn refuse_with_metadata(reason: OperatorRefusalReason, text: String, (key, value): (&str, u64)) -> Status {
    let metadata = HashMap::from([(key.to_owned(), value.to_string())]);
    Status::with_error_details(rule(reason).0, text, details(reason, metadata))
}

/// Refuses a call that may be sent again after this time.
pub(super) fn refuse_with_delay(reason: OperatorRefusalReason, text: String, after: Duration) -> Status {
    let mut details = details(reason, HashMap::new());
    details.set_retry_info(Some(after));
    Status::with_error_details(rule(reason).0, text, details)
}

/// Refuses a request with all its faults.
pub(super) fn invalid_arguments(violations: Vec<FieldViolation>) -> Status {
    let line = |violation: &FieldViolation| format!("{} {}", violation.field, violation.description);
    let message = violations.iter().map(line).collect::<Vec<_>>().join("; ");
    let reason = OperatorRefusalReason::FieldViolations;
    let mut details = details(reason, HashMap::new());
    details.set_bad_request(violations);
    Status::with_error_details(rule(reason).0, message, details)
}

/// Refuses a request because of one field.
pub(super) fn invalid(field: &str, description: &str) -> Status {
    invalid_arguments(vec![FieldViolation::new(field, description)])
}

/// The answer to a call that is not let in.
pub(super) fn refused(refusal: AccessRefusal) -> Status {
    refuse(access_reason(refusal), format!("{}. Nothing was changed", refusal.text()))
}

/// The end of a stream whose caller is not let in any more.
pub(super) fn stream_ended(refusal: AccessRefusal) -> Status {
    refuse(access_reason(refusal), format!("{}. The stream ends here, and is not complete", refusal.text()))
}

fn access_reason(refusal: AccessRefusal) -> OperatorRefusalReason {
    match refusal {
        AccessRefusal::NotRead => OperatorRefusalReason::CallersNotRead,
        AccessRefusal::NoCredential(_) => OperatorRefusalReason::NoCredential,
        AccessRefusal::Denied(_) => OperatorRefusalReason::CredentialRefused,
        AccessRefusal::Operation(_) | AccessRefusal::Merchant | AccessRefusal::Role(_) => {
            OperatorRefusalReason::NotPermitted
        }
    }
}

/// Says of a closing that failed for this cause that a part of it may be done.
pub(super) fn closing_undecided(cause: &Status) -> Status {
    refuse(OperatorRefusalReason::ClosingUndecided, cause.message())
}

/// The answer to a call of another service than those of the listener.
pub(super) fn unknown_service() -> Status {
    refuse(OperatorRefusalReason::UnknownMethod, format!("{NO_SUCH_SERVICE}. Nothing was changed"))
}

/// The answer to a call of a method that the service does not have.
pub(super) fn unknown_method() -> Status {
    refuse(OperatorRefusalReason::UnknownMethod, format!("{NO_SUCH_METHOD}. Nothing was changed"))
}

/// The reason of an error; `None` if it has none.
pub(super) fn reason_of(status: &Status) -> Option<OperatorRefusalReason> {
    let info = status.get_details_error_info().filter(|info| info.domain == DOMAIN)?;
    OperatorRefusalReason::from_str_name(&format!("{REASON_PREFIX}{}", info.reason))
}

/// Returns the error of a call with a reason: its own, or the one that its code means. Errors
/// without one come from the library, which refuses what it cannot decode before a handler sees it.
/// Their texts may contain a part of the request, so they are not shown.
pub(super) fn explained(status: Status) -> Status {
    if reason_of(&status).is_some() {
        return status;
    }
    let (reason, text) = if status.code() == Code::Internal {
        let text = "the request is not a valid protobuf message of this method; every text must be UTF-8. Nothing was \
                    changed";
        (OperatorRefusalReason::Undecodable, text)
    } else if status.code() == Code::OutOfRange {
        (OperatorRefusalReason::TooLarge, "the request is larger than 4 MiB. Nothing was changed")
    } else if status.code() == Code::Unimplemented {
        (OperatorRefusalReason::Compressed, "the request is compressed; send it uncompressed. Nothing was changed")
    } else {
        return failed(&status);
    };
    refuse(reason, text)
}

/// Returns an error that ends a stream with a reason: its own, or that the tracker failed. The
/// request of the stream was decoded.
pub(super) fn ended(status: Status) -> Status {
    if reason_of(&status).is_some() { status } else { failed(&status) }
}

fn failed(status: &Status) -> Status {
    error!(code = ?status.code(), "a call of the operators' API failed without a reason");
    let text = "the tracker failed to answer; it is not known what it has done";
    refuse(OperatorRefusalReason::InternalError, text)
}

/// The gRPC code of a reason, and whether the same request may succeed later.
fn rule(reason: OperatorRefusalReason) -> (Code, bool) {
    match reason {
        OperatorRefusalReason::Unspecified => (Code::Unknown, false),
        OperatorRefusalReason::FieldViolations
        | OperatorRefusalReason::Undecodable
        | OperatorRefusalReason::TooLarge
        | OperatorRefusalReason::Compressed => (Code::InvalidArgument, false),
        OperatorRefusalReason::NoCredential | OperatorRefusalReason::CredentialRefused => {
            (Code::Unauthenticated, false)
        }
        OperatorRefusalReason::NotPermitted => (Code::PermissionDenied, false),
        OperatorRefusalReason::UnknownMethod => (Code::Unimplemented, false),
        OperatorRefusalReason::NotFound => (Code::NotFound, false),
        OperatorRefusalReason::VersionConflict => (Code::Aborted, false),
        OperatorRefusalReason::PolicyUndecided | OperatorRefusalReason::CallerUndecided => (Code::Unavailable, false),
        OperatorRefusalReason::UnreadableOrder
        | OperatorRefusalReason::ProtocolTooOld
        | OperatorRefusalReason::OlderBuilds => (Code::FailedPrecondition, false),
        OperatorRefusalReason::ClosingTooEarly => (Code::FailedPrecondition, true),
        OperatorRefusalReason::TooManyStreams | OperatorRefusalReason::ReplayRunning => (Code::ResourceExhausted, true),
        OperatorRefusalReason::CallersNotRead
        | OperatorRefusalReason::ClosingUndecided
        | OperatorRefusalReason::PolicyNotRead
        | OperatorRefusalReason::ReadModelUnavailable
        | OperatorRefusalReason::ReadModelBehind
        | OperatorRefusalReason::LogUnavailable => (Code::Unavailable, true),
        OperatorRefusalReason::InternalError => (Code::Internal, false),
    }
}

/// The reason's details: with a delay if the request may be sent again.
fn details(reason: OperatorRefusalReason, metadata: HashMap<String, String>) -> ErrorDetails {
    let retry_after = rule(reason).1.then_some(Duration::from_millis(RETRY_AFTER_MS));
    refusal_details(DOMAIN, reason.as_str_name().trim_start_matches(REASON_PREFIX), retry_after, metadata)
}

#[cfg(test)]
mod tests;
