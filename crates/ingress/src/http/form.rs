//! The fields of a request: taken out of the JSON into the protobuf request, each by its name in
//! the POS document (POS API, section 2). What is absent or null counts as empty, as everywhere in
//! the form; a value of another type cannot be parsed.

use twqr_types::{GatewayTradeNo, MerchantId, MerchantTradeNo, PosId, StoreId};
use twqr_wire::pos::{CancelRequest, InquiryType, PayRequest, QueryRequest, RefundRequest};

use super::json::{Fault, Json, Object};

/// Every field that a request may have. An error repeats no other key.
pub(super) const FIELDS: [&str; 18] = [
    "MerchantID",
    "StoreID",
    "StoreName",
    "GatewayTradeNo",
    "MerchantTradeNo",
    "PosID",
    "PosTradeTime",
    "CardToken",
    "TradeNo",
    "TradeAmount",
    "UnRedeem",
    "Remark",
    "Extra1",
    "Extra2",
    "Extra3",
    "SendTime",
    "InquiryType",
    SIGN,
];

/// The field with the signature.
pub(super) const SIGN: &str = "Sign";

/// The fields that an answer repeats as they came; empty where one is longer than the field may be.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub(super) struct Echoes {
    #[serde(rename = "MerchantID")]
    pub(super) merchant_id: String,
    #[serde(rename = "StoreID")]
    pub(super) store_id: String,
    #[serde(rename = "GatewayTradeNo")]
    pub(super) gateway_trade_no: String,
    #[serde(rename = "MerchantTradeNo")]
    pub(super) merchant_trade_no: String,
    #[serde(rename = "PosID")]
    pub(super) pos_id: String,
}

impl Echoes {
    /// What can be repeated of a request, good or not.
    pub(super) fn of(members: &Object) -> Self {
        let text = |name: &str, len_max: usize| match members.get(name) {
            Some(Json::Text(text)) if text.chars().count() <= len_max => text.clone(),
            Some(Json::Text(_) | Json::Null | Json::Bool(_) | Json::Number(_) | Json::List(_) | Json::Object(_))
            | None => String::new(),
        };
        Self {
            merchant_id: text("MerchantID", MerchantId::LEN_MAX),
            store_id: text("StoreID", StoreId::LEN_MAX),
            gateway_trade_no: text("GatewayTradeNo", GatewayTradeNo::LEN_MAX),
            merchant_trade_no: text("MerchantTradeNo", MerchantTradeNo::LEN_MAX),
            pos_id: text("PosID", PosId::LEN_MAX),
        }
    }
}

/// A request on its way from JSON to protobuf.
pub(super) struct Form {
    members: Object,
    faults: Vec<String>,
}

impl Form {
    /// Over the members of a signed request.
    pub(super) fn new(members: Object) -> Self {
        Self { members, faults: Vec::new() }
    }

    /// A Payment request.
    pub(super) fn pay(mut self) -> Result<PayRequest, Fault> {
        let request = PayRequest {
            merchant_id: self.text("MerchantID"),
            store_id: self.text("StoreID"),
            store_name: self.text("StoreName"),
            gateway_trade_no: self.text("GatewayTradeNo"),
            merchant_trade_no: self.text("MerchantTradeNo"),
            pos_id: self.text("PosID"),
            pos_trade_time: self.text("PosTradeTime"),
            card_token: self.text("CardToken"),
            trade_amount: self.int("TradeAmount"),
            un_redeem: self.int("UnRedeem"),
            remark: self.text("Remark"),
            extra1: self.text("Extra1"),
            extra2: self.text("Extra2"),
            extra3: self.text("Extra3"),
            send_time: self.text("SendTime"),
        };
        self.end(request)
    }

    /// An Inquiry request. Another InquiryType than `P` and `R` becomes none.
    pub(super) fn query(mut self) -> Result<QueryRequest, Fault> {
        let inquiry_type = match self.text("InquiryType").as_str() {
            "P" => InquiryType::Payment,
            "R" => InquiryType::Refund,
            _ => InquiryType::Unspecified,
        };
        let request = QueryRequest {
            inquiry_type: inquiry_type.into(),
            merchant_id: self.text("MerchantID"),
            store_id: self.text("StoreID"),
            gateway_trade_no: self.text("GatewayTradeNo"),
            merchant_trade_no: self.text("MerchantTradeNo"),
            pos_id: self.text("PosID"),
            pos_trade_time: self.text("PosTradeTime"),
            send_time: self.text("SendTime"),
        };
        self.end(request)
    }

    /// A Refund request.
    pub(super) fn refund(mut self) -> Result<RefundRequest, Fault> {
        let request = RefundRequest {
            merchant_id: self.text("MerchantID"),
            store_id: self.text("StoreID"),
            store_name: self.text("StoreName"),
            gateway_trade_no: self.text("GatewayTradeNo"),
            merchant_trade_no: self.text("MerchantTradeNo"),
            pos_id: self.text("PosID"),
            pos_trade_time: self.text("PosTradeTime"),
            trade_no: self.text("TradeNo"),
            trade_amount: self.int("TradeAmount"),
            remark: self.text("Remark"),
            extra1: self.text("Extra1"),
            extra2: self.text("Extra2"),
            extra3: self.text("Extra3"),
            send_time: self.text("SendTime"),
        };
        self.end(request)
    }

    /// A Cancel request.
    pub(super) fn cancel(mut self) -> Result<CancelRequest, Fault> {
        let request = CancelRequest {
            merchant_id: self.text("MerchantID"),
            store_id: self.text("StoreID"),
            store_name: self.text("StoreName"),
            gateway_trade_no: self.text("GatewayTradeNo"),
            merchant_trade_no: self.text("MerchantTradeNo"),
            pos_id: self.text("PosID"),
            pos_trade_time: self.text("PosTradeTime"),
            card_token: self.text("CardToken"),
            trade_amount: self.int("TradeAmount"),
            un_redeem: self.int("UnRedeem"),
            remark: self.text("Remark"),
            extra1: self.text("Extra1"),
            extra2: self.text("Extra2"),
            extra3: self.text("Extra3"),
            send_time: self.text("SendTime"),
        };
        self.end(request)
    }

    fn text(&mut self, name: &'static str) -> String {
        match self.members.remove(name) {
            Some(Json::Text(text)) => text,
            Some(Json::Null) | None => String::new(),
            Some(Json::Bool(_) | Json::Number(_) | Json::List(_) | Json::Object(_)) => {
                self.faults.push(format!("{name} must be a text"));
                String::new()
            }
        }
    }

    fn int(&mut self, name: &'static str) -> i64 {
        let fault = match self.members.remove(name) {
            Some(Json::Number(number)) => match number.parse() {
                Ok(number) => return number,
                Err(_) if is_whole(&number) => "is far beyond its range, at most 2147483647 (whole TWD) is allowed",
                Err(_) => NOT_WHOLE,
            },
            Some(Json::Null) | None => return 0,
            Some(Json::Text(_) | Json::Bool(_) | Json::List(_) | Json::Object(_)) => NOT_WHOLE,
        };
        self.faults.push(format!("{name} {fault}"));
        0
    }

    fn end<T>(self, request: T) -> Result<T, Fault> {
        if self.faults.is_empty() { Ok(request) } else { Err(Fault(self.faults.join("; "))) }
    }
}

/// What is said of an amount that is none.
const NOT_WHOLE: &str = "must be a whole number, not a text, without fraction or exponent";

/// Whether the text of a number has neither fraction nor exponent.
fn is_whole(number: &str) -> bool {
    number.strip_prefix('-').unwrap_or(number).bytes().all(|byte| byte.is_ascii_digit())
}

/// The amount in a request, where there is one.
pub(super) fn amount(members: &Object) -> Option<i64> {
    match members.get("TradeAmount") {
        Some(Json::Number(number)) => number.parse().ok(),
        Some(Json::Null | Json::Bool(_) | Json::Text(_) | Json::List(_) | Json::Object(_)) | None => None,
    }
}
