//! Answers: from the order as the router knows it to the POS document's response fields.

use twqr_types::UnixMs;
use twqr_wire::{
    bus::{self, payment::Phase},
    pos::{OrderStatus, PayResponse, PaymentType, QueryResponse},
};

/// StatusCode 000: success.
const SUCCESS: &str = "000";
/// StatusCode 916: no such order.
const NO_SUCH_ORDER: &str = "916";

/// Paid or failed.
pub(crate) fn is_final(payment: &bus::Payment) -> bool {
    matches!(payment.phase, Some(Phase::Paid(_) | Phase::Failed(_)))
}

/// The response that tells what is known of a payment. `in_progress` is the StatusCode while nothing final is.
pub(crate) fn pay_response(payment: bus::Payment, in_progress: &str, repeat: bool) -> PayResponse {
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
    match payment.phase {
        Some(Phase::Paid(approval)) => paid(&mut response, approval),
        Some(Phase::Failed(failure)) => {
            response.status_code = failure.status_code;
            response.status_desc = failure.status_desc;
        }
        Some(Phase::Paying(_) | Phase::Unresolved(_) | Phase::Asking(_)) | None => {
            in_progress.clone_into(&mut response.status_code);
            IN_PROGRESS.clone_into(&mut response.status_desc);
        }
    }
    response
}

/// StatusDesc while nothing final is known.
pub(crate) const IN_PROGRESS: &str = "the payment is in progress; query it with the same MerchantTradeNo";
/// StatusDesc where it is not known yet whether the payment was accepted. There is no TradeNo then, and an inquiry may find nothing.
pub(crate) const UNCONFIRMED: &str =
    "the payment is in progress and not confirmed yet; send it again with the same MerchantTradeNo";

fn paid(response: &mut PayResponse, approval: bus::Approval) {
    SUCCESS.clone_into(&mut response.status_code);
    "success".clone_into(&mut response.status_desc);
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

/// `{"CardName":…,"CardNo":…}` (POS API, section 2); quotes and backslashes escaped, control characters left out.
fn card_json(name: &str, number: &str) -> String {
    let escape = |text: &str| {
        let printable = text.chars().filter(|c| !c.is_control());
        printable.flat_map(|c| (matches!(c, '"' | '\\')).then_some('\\').into_iter().chain([c])).collect::<String>()
    };
    format!(r#"{{"CardName":"{}","CardNo":"{}"}}"#, escape(name), escape(number))
}

/// The answer to an inquiry.
pub(crate) fn query_response(payment: bus::Payment, in_progress: &str) -> QueryResponse {
    let order_status = match &payment.phase {
        Some(Phase::Paid(_)) => OrderStatus::Paid,
        Some(Phase::Failed(_)) => OrderStatus::Failed,
        Some(Phase::Paying(_) | Phase::Unresolved(_) | Phase::Asking(_)) | None => OrderStatus::InProgress,
    };
    QueryResponse {
        status_code: SUCCESS.to_owned(),
        status_desc: "success".to_owned(),
        order_status: Some(order_status.into()),
        payment: Some(pay_response(payment, in_progress, false)),
        refund: None,
    }
}

/// There is no such order.
pub(crate) fn no_such_order() -> QueryResponse {
    QueryResponse {
        status_code: NO_SUCH_ORDER.to_owned(),
        status_desc: "no such order".to_owned(),
        ..QueryResponse::default()
    }
}
