//! The requests of the public API, to and from the parsed forms of `twqr_types`. The log stores
//! requests in the same messages.

use twqr_types::{PayForm, RawPay, RawQuery, RawRefund, RecordedToken, RefundForm, Violations};

use super::{card_tokens::protected_from, fault::RecordFault};
use crate::{bus, pos};

/// Moves the fields of a payment or a cancel request, which are the same, into a [`RawPay`].
macro_rules! raw_pay {
    ($request:ident) => {
        RawPay {
            merchant_id: $request.merchant_id,
            store_id: $request.store_id,
            store_name: $request.store_name,
            gateway_trade_no: $request.gateway_trade_no,
            merchant_trade_no: $request.merchant_trade_no,
            pos_id: $request.pos_id,
            pos_trade_time: $request.pos_trade_time,
            card_token: $request.card_token,
            trade_amount: $request.trade_amount,
            un_redeem: $request.un_redeem,
            remark: $request.remark,
            extra1: $request.extra1,
            extra2: $request.extra2,
            extra3: $request.extra3,
            send_time: $request.send_time,
        }
    };
}

/// Makes a payment or a cancel request from the fields of a [`PayForm`].
macro_rules! pay_fields {
    ($request:ident, $form:ident) => {
        pos::$request {
            merchant_id: $form.key.merchant_id.as_str().to_owned(),
            store_id: $form.store_id.as_str().to_owned(),
            store_name: $form.store_name.as_str().to_owned(),
            gateway_trade_no: $form.gateway_trade_no.as_str().to_owned(),
            merchant_trade_no: $form.key.merchant_trade_no.as_str().to_owned(),
            pos_id: $form.pos_id.as_str().to_owned(),
            pos_trade_time: $form.pos_trade_time.as_str().to_owned(),
            card_token: clear_text(&$form.card_token),
            trade_amount: $form.trade_amount.twd(),
            un_redeem: $form.un_redeem.twd(),
            remark: $form.remark.as_str().to_owned(),
            extra1: $form.extra1.as_str().to_owned(),
            extra2: $form.extra2.as_str().to_owned(),
            extra3: String::new(),
            send_time: $form.send_time.as_str().to_owned(),
        }
    };
}

/// Takes the fields of a payment request, without checking them.
pub fn raw_pay(request: pos::PayRequest) -> RawPay {
    raw_pay!(request)
}

/// Takes the fields of a cancel request, which are the payment's, without checking them.
pub fn raw_cancel(request: pos::CancelRequest) -> RawPay {
    raw_pay!(request)
}

/// Parses a payment request; the error lists every violation.
pub fn pay_form(request: pos::PayRequest) -> Result<PayForm, Violations> {
    PayForm::parse_stored(raw_pay(request))
}

/// Parses a payment request from the log, whose card token is in the request or beside it.
pub(super) fn recorded_pay(
    request: pos::PayRequest,
    token: Option<bus::ProtectedToken>,
) -> Result<PayForm, RecordFault> {
    let form = recorded(raw_pay(request), token)?;
    match &form.card_token {
        RecordedToken::Protected(token) if token.sealed.is_none() => Err(RecordFault::Missing("token.sealed")),
        RecordedToken::Protected(_) | RecordedToken::Clear(_) => Ok(form),
    }
}

/// Parses a cancel request from the log in the same way; nothing of its card token is sealed.
pub(super) fn recorded_cancel(
    request: pos::CancelRequest,
    token: Option<bus::ProtectedToken>,
) -> Result<PayForm, RecordFault> {
    recorded(raw_cancel(request), token)
}

fn recorded(raw: RawPay, token: Option<bus::ProtectedToken>) -> Result<PayForm, RecordFault> {
    match token.map(protected_from).transpose()? {
        None => PayForm::parse_stored(raw),
        Some(token) => PayForm::parse_protected(raw, token),
    }
    .map_err(RecordFault::Form)
}

/// The text of a token in plain text; a protected one is written beside the request.
fn clear_text(token: &RecordedToken) -> String {
    match token {
        RecordedToken::Clear(token) => token.expose().to_owned(),
        RecordedToken::Protected(_) => String::new(),
    }
}

/// The payment request from which a form was parsed.
pub(crate) fn pay_request(form: &PayForm) -> pos::PayRequest {
    pay_fields!(PayRequest, form)
}

/// The cancel request from which a form was parsed.
pub(crate) fn cancel_request(form: &PayForm) -> pos::CancelRequest {
    pay_fields!(CancelRequest, form)
}

/// Parses a refund request from the log; the error lists every violation.
pub(crate) fn refund_form(request: pos::RefundRequest) -> Result<RefundForm, Violations> {
    RefundForm::parse_stored(raw_refund(request))
}

/// Takes the fields of a refund request, without checking them.
pub fn raw_refund(request: pos::RefundRequest) -> RawRefund {
    RawRefund {
        merchant_id: request.merchant_id,
        store_id: request.store_id,
        store_name: request.store_name,
        gateway_trade_no: request.gateway_trade_no,
        merchant_trade_no: request.merchant_trade_no,
        pos_id: request.pos_id,
        pos_trade_time: request.pos_trade_time,
        trade_no: request.trade_no,
        trade_amount: request.trade_amount,
        remark: request.remark,
        extra1: request.extra1,
        extra2: request.extra2,
        extra3: request.extra3,
        send_time: request.send_time,
    }
}

/// The refund request from which a form was parsed.
pub(crate) fn refund_request(form: &RefundForm) -> pos::RefundRequest {
    pos::RefundRequest {
        merchant_id: form.key.merchant_id.as_str().to_owned(),
        store_id: form.store_id.as_str().to_owned(),
        store_name: form.store_name.as_str().to_owned(),
        gateway_trade_no: form.gateway_trade_no.as_str().to_owned(),
        merchant_trade_no: form.key.merchant_trade_no.as_str().to_owned(),
        pos_id: form.pos_id.as_str().to_owned(),
        pos_trade_time: form.pos_trade_time.as_str().to_owned(),
        trade_no: form.trade_no.as_str().to_owned(),
        trade_amount: form.trade_amount.twd(),
        remark: form.remark.as_str().to_owned(),
        extra1: form.extra1.as_str().to_owned(),
        extra2: form.extra2.as_str().to_owned(),
        extra3: String::new(),
        send_time: form.send_time.as_str().to_owned(),
    }
}

/// Takes the fields of an inquiry, without checking them and without the inquiry type.
pub fn raw_query(request: pos::QueryRequest) -> RawQuery {
    RawQuery {
        merchant_id: request.merchant_id,
        store_id: request.store_id,
        gateway_trade_no: request.gateway_trade_no,
        merchant_trade_no: request.merchant_trade_no,
        pos_id: request.pos_id,
        pos_trade_time: request.pos_trade_time,
        send_time: request.send_time,
    }
}
