//! The request forms of the POS document. A form is parsed as a whole: either every field is within
//! its limits, or all violations are listed.

use std::mem::take;

use crate::{
    Amount, CardToken, Extra, Field, GatewayTradeNo, MerchantId, MerchantTradeNo, OrderKey, PosId, PosTradeTime,
    ProtectedToken, RecordedToken, Remark, SendTime, StoreId, StoreName, UnRedeem, Violations,
};

mod refund;

pub use refund::{RawRefund, RefundForm};

/// A Payment request as received; nothing is checked yet.
#[derive(Clone, Default)]
#[allow(missing_docs, reason = "the fields are the POS document's")]
pub struct RawPay {
    pub merchant_id: String,
    pub store_id: String,
    pub store_name: String,
    pub gateway_trade_no: String,
    pub merchant_trade_no: String,
    pub pos_id: String,
    pub pos_trade_time: String,
    pub card_token: String,
    pub trade_amount: i64,
    pub un_redeem: i64,
    pub remark: String,
    pub extra1: String,
    pub extra2: String,
    pub extra3: String,
    pub send_time: String,
}

/// A Payment request within all limits. A Cancel request has the same fields and limits, so it is
/// parsed to this form, too.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are the POS document's")]
pub struct PayForm {
    pub key: OrderKey,
    pub store_id: StoreId,
    pub store_name: StoreName,
    pub gateway_trade_no: GatewayTradeNo,
    pub pos_id: PosId,
    pub pos_trade_time: PosTradeTime,
    pub card_token: RecordedToken,
    pub trade_amount: Amount,
    pub un_redeem: UnRedeem,
    pub remark: Remark,
    pub extra1: Extra,
    pub extra2: Extra,
    pub send_time: SendTime,
}

impl PayForm {
    /// Checks every field; the error lists all violations.
    pub fn parse(mut raw: RawPay) -> Result<Self, Violations> {
        let times = Times::of_caller(take(&mut raw.pos_trade_time), take(&mut raw.send_time));
        let token = CardToken::parse(take(&mut raw.card_token)).map(RecordedToken::from);
        Self::with(raw, times, token)
    }

    /// Checks a request from the log like [`Self::parse`], but takes dates of any year; see
    /// [`PosTradeTime::parse_stored`].
    pub fn parse_stored(mut raw: RawPay) -> Result<Self, Violations> {
        let times = Times::of_log(take(&mut raw.pos_trade_time), take(&mut raw.send_time));
        let token = CardToken::parse(take(&mut raw.card_token)).map(RecordedToken::from);
        Self::with(raw, times, token)
    }

    /// Checks a request from the log whose card token is beside it, so `raw` must have none.
    pub fn parse_protected(mut raw: RawPay, token: ProtectedToken) -> Result<Self, Violations> {
        let times = Times::of_log(take(&mut raw.pos_trade_time), take(&mut raw.send_time));
        let is_alone = raw.card_token.is_empty();
        let token = RecordedToken::Protected(Box::new(token));
        Self::with(
            raw,
            times,
            if is_alone { Ok(token) } else { Err("must be empty beside a protected one".to_owned()) },
        )
    }

    /// Checks every field; the times and the card token were parsed from `raw` before.
    fn with(raw: RawPay, times: Times, card_token: Result<RecordedToken, String>) -> Result<Self, Violations> {
        let mut bad = Violations::default();
        let merchant_id = bad.take(Field::MerchantId, MerchantId::parse(raw.merchant_id));
        let store_id = bad.take(Field::StoreId, StoreId::parse(raw.store_id));
        let store_name = bad.take(Field::StoreName, StoreName::parse(raw.store_name));
        let gateway_trade_no = bad.take(Field::GatewayTradeNo, GatewayTradeNo::parse(raw.gateway_trade_no));
        let merchant_trade_no = bad.take(Field::MerchantTradeNo, MerchantTradeNo::parse(raw.merchant_trade_no));
        let pos_id = bad.take(Field::PosId, PosId::parse(raw.pos_id));
        let pos_trade_time = bad.take(Field::PosTradeTime, times.pos_trade_time);
        let card_token = bad.take(Field::CardToken, card_token);
        let trade_amount = bad.take(Field::TradeAmount, Amount::parse(raw.trade_amount));
        let un_redeem = bad.take(Field::UnRedeem, un_redeem(raw.un_redeem, trade_amount));
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
                card_token: card_token?,
                trade_amount: trade_amount?,
                un_redeem: un_redeem?,
                remark: remark?,
                extra1: extra1?,
                extra2: extra2?,
                send_time: send_time?,
            })
        };
        if bad.as_slice().is_empty() { form().ok_or(bad) } else { Err(bad) }
    }
}

/// The times of a request, parsed.
struct Times {
    pos_trade_time: Result<PosTradeTime, String>,
    send_time: Result<SendTime, String>,
}

impl Times {
    fn of_caller(pos_trade_time: String, send_time: String) -> Self {
        Self { pos_trade_time: PosTradeTime::parse(pos_trade_time), send_time: SendTime::parse(send_time) }
    }

    fn of_log(pos_trade_time: String, send_time: String) -> Self {
        Self {
            pos_trade_time: PosTradeTime::parse_stored(pos_trade_time),
            send_time: SendTime::parse_stored(send_time),
        }
    }
}

fn un_redeem(raw: i64, trade_amount: Option<Amount>) -> Result<UnRedeem, String> {
    let parsed = UnRedeem::parse(raw)?;
    match trade_amount {
        Some(amount) if parsed.twd() > amount.twd() => {
            Err(format!("is {raw}, must be at most the trade amount of {} (whole TWD)", amount.twd()))
        }
        _ => Ok(parsed),
    }
}

/// An Inquiry request as received; nothing is checked yet.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "the fields are the POS document's")]
pub struct RawQuery {
    pub merchant_id: String,
    pub store_id: String,
    pub gateway_trade_no: String,
    pub merchant_trade_no: String,
    pub pos_id: String,
    pub pos_trade_time: String,
    pub send_time: String,
}

/// An Inquiry request within all limits.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are the POS document's")]
pub struct QueryForm {
    pub key: OrderKey,
    pub store_id: StoreId,
    pub gateway_trade_no: GatewayTradeNo,
    pub pos_id: PosId,
    pub pos_trade_time: PosTradeTime,
    pub send_time: SendTime,
}

impl QueryForm {
    /// Checks every field; the error lists all violations.
    pub fn parse(raw: RawQuery) -> Result<Self, Violations> {
        let mut bad = Violations::default();
        let merchant_id = bad.take(Field::MerchantId, MerchantId::parse(raw.merchant_id));
        let store_id = bad.take(Field::StoreId, StoreId::parse(raw.store_id));
        let gateway_trade_no = bad.take(Field::GatewayTradeNo, GatewayTradeNo::parse(raw.gateway_trade_no));
        let merchant_trade_no = bad.take(Field::MerchantTradeNo, MerchantTradeNo::parse(raw.merchant_trade_no));
        let pos_id = bad.take(Field::PosId, PosId::parse(raw.pos_id));
        let pos_trade_time = bad.take(Field::PosTradeTime, PosTradeTime::parse(raw.pos_trade_time));
        let send_time = bad.take(Field::SendTime, SendTime::parse(raw.send_time));
        let form = || {
            Some(Self {
                key: OrderKey { merchant_id: merchant_id?, merchant_trade_no: merchant_trade_no? },
                store_id: store_id?,
                gateway_trade_no: gateway_trade_no?,
                pos_id: pos_id?,
                pos_trade_time: pos_trade_time?,
                send_time: send_time?,
            })
        };
        if bad.as_slice().is_empty() { form().ok_or(bad) } else { Err(bad) }
    }
}

#[cfg(test)]
mod tests;
