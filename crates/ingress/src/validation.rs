//! Checks requests against the limits of the contract, before anything is looked up or appended. A
//! refusal lists every violation.

use twqr_types::{PayForm, QueryForm, RawPay, RawQuery, RawRefund, RefundForm, ShardCount, ShardId, TradeNo, UnixMs};

use crate::{answers::InquiryType, refusal::Refusal};

/// A refund request within all limits.
pub(crate) enum ParsedRefund {
    /// Its TradeNo is one of this system.
    Ours(RefundForm),
    /// Its TradeNo was not given out by this system, so there is no such payment.
    Foreign(RawRefund),
}

/// Checks a payment, or a cancel, which has the same fields.
pub(crate) fn parse_pay(request: RawPay) -> Result<PayForm, Refusal> {
    PayForm::parse(request).map_err(Refusal::Invalid)
}

/// Checks a refund, for a system with this many shards.
pub(crate) fn parse_refund(request: RawRefund, shards: ShardCount) -> Result<ParsedRefund, Refusal> {
    if is_foreign(&request.trade_no, shards) {
        // As if the TradeNo was ours: the answer repeats the other fields.
        let trade_no = TradeNo::new(ShardId(0), 0, UnixMs(0)).to_string();
        RefundForm::parse(RawRefund { trade_no, ..request.clone() }).map_err(Refusal::Invalid)?;
        return Ok(ParsedRefund::Foreign(request));
    }
    RefundForm::parse(request).map(ParsedRefund::Ours).map_err(Refusal::Invalid)
}

/// Whether a TradeNo is a text of a valid length, but was not given out by this system. Any other
/// TradeNo is left to the form, which refuses it unless it is ours.
fn is_foreign(trade_no: &str, shards: ShardCount) -> bool {
    let has_valid_length = (1..=TradeNo::LEN).contains(&trade_no.chars().count());
    let is_text = !trade_no.chars().any(char::is_control);
    let is_ours = |number: TradeNo| number.shard().0 < shards.0.get();
    has_valid_length && is_text && !TradeNo::parse(trade_no).is_ok_and(is_ours)
}

/// Checks an inquiry or a watch. `inquiry_type` is absent if the request's type is neither payment
/// nor refund.
pub(crate) fn parse_inquiry(
    request: RawQuery,
    inquiry_type: Option<InquiryType>,
) -> Result<(QueryForm, InquiryType), Refusal> {
    match (QueryForm::parse(request), inquiry_type) {
        (Ok(form), Some(inquiry_type)) => Ok((form, inquiry_type)),
        (Ok(_), None) => Err(Refusal::inquiry_type()),
        (Err(violations), inquiry_type) => Err(Refusal::invalid_inquiry(violations, inquiry_type.is_some())),
    }
}
