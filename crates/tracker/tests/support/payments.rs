//! Payments for tests, built from a valid call.

use twqr_order::{Approval, Movement, Nonces, Payment, PaymentType, Remembering, Terms};
use twqr_types::{Amount, PayForm, RawPay, TradeNo, UnixMs};

/// A payment in this state of its charge, without refunds or a cancel.
pub fn payment(form: PayForm, trade_no: TradeNo, accepted_at: UnixMs, charge: Movement<Approval>) -> Payment {
    Payment {
        trade_no,
        accepted_at,
        terms: Terms {
            card_token: form.card_token.compared(&form.key),
            store_id: form.store_id,
            store_name: form.store_name,
            gateway_trade_no: form.gateway_trade_no,
            pos_id: form.pos_id,
            pos_trade_time: form.pos_trade_time,
            trade_amount: form.trade_amount,
            un_redeem: form.un_redeem,
            requested_un_redeem: form.un_redeem,
            remark: form.remark,
            extra1: form.extra1,
            extra2: form.extra2,
        },
        key: form.key,
        issuer: None,
        charge,
        refunds: Vec::new(),
        cancel: None,
        subscribers: Vec::new(),
        charge_took_effect_after_all: false,
        contradiction: None,
        protocol_version: 0,
        remembering: Remembering::All,
        nonces: Nonces::default(),
    }
}

/// The call for a payment by a valid code.
pub fn form(merchant_id: &str, merchant_trade_no: &str, trade_amount: i64) -> PayForm {
    PayForm::parse(RawPay {
        merchant_id: merchant_id.into(),
        merchant_trade_no: merchant_trade_no.into(),
        store_id: "S".into(),
        card_token: "22SECRETSECRETSECR".into(),
        trade_amount,
        ..RawPay::default()
    })
    .unwrap()
}

/// An approval of another issuer's payment, of which `redeem_amount` was paid in points.
pub fn approval(trade_amount: Amount, redeem_amount: i64) -> Approval {
    Approval {
        payment_type: PaymentType::OtherIssuer,
        debit_amount: trade_amount.twd() + redeem_amount,
        redeem_name: "points".into(),
        redeem_amount,
        store_redeem_amount: 0,
        invoice_vehicle: "".into(),
        mer_mem_token: "".into(),
        card_name: "".into(),
        card_no_masked: "".into(),
        issuer_trade_no: "".into(),
    }
}
