//! The fields of a request: taken out of the JSON into the protobuf request, each by its name in the POS document (POS API, section 2).
//! What is absent or null counts as empty, as everywhere in the form; a value of another type cannot be parsed.

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

/// The fields that an answer repeats as they came.
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
        let text = |name: &str| match members.get(name) {
            Some(Json::Text(text)) => text.clone(),
            Some(Json::Null | Json::Bool(_) | Json::Number(_) | Json::List(_) | Json::Object(_)) | None => {
                String::new()
            }
        };
        Self {
            merchant_id: text("MerchantID"),
            store_id: text("StoreID"),
            gateway_trade_no: text("GatewayTradeNo"),
            merchant_trade_no: text("MerchantTradeNo"),
            pos_id: text("PosID"),
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
        let number = match self.members.remove(name) {
            Some(Json::Number(number)) => number.parse().ok(),
            Some(Json::Null) | None => Some(0),
            Some(Json::Text(_) | Json::Bool(_) | Json::List(_) | Json::Object(_)) => None,
        };
        number.unwrap_or_else(|| {
            self.faults.push(format!("{name} must be a whole number, not a text, without fraction or exponent"));
            0
        })
    }

    fn end<T>(self, request: T) -> Result<T, Fault> {
        if self.faults.is_empty() { Ok(request) } else { Err(Fault(self.faults.join("; "))) }
    }
}

/// The amount in a request, where there is one.
pub(super) fn amount(members: &Object) -> Option<i64> {
    match members.get("TradeAmount") {
        Some(Json::Number(number)) => number.parse().ok(),
        Some(Json::Null | Json::Bool(_) | Json::Text(_) | Json::List(_) | Json::Object(_)) | None => None,
    }
}
