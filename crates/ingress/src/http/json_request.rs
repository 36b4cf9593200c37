//! A request of the POS HTTP form: reads its fields from the JSON, each by its name in the POS
//! document. A field that is absent or null counts as empty; one of another JSON type is a fault.

use twqr_types::{
    GatewayTradeNo, MerchantId, MerchantTradeNo, OrderKey, PosId, RawPay, RawQuery, RawRefund, SendTime, StoreId,
    UnixMs,
};

use super::json::{Json, JsonFault, Object};
use crate::answers::{Echoes, InquiryType};

/// A request as JSON.
pub(super) struct JsonRequest {
    members: Object,
    faults: Vec<String>,
}

impl JsonRequest {
    /// A request with these members.
    pub(super) fn new(members: Object) -> Self {
        Self { members, faults: Vec::new() }
    }

    /// The members, which the signature covers.
    pub(super) fn members(&self) -> &Object {
        &self.members
    }

    /// The fields that an answer repeats, whether they are valid or not. A field that is too long
    /// is left empty.
    pub(super) fn echoes(&self) -> Echoes {
        let text = |name: &str, len_max: usize| match self.members.get(name) {
            Some(Json::Text(text)) if text.chars().count() <= len_max => text.clone(),
            Some(Json::Text(_) | Json::Null | Json::Bool(_) | Json::Number(_) | Json::List(_) | Json::Object(_))
            | None => String::new(),
        };
        Echoes {
            merchant_id: text("MerchantID", MerchantId::LEN_MAX),
            store_id: text("StoreID", StoreId::LEN_MAX),
            gateway_trade_no: text("GatewayTradeNo", GatewayTradeNo::LEN_MAX),
            merchant_trade_no: text("MerchantTradeNo", MerchantTradeNo::LEN_MAX),
            pos_id: text("PosID", PosId::LEN_MAX),
        }
    }

    /// The key of the order that the request names; absent if it has no valid one.
    pub(super) fn order_key(&self) -> Option<OrderKey> {
        let Echoes { merchant_id, merchant_trade_no, .. } = self.echoes();
        Some(OrderKey {
            merchant_id: MerchantId::parse(merchant_id).ok()?,
            merchant_trade_no: MerchantTradeNo::parse(merchant_trade_no).ok()?,
        })
    }

    /// TradeAmount, if the request has one that is a whole number.
    pub(super) fn trade_amount(&self) -> Option<i64> {
        match self.members.get("TradeAmount") {
            Some(Json::Number(number)) => number.parse().ok(),
            Some(Json::Null | Json::Bool(_) | Json::Text(_) | Json::List(_) | Json::Object(_)) | None => None,
        }
    }

    /// When the request was sent, by its SendTime; absent if it has no valid one.
    pub(super) fn send_time(&self) -> Option<UnixMs> {
        match self.members.get("SendTime") {
            Some(Json::Text(text)) => SendTime::parse(text.clone()).ok()?.at(),
            Some(Json::Null | Json::Bool(_) | Json::Number(_) | Json::List(_) | Json::Object(_)) | None => None,
        }
    }

    /// The fields of a Payment or a Cancel, which are the same.
    pub(super) fn into_payment(mut self) -> Result<RawPay, JsonFault> {
        let request = RawPay {
            merchant_id: self.text("MerchantID"),
            store_id: self.text("StoreID"),
            store_name: self.text("StoreName"),
            gateway_trade_no: self.text("GatewayTradeNo"),
            merchant_trade_no: self.text("MerchantTradeNo"),
            pos_id: self.text("PosID"),
            pos_trade_time: self.text("PosTradeTime"),
            card_token: self.text("CardToken"),
            trade_amount: self.integer("TradeAmount"),
            un_redeem: self.integer("UnRedeem"),
            remark: self.text("Remark"),
            extra1: self.text("Extra1"),
            extra2: self.text("Extra2"),
            extra3: self.text("Extra3"),
            send_time: self.text("SendTime"),
        };
        self.finish(request)
    }

    /// The fields of an Inquiry. The type is absent if InquiryType is neither `P` nor `R`.
    pub(super) fn into_inquiry(mut self) -> Result<(RawQuery, Option<InquiryType>), JsonFault> {
        let inquiry_type = match self.text("InquiryType").as_str() {
            "P" => Some(InquiryType::Payment),
            "R" => Some(InquiryType::Refund),
            _ => None,
        };
        let request = RawQuery {
            merchant_id: self.text("MerchantID"),
            store_id: self.text("StoreID"),
            gateway_trade_no: self.text("GatewayTradeNo"),
            merchant_trade_no: self.text("MerchantTradeNo"),
            pos_id: self.text("PosID"),
            pos_trade_time: self.text("PosTradeTime"),
            send_time: self.text("SendTime"),
        };
        self.finish((request, inquiry_type))
    }

    /// The fields of a Refund.
    pub(super) fn into_refund(mut self) -> Result<RawRefund, JsonFault> {
        let request = RawRefund {
            merchant_id: self.text("MerchantID"),
            store_id: self.text("StoreID"),
            store_name: self.text("StoreName"),
            gateway_trade_no: self.text("GatewayTradeNo"),
            merchant_trade_no: self.text("MerchantTradeNo"),
            pos_id: self.text("PosID"),
            pos_trade_time: self.text("PosTradeTime"),
            trade_no: self.text("TradeNo"),
            trade_amount: self.integer("TradeAmount"),
            remark: self.text("Remark"),
            extra1: self.text("Extra1"),
            extra2: self.text("Extra2"),
            extra3: self.text("Extra3"),
            send_time: self.text("SendTime"),
        };
        self.finish(request)
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

    fn integer(&mut self, name: &'static str) -> i64 {
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

    fn finish<T>(self, request: T) -> Result<T, JsonFault> {
        if self.faults.is_empty() { Ok(request) } else { Err(JsonFault(self.faults.join("; "))) }
    }
}

/// The fault of an amount that is not a whole number.
const NOT_WHOLE: &str = "must be a whole number, not a text, without fraction or exponent";

/// Whether the text of a number has neither fraction nor exponent.
fn is_whole(number: &str) -> bool {
    number.strip_prefix('-').unwrap_or(number).bytes().all(|byte| byte.is_ascii_digit())
}
