//! What is told of a payment.

use twqr_types::{StatusCode, UnixMs};
use twqr_wire::{
    bus::{self, movement::Phase},
    pos::{OrderStatus, PayRequest, PayResponse, PaymentType},
};

use super::{SUCCESS_DESC, cancel, card_json};

/// StatusDesc while nothing final is known.
const IN_PROGRESS: &str = "the payment is in progress; query it with the same MerchantTradeNo";
/// StatusDesc where it is not known yet whether the payment was accepted. There is no TradeNo then,
/// and an inquiry may find nothing.
const UNCONFIRMED: &str =
    "the payment is in progress and not confirmed yet; send it again with the same MerchantTradeNo";

/// The response that tells what is known of a payment. `in_progress` is the StatusCode while
/// nothing final is.
pub(crate) fn pay_response(payment: bus::Payment, in_progress: StatusCode, repeat: bool) -> PayResponse {
    let terms = payment.terms.unwrap_or_default();
    let key = payment.key.unwrap_or_default();
    let mut response = PayResponse {
        merchant_id: key.merchant_id,
        merchant_trade_no: key.merchant_trade_no,
        store_id: terms.store_id,
        gateway_trade_no: terms.gateway_trade_no,
        pos_id: terms.pos_id,
        trade_no: payment.trade_no,
        trade_time: UnixMs(payment.accepted_at_ms).taipei(),
        is_rep: repeat,
        trade_amount: terms.trade_amount,
        remark: terms.remark,
        extra1: terms.extra1,
        extra2: terms.extra2,
        ..PayResponse::default()
    };
    if !payment.institution.is_empty() {
        response.payment_type = PaymentType::OtherIssuer.into();
        response.extra3 = payment.institution;
    }
    match payment.charge.and_then(|charge| charge.phase) {
        Some(Phase::Approved(approval)) => paid(&mut response, approval),
        Some(Phase::Failed(failure)) => {
            response.status_code = failure.status_code;
            response.status_desc = failure.status_desc;
        }
        Some(Phase::Sent(_) | Phase::UnresolvedMs(_) | Phase::Asking(_) | Phase::Refunded(_) | Phase::Reversed(_))
        | None => {
            response.status_code = in_progress.into();
            IN_PROGRESS.clone_into(&mut response.status_desc);
        }
    }
    // After a cancel that succeeded a payment is refused, whatever it was (POS API, section 4).
    if payment.cancel.as_ref().is_some_and(|cancel| cancel::is_done(cancel) && !cancel.by_itself) {
        response.status_code = StatusCode::CANCELLED.into();
        "the payment was cancelled".clone_into(&mut response.status_desc);
    }
    response
}

fn paid(response: &mut PayResponse, approval: bus::Approval) {
    response.status_code = StatusCode::SUCCESS.into();
    SUCCESS_DESC.clone_into(&mut response.status_desc);
    if response.payment_type() == PaymentType::Unspecified {
        response.payment_type = approval.payment_type;
        if approval.payment_type() == PaymentType::CreditCard {
            response.extra3 = card_json(&approval.card_name, &approval.card_no_masked);
        }
    }
    response.debit_amount = approval.debit_amount;
    response.redeem_name = approval.redeem_name;
    response.redeem_amount = approval.redeem_amount;
    response.store_redeem_amount = approval.store_redeem_amount;
    response.invoice_vehicle = approval.invoice_vehicle;
    response.mer_mem_token = approval.mer_mem_token;
}

/// OrderStatus (POS API, section 2). A cancelled payment is fully refunded; while a cancel is in
/// progress, so is the order.
pub(super) fn order_status(payment: &bus::Payment) -> OrderStatus {
    match payment.charge.as_ref().and_then(|charge| charge.phase.as_ref()) {
        Some(Phase::Approved(_)) => {}
        Some(Phase::Failed(_)) => return OrderStatus::Failed,
        Some(Phase::Sent(_) | Phase::UnresolvedMs(_) | Phase::Asking(_) | Phase::Refunded(_) | Phase::Reversed(_))
        | None => return OrderStatus::InProgress,
    }
    match &payment.cancel {
        Some(cancel) if cancel::is_done(cancel) => return OrderStatus::FullyRefunded,
        Some(cancel) if cancel::is_open(cancel) => return OrderStatus::InProgress,
        Some(_) | None => {}
    }
    let took_effect = |entry: &&bus::RefundEntry| {
        let phase = entry.refund.as_ref().and_then(|refund| refund.phase.as_ref());
        matches!(phase, Some(Phase::Refunded(_))) || entry.took_effect_after_all
    };
    let refunded: i64 = payment.refunds.iter().filter(took_effect).map(|entry| entry.amount).sum();
    let trade_amount = payment.terms.as_ref().map_or(0, |terms| terms.trade_amount);
    match refunded {
        0 => OrderStatus::Paid,
        all if all >= trade_amount => OrderStatus::FullyRefunded,
        _ => OrderStatus::PartlyRefunded,
    }
}

/// What a caller gets at its deadline where nobody knows yet whether the payment was accepted.
pub(crate) fn unconfirmed_payment(request: &PayRequest, in_progress: StatusCode) -> PayResponse {
    PayResponse {
        merchant_id: request.merchant_id.clone(),
        store_id: request.store_id.clone(),
        gateway_trade_no: request.gateway_trade_no.clone(),
        merchant_trade_no: request.merchant_trade_no.clone(),
        pos_id: request.pos_id.clone(),
        status_code: in_progress.into(),
        status_desc: UNCONFIRMED.to_owned(),
        trade_amount: request.trade_amount,
        remark: request.remark.clone(),
        extra1: request.extra1.clone(),
        extra2: request.extra2.clone(),
        ..PayResponse::default()
    }
}
