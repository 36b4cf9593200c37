//! What is told of a refund.

use twqr_types::{StatusCode, UnixMs};
use twqr_wire::{
    bus::{self, refund::Phase},
    pos::{OrderStatus, PaymentType, RefundRequest, RefundResponse},
};

use super::{SUCCESS_DESC, card_json};

/// StatusDesc while nothing final is known.
const IN_PROGRESS: &str = "the refund is in progress; query it with its MerchantTradeNo and InquiryType R";
/// StatusDesc where it is not known yet whether the refund was accepted.
const UNCONFIRMED: &str =
    "the refund is in progress and not confirmed yet; send it again with the same MerchantTradeNo";

/// The response that tells what is known of a refund. `in_progress` is the StatusCode while nothing
/// final is.
pub(crate) fn refund_response(refund: bus::Refund, in_progress: StatusCode, repeat: bool) -> RefundResponse {
    let terms = refund.terms.unwrap_or_default();
    let key = refund.key.unwrap_or_default();
    let mut response = RefundResponse {
        merchant_id: key.merchant_id,
        merchant_trade_no: key.merchant_trade_no,
        store_id: terms.store_id,
        gateway_trade_no: terms.gateway_trade_no,
        pos_id: terms.pos_id,
        trade_no: refund.payment_trade_no,
        refund_trade_no: refund.trade_no,
        refund_trade_time: UnixMs(refund.accepted_at_ms).taipei(),
        is_rep: repeat,
        trade_amount: terms.trade_amount,
        remark: terms.remark,
        extra1: terms.extra1,
        extra2: terms.extra2,
        ..RefundResponse::default()
    };
    match refund.phase {
        Some(Phase::Succeeded(success)) => succeeded(&mut response, success),
        Some(Phase::Failed(failure)) => {
            response.status_code = failure.status_code;
            response.status_desc = failure.status_desc;
        }
        Some(Phase::AskAgainMs(_)) | None => {
            response.status_code = in_progress.into();
            IN_PROGRESS.clone_into(&mut response.status_desc);
        }
    }
    response
}

fn succeeded(response: &mut RefundResponse, success: bus::RefundSuccess) {
    response.status_code = StatusCode::SUCCESS.into();
    SUCCESS_DESC.clone_into(&mut response.status_desc);
    let refunded = success.refunded.clone().unwrap_or_default();
    response.debit_amount = refunded.debit_amount;
    response.redeem_name = refunded.redeem_name;
    response.redeem_amount = refunded.redeem_amount;
    response.store_redeem_amount = refunded.store_redeem_amount;
    if success.institution.is_empty() {
        response.payment_type = success.payment_type;
        if success.payment_type() == PaymentType::CreditCard {
            response.extra3 = card_json(&success.card_name, &success.card_no_masked);
        }
    } else {
        response.payment_type = PaymentType::OtherIssuer.into();
        response.extra3 = success.institution;
    }
    response.invoice_vehicle = success.invoice_vehicle;
    response.mer_mem_token = success.mer_mem_token;
}

/// OrderStatus (POS API, section 2).
pub(super) fn order_status(refund: &bus::Refund) -> OrderStatus {
    match refund.phase {
        Some(Phase::Succeeded(_)) => OrderStatus::RefundSucceeded,
        Some(Phase::Failed(_)) => OrderStatus::Failed,
        Some(Phase::AskAgainMs(_)) | None => OrderStatus::InProgress,
    }
}

/// The request's own fields.
fn echoes(request: &RefundRequest) -> RefundResponse {
    RefundResponse {
        merchant_id: request.merchant_id.clone(),
        store_id: request.store_id.clone(),
        gateway_trade_no: request.gateway_trade_no.clone(),
        merchant_trade_no: request.merchant_trade_no.clone(),
        pos_id: request.pos_id.clone(),
        trade_no: request.trade_no.clone(),
        trade_amount: request.trade_amount,
        remark: request.remark.clone(),
        extra1: request.extra1.clone(),
        extra2: request.extra2.clone(),
        ..RefundResponse::default()
    }
}

/// What a caller gets at its deadline where nobody knows yet whether the refund was accepted.
pub(crate) fn unconfirmed_refund(request: &RefundRequest, in_progress: StatusCode) -> RefundResponse {
    RefundResponse { status_code: in_progress.into(), status_desc: UNCONFIRMED.to_owned(), ..echoes(request) }
}

/// The TradeNo is none of this router's: there is no such payment, and nothing was accepted.
pub(crate) fn no_such_payment(request: &RefundRequest) -> RefundResponse {
    RefundResponse {
        status_code: StatusCode::NO_SUCH_ORDER.into(),
        status_desc: "there is no payment with this TradeNo; nothing was accepted".to_owned(),
        ..echoes(request)
    }
}
