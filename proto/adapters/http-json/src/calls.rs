//! Makes the JSON body of a call.

use serde_json::{Map, Value, json};
use twqr_wire::backend::{ExchangeRequest, exchange_request::Call, inquiry::Subject};

use crate::{
    config::{AdapterConfig, Field, Formats, HttpRequest, Late},
    formats::{amount_out, set, time_out},
};

/// One call as an HTTP request.
pub(crate) struct Outgoing<'a> {
    pub(crate) path: &'a str,
    pub(crate) body: Value,
    /// The number by which the backend recognises a repeat; empty for an inquiry.
    pub(crate) number: &'a str,
    /// What the call or inquiry is about.
    pub(crate) subject: Subject,
    /// Unix ms after which nothing may be sent; `None` if it may be sent at any time.
    pub(crate) send_by_ms: Option<i64>,
}

/// The request for a call; `None` if this adapter does not know the call.
pub(crate) fn outgoing<'a>(config: &'a AdapterConfig, request: &'a ExchangeRequest) -> Option<Outgoing<'a>> {
    let call = request.call.as_ref()?;
    let (subject, http, number, send_by) = match call {
        Call::Charge(charge) => (Subject::Charge, &config.calls.charge, &*charge.trade_no, Some(charge.send_by_ms)),
        Call::Refund(refund) => {
            (Subject::Refund, &config.calls.refund, &*refund.refund_trade_no, Some(refund.send_by_ms))
        }
        Call::Reversal(reversal) => {
            (Subject::Reversal, &config.calls.reversal, &*reversal.trade_no, Some(reversal.send_by_ms))
        }
        Call::Inquiry(inquiry) => {
            let (subject, http) = match Subject::try_from(inquiry.subject).ok()? {
                Subject::Unspecified | Subject::Charge => (Subject::Charge, &config.calls.inquire_charge),
                Subject::Refund => (Subject::Refund, &config.calls.inquire_refund),
                Subject::Reversal => (Subject::Reversal, &config.calls.inquire_reversal),
            };
            (subject, http, "", None)
        }
    };
    let send_by_ms = send_by.filter(|_| http.late == Late::Refuse);
    let body = body(config.formats, http, &request.institution, call);
    Some(Outgoing { path: &http.path, body, number, subject, send_by_ms })
}

fn body(formats: Formats, http: &HttpRequest, institution: &str, call: &Call) -> Value {
    let mut object = Map::new();
    for (theirs, text) in &http.constants {
        set(&mut object, theirs, json!(text));
    }
    for (theirs, ours) in &http.fields {
        let found = if *ours == Field::Institution { Some(json!(institution)) } else { value(formats, call, *ours) };
        // A field that the call does not have is left out.
        if let Some(found) = found {
            set(&mut object, theirs, found);
        }
    }
    Value::Object(object)
}

/// The value of a field of a call; `None` if calls of its kind do not have the field.
fn value(formats: Formats, call: &Call, field: Field) -> Option<Value> {
    let amount = |twd: i64| Some(amount_out(formats.amount, twd));
    let time = |unix_ms: i64| Some(time_out(formats.time, unix_ms));
    let text = |text: &str| Some(json!(text));
    match (call, field) {
        (Call::Charge(call), Field::TradeAmount) => amount(call.trade_amount),
        (Call::Refund(call), Field::TradeAmount) => amount(call.trade_amount),
        (Call::Reversal(call), Field::TradeAmount) => amount(call.trade_amount),
        (Call::Charge(call), Field::UnRedeem) => amount(call.un_redeem),
        (Call::Charge(call), Field::SendBy) => time(call.send_by_ms),
        (Call::Refund(call), Field::SendBy) => time(call.send_by_ms),
        (Call::Reversal(call), Field::SendBy) => time(call.send_by_ms),
        (Call::Charge(call), Field::TradeNo) => text(&call.trade_no),
        (Call::Refund(call), Field::TradeNo) => text(&call.trade_no),
        (Call::Reversal(call), Field::TradeNo) => text(&call.trade_no),
        (Call::Refund(call), Field::RefundTradeNo) => text(&call.refund_trade_no),
        // An inquiry has one number. In the configuration, a refund's is `refund_trade_no`.
        (Call::Inquiry(inquiry), Field::TradeNo | Field::RefundTradeNo) => text(&inquiry.trade_no),
        (Call::Charge(call), Field::CardToken) => text(&call.card_token),
        (Call::Charge(call), Field::MerchantId) => text(&call.merchant_id),
        (Call::Refund(call), Field::MerchantId) => text(&call.merchant_id),
        (Call::Reversal(call), Field::MerchantId) => text(&call.merchant_id),
        (Call::Charge(call), Field::MerchantTradeNo) => text(&call.merchant_trade_no),
        (Call::Refund(call), Field::MerchantTradeNo) => text(&call.merchant_trade_no),
        (Call::Reversal(call), Field::MerchantTradeNo) => text(&call.merchant_trade_no),
        (Call::Charge(call), Field::StoreId) => text(&call.store_id),
        (Call::Refund(call), Field::StoreId) => text(&call.store_id),
        (Call::Reversal(call), Field::StoreId) => text(&call.store_id),
        (Call::Charge(call), Field::StoreName) => text(&call.store_name),
        (Call::Refund(call), Field::StoreName) => text(&call.store_name),
        (Call::Charge(call), Field::PosId) => text(&call.pos_id),
        (Call::Refund(call), Field::PosId) => text(&call.pos_id),
        (Call::Charge(call), Field::Remark) => text(&call.remark),
        (Call::Refund(call), Field::Remark) => text(&call.remark),
        (Call::Reversal(call), Field::Remark) => text(&call.remark),
        _ => None,
    }
}
