//! Converts answers to JSON with the POS document's field names.

use serde_json::{Map, Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt;
use twqr_types::Field;
use twqr_wire::pos::{CancelResponse, OrderStatus, PayResponse, QueryResponse, RefundResponse};

const FIELDS: [Field; 17] = [
    Field::MerchantId,
    Field::StoreId,
    Field::StoreName,
    Field::GatewayTradeNo,
    Field::MerchantTradeNo,
    Field::PosId,
    Field::PosTradeTime,
    Field::CardToken,
    Field::TradeNo,
    Field::TradeAmount,
    Field::UnRedeem,
    Field::Remark,
    Field::Extra1,
    Field::Extra2,
    Field::Extra3,
    Field::SendTime,
    Field::InquiryType,
];

/// Converts a Payment response.
pub fn payment_json(answer: &PayResponse) -> Map<String, Value> {
    let is_rep = if answer.is_rep { "1" } else { "0" };
    let fields = json!({
        "MerchantID": answer.merchant_id, "StoreID": answer.store_id, "GatewayTradeNo": answer.gateway_trade_no,
        "MerchantTradeNo": answer.merchant_trade_no, "PosID": answer.pos_id, "TradeNo": answer.trade_no,
        "TradeTime": answer.trade_time, "StatusCode": answer.status_code, "StatusDesc": answer.status_desc,
        "IsRep": is_rep, "ActionCode": answer.action_code, "PaymentType": answer.payment_type,
        "TradeAmount": answer.trade_amount, "DebitAmount": answer.debit_amount, "RedeemName": answer.redeem_name,
        "RedeemAmount": answer.redeem_amount, "StoreRedeemAmount": answer.store_redeem_amount,
        "AvailableAmount": answer.available_amount, "InvoiceVehicle": answer.invoice_vehicle,
        "MerMemToken": answer.mer_mem_token, "Remark": answer.remark, "Extra1": answer.extra1,
        "Extra2": answer.extra2, "Extra3": answer.extra3,
    });
    object(fields)
}

/// Converts a Refund response.
pub fn refund_json(answer: &RefundResponse) -> Map<String, Value> {
    let is_rep = if answer.is_rep { "1" } else { "0" };
    let fields = json!({
        "MerchantID": answer.merchant_id, "StoreID": answer.store_id, "GatewayTradeNo": answer.gateway_trade_no,
        "MerchantTradeNo": answer.merchant_trade_no, "PosID": answer.pos_id, "TradeNo": answer.trade_no,
        "RefundTradeNo": answer.refund_trade_no, "RefundTradeTime": answer.refund_trade_time,
        "StatusCode": answer.status_code, "StatusDesc": answer.status_desc, "IsRep": is_rep,
        "ActionCode": answer.action_code, "PaymentType": answer.payment_type, "TradeAmount": answer.trade_amount,
        "DebitAmount": answer.debit_amount, "RedeemName": answer.redeem_name, "RedeemAmount": answer.redeem_amount,
        "StoreRedeemAmount": answer.store_redeem_amount, "InvoiceVehicle": answer.invoice_vehicle,
        "MerMemToken": answer.mer_mem_token, "Remark": answer.remark, "Extra1": answer.extra1,
        "Extra2": answer.extra2, "Extra3": answer.extra3,
    });
    object(fields)
}

/// Converts a Cancel response.
pub fn cancel_json(answer: &CancelResponse) -> Map<String, Value> {
    let fields = json!({
        "MerchantID": answer.merchant_id, "StoreID": answer.store_id, "GatewayTradeNo": answer.gateway_trade_no,
        "MerchantTradeNo": answer.merchant_trade_no, "PosID": answer.pos_id, "TradeAmount": answer.trade_amount,
        "StatusCode": answer.status_code, "StatusDesc": answer.status_desc, "ActionCode": answer.action_code,
    });
    object(fields)
}

/// Converts an Inquiry response: its own fields, and those of the payment or the refund.
pub fn inquiry_json(answer: &QueryResponse) -> Map<String, Value> {
    let payment = answer.payment.as_ref().map(payment_json);
    let mut fields = payment.or_else(|| answer.refund.as_ref().map(refund_json)).unwrap_or_default();
    fields.insert("StatusCode".to_owned(), json!(answer.status_code));
    fields.insert("StatusDesc".to_owned(), json!(answer.status_desc));
    if let Some(status) = answer.order_status {
        fields.insert("OrderStatus".to_owned(), json!(status));
        let name = OrderStatus::try_from(status).map_or("UNKNOWN", |status| status.as_str_name());
        fields.insert("OrderStatusName".to_owned(), json!(name.trim_start_matches("ORDER_STATUS_")));
    }
    fields
}

/// Converts a gRPC error, with the fields that it names.
pub fn error_json(status: &Status) -> Value {
    let violations = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    let fields: Vec<Value> = violations
        .iter()
        .map(|violation| json!({ "Field": pos_name(&violation.field), "Problem": violation.description }))
        .collect();
    json!({ "Code": code_name(status.code()), "Message": status.message(), "Fields": fields })
}

/// Returns the POS document's name of a protobuf field.
fn pos_name(proto_name: &str) -> &str {
    FIELDS.iter().find(|field| field.proto_name() == proto_name).map_or(proto_name, |field| field.pos_name())
}

fn object(value: Value) -> Map<String, Value> {
    if let Value::Object(object) = value { object } else { Map::new() }
}

/// Returns the reason of a refusal, such as `RATE_EXCEEDED`; `None` if it has none.
pub fn refusal_reason(status: &Status) -> Option<String> {
    status.get_details_error_info().map(|info| info.reason)
}

/// Returns the code's name in the gRPC documentation.
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;

    #[test]
    fn answers_have_the_pos_documents_names() {
        let paid = PayResponse { status_code: "000".into(), is_rep: true, trade_amount: 5, ..Default::default() };
        let line = payment_json(&paid);
        assert_eq!((line["StatusCode"].as_str(), line["IsRep"].as_str()), (Some("000"), Some("1")));
        let query = QueryResponse {
            status_code: "000".into(),
            status_desc: String::new(),
            order_status: Some(0),
            payment: Some(paid),
            refund: None,
        };
        let line = inquiry_json(&query);
        assert_eq!((line["OrderStatus"].as_i64(), line["OrderStatusName"].as_str()), (Some(0), Some("IN_PROGRESS")));
        assert_eq!(line["TradeAmount"].as_i64(), Some(5));
        let refund = RefundResponse { refund_trade_no: "R".into(), status_code: "961".into(), ..Default::default() };
        let query = QueryResponse {
            status_code: "000".into(),
            order_status: Some(5),
            refund: Some(refund),
            ..Default::default()
        };
        let line = inquiry_json(&query);
        assert_eq!(
            (line["StatusCode"].as_str(), line["OrderStatusName"].as_str(), line["RefundTradeNo"].as_str()),
            (Some("000"), Some("REFUND_SUCCEEDED"), Some("R"))
        );
        let cancel = CancelResponse { status_code: "916".into(), trade_amount: 7, ..Default::default() };
        let line = cancel_json(&cancel);
        assert_eq!((line["StatusCode"].as_str(), line["TradeAmount"].as_i64()), (Some("916"), Some(7)));
    }

    #[test]
    fn errors_name_fields_as_the_pos_document_does() {
        let details = ErrorDetails::with_bad_request_violation("trade_amount", "must be above 0");
        let line = error_json(&Status::with_error_details(Code::InvalidArgument, "wrong", details));
        assert_eq!(line["Code"], "INVALID_ARGUMENT");
        assert_eq!(line["Fields"][0]["Field"], "TradeAmount");
    }

    #[test]
    fn a_refusal_says_its_reason() {
        let details = ErrorDetails::with_error_info("RATE_EXCEEDED", "twqr.pos.v1", [] as [(String, String); 0]);
        let refused = Status::with_error_details(Code::ResourceExhausted, "too many", details);
        assert_eq!(refusal_reason(&refused).as_deref(), Some("RATE_EXCEEDED"));
        assert_eq!(refusal_reason(&Status::resource_exhausted("too many")), None);
    }
}
