//! What each refusal of the operators' API says to programs.

#![allow(clippy::panic, clippy::missing_panics_doc, unreachable_pub, reason = "a test fails by panicking")]

use tonic::Status;
use tonic_types::StatusExt;
use twqr_wire::ops::OperatorRefusalReason;

/// The reason of a refusal, which must be one of the contract, and say whether to send it again.
pub fn reason_of(refused: &Status) -> String {
    let info = refused.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo: {refused:?}"));
    let known = OperatorRefusalReason::from_str_name(&format!("OPERATOR_REFUSAL_REASON_{}", info.reason));
    assert!(known.is_some_and(|reason| reason != OperatorRefusalReason::Unspecified), "{refused:?}");
    let is_retryable = refused.get_details_retry_info().is_some();
    let said = |key: &str| info.metadata.get(key).map_or("", String::as_str);
    let expected = ("twqr.ops.v1", if is_retryable { "true" } else { "false" }, "no");
    assert_eq!((info.domain.as_str(), said("retryable"), said("charged")), expected, "{refused:?}");
    info.reason
}
