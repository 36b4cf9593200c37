//! The request form of a Refund.

use std::mem::take;

use super::Times;
use crate::{
    Amount, Extra, Field, GatewayTradeNo, MerchantId, MerchantTradeNo, OrderKey, PosId, PosTradeTime, Remark, SendTime,
    StoreId, StoreName, TradeNo, Violations,
};

/// A Refund request as received; nothing is checked yet.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "the fields are the POS document's")]
pub struct RawRefund {
    pub merchant_id: String,
    pub store_id: String,
    pub store_name: String,
    pub gateway_trade_no: String,
    pub merchant_trade_no: String,
    pub pos_id: String,
    pub pos_trade_time: String,
    pub trade_no: String,
    pub trade_amount: i64,
    pub remark: String,
    pub extra1: String,
    pub extra2: String,
    pub extra3: String,
    pub send_time: String,
}

/// A Refund request within all limits.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the POS document's")]
pub struct RefundForm {
    /// The merchant and the refund's own MerchantTradeNo, which is new for each refund.
    pub key: OrderKey,
    pub store_id: StoreId,
    pub store_name: StoreName,
    pub gateway_trade_no: GatewayTradeNo,
    pub pos_id: PosId,
    pub pos_trade_time: PosTradeTime,
    /// The payment's TradeNo, the only link to the payment.
    pub trade_no: TradeNo,
    /// The amount to refund.
    pub trade_amount: Amount,
    pub remark: Remark,
    pub extra1: Extra,
    pub extra2: Extra,
    pub send_time: SendTime,
}

impl RefundForm {
    /// Checks every field; the error lists all violations.
    pub fn parse(mut raw: RawRefund) -> Result<Self, Violations> {
        let times = Times::of_caller(take(&mut raw.pos_trade_time), take(&mut raw.send_time));
        Self::with_times(raw, times)
    }

    /// Checks a request from the log like [`Self::parse`], but takes dates of any year; see
    /// [`PosTradeTime::parse_stored`].
    pub fn parse_stored(mut raw: RawRefund) -> Result<Self, Violations> {
        let times = Times::of_log(take(&mut raw.pos_trade_time), take(&mut raw.send_time));
        Self::with_times(raw, times)
    }

    /// Checks every field; the times were parsed from `raw` before.
    fn with_times(raw: RawRefund, times: Times) -> Result<Self, Violations> {
        let mut bad = Violations::default();
        let merchant_id = bad.take(Field::MerchantId, MerchantId::parse(raw.merchant_id));
        let store_id = bad.take(Field::StoreId, StoreId::parse(raw.store_id));
        let store_name = bad.take(Field::StoreName, StoreName::parse(raw.store_name));
        let gateway_trade_no = bad.take(Field::GatewayTradeNo, GatewayTradeNo::parse(raw.gateway_trade_no));
        let merchant_trade_no = bad.take(Field::MerchantTradeNo, MerchantTradeNo::parse(raw.merchant_trade_no));
        let pos_id = bad.take(Field::PosId, PosId::parse(raw.pos_id));
        let pos_trade_time = bad.take(Field::PosTradeTime, times.pos_trade_time);
        let trade_no = bad.take(Field::TradeNo, TradeNo::parse(&raw.trade_no).map_err(|error| error.to_string()));
        let trade_amount = bad.take(Field::TradeAmount, Amount::parse(raw.trade_amount));
        let remark = bad.take(Field::Remark, Remark::parse(raw.remark));
        let extra1 = bad.take(Field::Extra1, Extra::parse(raw.extra1));
        let extra2 = bad.take(Field::Extra2, Extra::parse(raw.extra2));
        if !raw.extra3.is_empty() {
            bad.add(Field::Extra3, "must be empty in requests");
        }
        let send_time = bad.take(Field::SendTime, times.send_time);
        let form = || {
            Some(Self {
                key: OrderKey { merchant_id: merchant_id?, merchant_trade_no: merchant_trade_no? },
                store_id: store_id?,
                store_name: store_name?,
                gateway_trade_no: gateway_trade_no?,
                pos_id: pos_id?,
                pos_trade_time: pos_trade_time?,
                trade_no: trade_no?,
                trade_amount: trade_amount?,
                remark: remark?,
                extra1: extra1?,
                extra2: extra2?,
                send_time: send_time?,
            })
        };
        if bad.as_slice().is_empty() { form().ok_or(bad) } else { Err(bad) }
    }
}
