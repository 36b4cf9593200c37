//! Refusals in the form's words: the StatusCode of each (POS API, section 3), and a StatusDesc with
//! the POS document's field names.

use tonic::{Code, Status};
use tonic_types::{FieldViolation, StatusExt};
use twqr_types::{Field, StatusCode};

use super::json::Fault;
use crate::refusals::conflict_text;

/// Nothing was accepted, and why.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// What the POS gets.
    pub(super) status_code: StatusCode,
    /// For people; without any value of the request but amounts.
    pub(super) desc: String,
    /// As the same refusal counts on the gRPC side.
    pub(super) code: Code,
}

impl From<Fault> for Refusal {
    fn from(Fault(what): Fault) -> Self {
        Self {
            status_code: StatusCode::UNPARSABLE,
            desc: format!("cannot be parsed: {what}"),
            code: Code::InvalidArgument,
        }
    }
}

/// The signature is missing or wrong, or nobody knows the merchant: which of them is not said.
pub(super) fn not_signed() -> Refusal {
    let desc = "Sign is missing or wrong for this MerchantID; nothing was changed";
    Refusal { status_code: StatusCode::BAD_SIGNATURE, desc: desc.to_owned(), code: Code::Unauthenticated }
}

/// What the call itself refused. `trade_amount` is the request's, none if it has none.
pub(super) fn of(status: &Status, trade_amount: Option<i64>) -> Refusal {
    let code = status.code();
    let (status_code, desc) = match code {
        Code::InvalidArgument => violated(status, trade_amount),
        Code::AlreadyExists => (StatusCode::REPEAT_DIFFERS, conflict(status)),
        Code::Unauthenticated => (StatusCode::BAD_SIGNATURE, status.message().to_owned()),
        Code::ResourceExhausted => (
            StatusCode::SYSTEM_FAILED,
            "too busy, nothing was accepted; send it again with the same MerchantTradeNo".to_owned(),
        ),
        Code::Unavailable => (
            StatusCode::SYSTEM_FAILED,
            "no answer now, nothing final is known; send it again with the same MerchantTradeNo".to_owned(),
        ),
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss => (StatusCode::UNDEFINED_ERROR, status.message().to_owned()),
    };
    Refusal { status_code, desc, code }
}

/// Every violation, and the StatusCode of the gravest: what is missing, then an amount that is not
/// above 0, then the others.
fn violated(status: &Status, trade_amount: Option<i64>) -> (StatusCode, String) {
    let violations = status.get_details_bad_request().map(|details| details.field_violations).unwrap_or_default();
    let described: Vec<String> = violations.iter().map(|violation| describe(violation, trade_amount)).collect();
    let missing = described.iter().any(|text| text.ends_with(REQUIRED));
    let not_above_zero = trade_amount.is_some_and(|amount| amount <= 0)
        && violations.iter().any(|violation| field(violation) == Some(Field::TradeAmount));
    let status_code =
        if not_above_zero && !missing { StatusCode::AMOUNT_NOT_POSITIVE } else { StatusCode::PARAMETER_MISSING };
    (status_code, described.join("; "))
}

/// How the types say that a field is missing.
const REQUIRED: &str = "is required and must not be empty";

fn describe(violation: &FieldViolation, trade_amount: Option<i64>) -> String {
    let field = field(violation);
    let name = field.map_or(violation.field.as_str(), |field| field.pos_name());
    match field {
        Some(Field::InquiryType) => format!("{name}: must be P (payment) or R (refund)"),
        Some(Field::TradeAmount) if trade_amount.is_none() => format!("{name}: {REQUIRED}"),
        Some(_) | None => format!("{name}: {}", violation.description),
    }
}

fn field(violation: &FieldViolation) -> Option<Field> {
    Field::from_proto_name(&violation.field)
}

/// The fields that differ have the POS document's names already.
fn conflict(status: &Status) -> String {
    let info = status.get_details_error_info();
    let fields = info.as_ref().and_then(|info| info.metadata.get("fields")).map_or("", String::as_str);
    conflict_text(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusals;
    use twqr_types::Violations;

    fn invalid(violations: &[(Field, &str)]) -> Status {
        let mut all = Violations::default();
        for (field, description) in violations {
            all.add(*field, *description);
        }
        refusals::invalid(&all)
    }

    #[test]
    fn each_refusal_has_its_code_and_names_fields_as_the_pos_document_does() {
        let (empty, zero, long) = (REQUIRED, "is 0, must be above 0 (whole TWD)", "is 21 characters long");
        let store = (Field::StoreId, long);
        for (status, amount, code, expected) in [
            (invalid(&[(Field::MerchantTradeNo, empty)]), Some(1), "804", "MerchantTradeNo: is required"),
            (invalid(&[(Field::TradeAmount, zero)]), Some(0), "940", "TradeAmount: is 0, must be above 0"),
            (invalid(&[(Field::TradeAmount, zero)]), None, "804", "TradeAmount: is required"),
            (
                invalid(&[store, (Field::TradeAmount, zero)]),
                Some(0),
                "940",
                "StoreID: is 21 characters long; TradeAmount",
            ),
            (invalid(&[(Field::PosId, empty), (Field::TradeAmount, zero)]), Some(0), "804", "PosID: is required"),
            (invalid(&[store]), Some(1), "804", "StoreID: is 21 characters long"),
            (
                refusals::invalid(&refusals::inquiry_type()),
                None,
                "804",
                "InquiryType: must be P (payment) or R (refund)",
            ),
            (refusals::conflict(&["TradeAmount".into(), "CardToken".into()]), Some(1), "804", "TradeAmount, CardToken"),
            (
                refusals::conflict(&["CardToken".into()]),
                Some(1),
                "804",
                "to cancel it, send its own values; only another",
            ),
            (refusals::key_refused(), Some(1), "904", "does not count"),
            (refusals::shed(), Some(1), "301", "nothing was accepted"),
            (refusals::no_answer(), None, "301", "send it again"),
        ] {
            let refusal = of(&status, amount);
            assert_eq!((refusal.status_code.as_str(), refusal.code), (code, status.code()), "{refusal:?}");
            assert!(refusal.desc.contains(expected), "{refusal:?} has not {expected:?}");
        }
    }
}
