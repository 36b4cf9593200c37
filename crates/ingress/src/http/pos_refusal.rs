//! Refusals as the POS HTTP form answers them: a StatusCode, and a StatusDesc with the POS
//! document's field names.

use tonic::Code;
use twqr_access::{AccessRefusal, Verdict};
use twqr_types::{Field, StatusCode, Violation, Violations};

use super::{json::JsonFault, message_signature::SignatureFault};
use crate::refusal::{KEY_REFUSED_TEXT, REPLAYED_TEXT, Refusal, conflict_text};

/// The parser's description of a field that is missing (`twqr_types`).
const REQUIRED: &str = "is required and must not be empty";

/// A refusal of the POS HTTP form.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PosRefusal {
    pub(super) status_code: StatusCode,
    /// The StatusDesc, for people. It may contain amounts of the request, but none of its other
    /// values.
    pub(super) desc: String,
    /// The gRPC code by which metrics count the refusal.
    pub(super) code: Code,
    /// What the log of who called says of it.
    pub(super) verdict: Verdict,
}

impl From<JsonFault> for PosRefusal {
    fn from(JsonFault(what): JsonFault) -> Self {
        Self {
            status_code: StatusCode::UNPARSABLE,
            desc: format!("cannot be parsed: {what}"),
            code: Code::InvalidArgument,
            verdict: Verdict::Request("unparsable"),
        }
    }
}

impl PosRefusal {
    /// The signature is missing or wrong, or the merchant is unknown. The answer does not say
    /// which, so that it does not reveal which merchants exist.
    pub(super) fn not_signed() -> Self {
        Self::of_signature(SignatureFault::NotSigned)
    }

    /// The message signature does not let the request in. Only a caller with a key learns more than
    /// that it is not signed.
    pub(super) fn of_signature(fault: SignatureFault) -> Self {
        let (status_code, desc) = match fault {
            SignatureFault::NotSigned => (
                StatusCode::BAD_SIGNATURE,
                "Sign, or the message signature, is missing or wrong for this MerchantID; nothing was changed",
            ),
            SignatureFault::Incomplete => (
                StatusCode::BAD_SIGNATURE,
                "the message signature must cover @method, @path and content-digest, and have created, keyid, alg and a \
                 nonce of 16 to 128 characters; created and expires are integers; nothing was changed",
            ),
            SignatureFault::TooMany => (
                StatusCode::BAD_SIGNATURE,
                "the request has more than four message signatures: send one of this MerchantID beside those of at \
                 most three proxies; nothing was changed",
            ),
            SignatureFault::Several => (
                StatusCode::BAD_SIGNATURE,
                "the request has several valid message signatures of this MerchantID, must have one; nothing was changed",
            ),
            SignatureFault::Digest => (
                StatusCode::BAD_SIGNATURE,
                "Content-Digest must have sha-256 or sha-512 of the body as it was sent; nothing was changed",
            ),
            SignatureFault::Untimely => (
                StatusCode::EXPIRED,
                "the message signature is older than 300 s, has expired, or was created in the future; nothing was \
                 changed, sign the request again",
            ),
        };
        let reason = if fault == SignatureFault::Untimely { "out-of-time" } else { "signature" };
        Self { status_code, desc: desc.to_owned(), code: Code::Unauthenticated, verdict: Verdict::Sender(reason) }
    }

    /// Message signatures cannot be checked for replays yet.
    pub(super) fn without_nonces() -> Self {
        let desc =
            "message signatures are not accepted: they need protocol_version 3 in the policy; nothing was accepted";
        let (status_code, code) = (StatusCode::SYSTEM_FAILED, Code::Unavailable);
        Self { status_code, desc: desc.to_owned(), code, verdict: Verdict::LetIn }
    }

    /// SendTime is missing, or differs from the router's time by more than this many seconds.
    pub(super) fn outside_window(window_s: u32) -> Self {
        let desc = format!(
            "SendTime is missing or differs by more than {window_s} s from the router's time; nothing was changed"
        );
        let verdict = Verdict::Sender("out-of-time");
        Self { status_code: StatusCode::EXPIRED, desc, code: Code::Unauthenticated, verdict }
    }

    /// Converts a refusal of the API. `trade_amount` is the request's, if it has one.
    pub(super) fn new(refusal: &Refusal, trade_amount: Option<i64>) -> Self {
        let (status_code, desc) = match refusal {
            Refusal::Invalid(violations) => invalid(violations, trade_amount),
            Refusal::Conflict(fields) => (StatusCode::REPEAT_DIFFERS, conflict_text(fields)),
            // Not 904, after which nothing is charged: the first copy may be.
            Refusal::Replayed => (StatusCode::SYSTEM_FAILED, REPLAYED_TEXT.to_owned()),
            Refusal::KeyRefused => (StatusCode::BAD_SIGNATURE, KEY_REFUSED_TEXT.to_owned()),
            Refusal::Access(AccessRefusal::NotRead) => (
                StatusCode::SYSTEM_FAILED,
                "this instance accepts no requests yet, nothing was accepted; send it again with the same MerchantTradeNo".to_owned(),
            ),
            Refusal::Access(refusal) => (StatusCode::BAD_SIGNATURE, format!("{}; nothing was changed", refusal.text())),
            Refusal::TooManyCalls
            | Refusal::TooManyOpen(_)
            | Refusal::TooManyWatches
            | Refusal::TooManyWatchers
            | Refusal::RateExceeded(..)
            | Refusal::ConcurrencyExceeded(..) => (
                StatusCode::SYSTEM_FAILED,
                "too busy, nothing was accepted; send it again with the same MerchantTradeNo".to_owned(),
            ),
            Refusal::WrongClock => (
                StatusCode::SYSTEM_FAILED,
                "this instance accepts no requests now, nothing was accepted; send it again with the same MerchantTradeNo".to_owned(),
            ),
            Refusal::NotAccepted | Refusal::NoAnswer | Refusal::ShuttingDown => (
                StatusCode::SYSTEM_FAILED,
                "there is no answer yet, and no final result is known; send it again with the same MerchantTradeNo".to_owned(),
            ),
        };
        Self { status_code, desc, code: refusal.code(), verdict: refusal.verdict() }
    }
}

/// Describes every violation. The StatusCode is that of the gravest one: a missing field, then an
/// amount that is not above 0, then any other.
fn invalid(violations: &Violations, trade_amount: Option<i64>) -> (StatusCode, String) {
    let violations = violations.as_slice();
    let described: Vec<String> = violations.iter().map(|violation| describe(violation, trade_amount)).collect();
    let has_missing = described.iter().any(|text| text.ends_with(REQUIRED));
    let is_not_above_zero = trade_amount.is_some_and(|amount| amount <= 0)
        && violations.iter().any(|violation| violation.field == Field::TradeAmount);
    let status_code =
        if is_not_above_zero && !has_missing { StatusCode::AMOUNT_NOT_POSITIVE } else { StatusCode::PARAMETER_MISSING };
    (status_code, described.join("; "))
}

fn describe(violation: &Violation, trade_amount: Option<i64>) -> String {
    let name = violation.field.pos_name();
    if violation.field == Field::InquiryType {
        format!("{name}: must be P (payment) or R (refund)")
    } else if violation.field == Field::TradeAmount && trade_amount.is_none() {
        // The parser was given 0 for an absent amount.
        format!("{name}: {REQUIRED}")
    } else {
        format!("{name}: {}", violation.description)
    }
}

#[cfg(test)]
mod tests {
    use twqr_access::MissingCredential;

    use super::*;

    fn invalid(violations: &[(Field, &str)]) -> Refusal {
        let mut all = Violations::default();
        for (field, description) in violations {
            all.add(*field, *description);
        }
        Refusal::Invalid(all)
    }

    #[test]
    fn each_fault_of_a_message_signature_has_its_code_and_its_own_text() {
        use SignatureFault::{Digest, Incomplete, NotSigned, Several, TooMany, Untimely};
        for (fault, code, expected) in [
            (NotSigned, "904", "missing or wrong for this MerchantID"),
            (Incomplete, "904", "must cover @method, @path and content-digest"),
            (TooMany, "904", "more than four message signatures"),
            (Several, "904", "several valid message signatures"),
            (Digest, "904", "Content-Digest must have"),
            (Untimely, "906", "older than 300 s"),
        ] {
            let pos = PosRefusal::of_signature(fault);
            assert_eq!((pos.status_code.as_str(), pos.code), (code, Code::Unauthenticated), "{pos:?}");
            assert!(pos.desc.contains(expected) && pos.desc.contains("nothing was changed"), "{pos:?}");
        }
    }

    #[test]
    fn each_refusal_has_its_code_and_names_fields_as_the_pos_document_does() {
        let (empty, zero, long) = (REQUIRED, "is 0, must be above 0 (whole TWD)", "is 21 characters long");
        let store = (Field::StoreId, long);
        let conflict = |fields: &[&str]| Refusal::Conflict(fields.iter().map(|field| (*field).to_owned()).collect());
        for (refusal, amount, code, expected) in [
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
            (Refusal::inquiry_type(), None, "804", "InquiryType: must be P (payment) or R (refund)"),
            (conflict(&["TradeAmount", "CardToken"]), Some(1), "804", "TradeAmount, CardToken"),
            (conflict(&["CardToken"]), Some(1), "804", "to cancel it, send its original values; only another"),
            (Refusal::KeyRefused, Some(1), "904", "is not accepted by the policy"),
            (
                Refusal::Replayed,
                Some(1),
                "301",
                "sign the same request again with a new nonce and the same MerchantTradeNo",
            ),
            (AccessRefusal::NotRead.into(), Some(1), "301", "accepts no requests yet"),
            (AccessRefusal::NoCredential(MissingCredential::Either).into(), Some(1), "904", "Bearer KEY"),
            (AccessRefusal::Merchant.into(), Some(1), "904", "does not act for this merchant; nothing was changed"),
            (Refusal::TooManyCalls, Some(1), "301", "nothing was accepted"),
            (Refusal::NoAnswer, None, "301", "send it again"),
        ] {
            let pos = PosRefusal::new(&refusal, amount);
            assert_eq!((pos.status_code.as_str(), pos.code), (code, refusal.code()), "{pos:?}");
            assert!(pos.desc.contains(expected), "{pos:?} does not contain {expected:?}");
        }
    }
}
