//! Responses: an order in the fields of the POS document.

use twqr_types::{Issuer, PayForm};
use twqr_wire::{bus, pos};

use crate::view::{Outcome, PayView};

/// StatusCode of success.
const SUCCESS: &str = "000";
/// StatusCode of "no such order".
const NO_SUCH_ORDER: &str = "916";
const IN_PROGRESS_DESC: &str = "in progress: no result is known yet, query this order for it";

/// The answer to a payment request, with whatever is known of the order.
pub(crate) fn pay_response(
    form: &PayForm,
    view: Option<&PayView>,
    is_rep: bool,
    in_progress_code: &str,
) -> pos::PayResponse {
    let mut response = pos::PayResponse {
        merchant_id: form.key.merchant_id.as_str().to_owned(),
        store_id: form.store_id.as_str().to_owned(),
        gateway_trade_no: form.gateway_trade_no.as_str().to_owned(),
        merchant_trade_no: form.key.merchant_trade_no.as_str().to_owned(),
        pos_id: form.pos_id.as_str().to_owned(),
        is_rep,
        trade_amount: form.trade_amount.twd(),
        remark: form.remark.as_str().to_owned(),
        extra1: form.extra1.as_str().to_owned(),
        extra2: form.extra2.as_str().to_owned(),
        ..Default::default()
    };
    match view {
        Some(view) => tell(view, &mut response, in_progress_code),
        None => tell_in_progress(&mut response, in_progress_code),
    }
    response
}

/// The answer to a query about an order that exists.
pub(crate) fn query_response(payment: bus::Payment, in_progress_code: &str) -> pos::QueryResponse {
    let mut payment = payment;
    let key = payment.key.take().unwrap_or_default();
    let terms = payment.terms.take().unwrap_or_default();
    let mut block = pos::PayResponse {
        merchant_id: key.merchant_id,
        store_id: terms.store_id,
        gateway_trade_no: terms.gateway_trade_no,
        merchant_trade_no: key.merchant_trade_no,
        pos_id: terms.pos_id,
        trade_amount: terms.trade_amount,
        remark: terms.remark,
        extra1: terms.extra1,
        extra2: terms.extra2,
        ..Default::default()
    };
    let view = PayView::from(payment);
    tell(&view, &mut block, in_progress_code);
    let status = match view.outcome {
        Outcome::InProgress => pos::OrderStatus::InProgress,
        Outcome::Paid(_) => pos::OrderStatus::Paid,
        Outcome::Failed { .. } => pos::OrderStatus::Failed,
    };
    pos::QueryResponse {
        status_code: SUCCESS.to_owned(),
        status_desc: "success".to_owned(),
        order_status: Some(status.into()),
        payment: Some(block),
        refund: None,
    }
}

/// The answer to a query about an order that does not exist.
pub(crate) fn no_such_order() -> pos::QueryResponse {
    pos::QueryResponse {
        status_code: NO_SUCH_ORDER.to_owned(),
        status_desc: "no such order".to_owned(),
        ..Default::default()
    }
}

fn tell(view: &PayView, response: &mut pos::PayResponse, in_progress_code: &str) {
    response.trade_no.clone_from(&view.trade_no);
    response.trade_time = view.accepted_at.taipei();
    match &view.outcome {
        Outcome::InProgress => tell_in_progress(response, in_progress_code),
        Outcome::Failed { status_code, status_desc } => {
            response.status_code.clone_from(status_code);
            response.status_desc.clone_from(status_desc);
        }
        Outcome::Paid(approval) => tell_paid(approval, response),
    }
    if let Some(Issuer::Institution(code)) = &view.issuer {
        response.set_payment_type(pos::PaymentType::OtherIssuer);
        code.as_str().clone_into(&mut response.extra3);
    }
}

fn tell_in_progress(response: &mut pos::PayResponse, in_progress_code: &str) {
    in_progress_code.clone_into(&mut response.status_code);
    IN_PROGRESS_DESC.clone_into(&mut response.status_desc);
}

fn tell_paid(approval: &bus::Approval, response: &mut pos::PayResponse) {
    SUCCESS.clone_into(&mut response.status_code);
    "success".clone_into(&mut response.status_desc);
    response.payment_type = approval.payment_type;
    response.debit_amount = approval.debit_amount;
    response.redeem_name.clone_from(&approval.redeem_name);
    response.redeem_amount = approval.redeem_amount;
    response.store_redeem_amount = approval.store_redeem_amount;
    response.invoice_vehicle.clone_from(&approval.invoice_vehicle);
    response.mer_mem_token.clone_from(&approval.mer_mem_token);
    if approval.payment_type() == pos::PaymentType::CreditCard {
        response.extra3 = card(&approval.card_name, &approval.card_no_masked);
    }
}

/// Extra3 of a credit card payment.
fn card(name: &str, number: &str) -> String {
    let (name, number) = (serde_json::Value::from(name), serde_json::Value::from(masked(number)));
    format!(r#"{{"CardName":{name},"CardNo":{number}}}"#)
}

/// First six and last four characters; a number that comes masked stays as it is.
fn masked(number: &str) -> String {
    let length = number.chars().count();
    let hidden = 6..length.saturating_sub(4);
    number.chars().enumerate().map(|(at, c)| if hidden.contains(&at) { '*' } else { c }).collect()
}

#[cfg(test)]
mod tests;
