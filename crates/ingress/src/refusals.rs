//! Refusals: gRPC errors with their details. A refusal means that nothing was accepted and nothing
//! was charged.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use tracing::warn;
use twqr_journal::JournalError;
use twqr_types::{Field, Violation, Violations};

const DOMAIN: &str = "twqr.pos.v1";
/// When a shed caller may come again, in ms.
const RETRY_AFTER_MS: u64 = 200;

/// Every violation of a request.
pub(crate) fn invalid(violations: &Violations) -> Status {
    let mut details = ErrorDetails::with_error_info("FIELD_VIOLATIONS", DOMAIN, HashMap::new());
    for Violation { field, description } in violations.as_slice() {
        details.add_bad_request_violation(field.proto_name(), description);
    }
    Status::with_error_details(Code::InvalidArgument, violations.to_string(), details)
}

/// The inquiry type says neither payment nor refund.
pub(crate) fn inquiry_type() -> Violations {
    let mut violations = Violations::default();
    violations.add(Field::InquiryType, "must be INQUIRY_TYPE_PAYMENT or INQUIRY_TYPE_REFUND");
    violations
}

/// The order exists with another request.
pub(crate) fn conflict(fields: &[String]) -> Status {
    let fields = fields.join(", ");
    let message = conflict_text(&fields);
    let metadata = HashMap::from([("fields".to_owned(), fields)]);
    Status::with_error_details(
        Code::AlreadyExists,
        message,
        ErrorDetails::with_error_info("ORDER_CONFLICT", DOMAIN, metadata),
    )
}

/// What to do about it, true for every operation: a new number would charge again, give back again,
/// or cancel nothing.
pub(crate) fn conflict_text(fields: &str) -> String {
    format!(
        "MerchantTradeNo was used for another request; these fields differ: {fields}. Nothing was changed. To repeat the order, or to \
         cancel it, send its own values; only another payment or another refund takes a new MerchantTradeNo"
    )
}

/// The rules do not count the merchant's key with which the request was signed.
pub(crate) fn key_refused() -> Status {
    Status::unauthenticated("the merchant's key with which this was signed does not count; nothing was changed")
}

/// Too many calls wait.
pub(crate) fn shed() -> Status {
    let message = "too many calls wait already; nothing was accepted, retry with the same merchant_trade_no";
    retry(Code::ResourceExhausted, message.to_owned())
}

/// Too many watch the order.
pub(crate) fn too_many_watchers() -> Status {
    retry(Code::ResourceExhausted, "too many callers watch this order already; use Query".to_owned())
}

/// The journal did not take the record.
pub(crate) fn not_accepted(error: &JournalError) -> Status {
    warn!(%error, "a call was refused: the journal did not take its record");
    retry(Code::Unavailable, format!("the request was not accepted ({error}); retry with the same merchant_trade_no"))
}

/// No answer in time to a question that changes nothing.
pub(crate) fn no_answer() -> Status {
    retry(Code::Unavailable, "no answer in time; ask again".to_owned())
}

/// The service goes away; another instance, or the next one here, goes on.
pub(crate) fn shutting_down() -> Status {
    retry(Code::Unavailable, "this instance shuts down; watch the order again".to_owned())
}

/// Too many watches are open here.
pub(crate) fn too_many_watches() -> Status {
    let message = "too many watches are open at this instance (a quarter of calls_max); watch the order again later, or use Query";
    retry(Code::ResourceExhausted, message.to_owned())
}

/// An error that may be over when the caller comes again.
fn retry(code: Code, message: String) -> Status {
    let details = ErrorDetails::with_retry_info(Some(Duration::from_millis(RETRY_AFTER_MS)));
    Status::with_error_details(code, message, details)
}
