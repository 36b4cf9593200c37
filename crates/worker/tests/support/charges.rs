//! The charge of a payment at the wallet, each named by its number.

#![allow(unreachable_pub, clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test fails by panicking")]

use twqr_order::{ChargeCall, TaskKind};
use twqr_types::{PayForm, RawPay};

/// The payment T and its number, of 1 TWD.
pub fn form(number: u64) -> PayForm {
    let raw = RawPay {
        merchant_id: "M1".into(),
        merchant_trade_no: format!("T{number}"),
        card_token: "22abcdefghijklmnop".into(),
        trade_amount: 1,
        ..RawPay::default()
    };
    PayForm::parse(raw).unwrap()
}

/// The charge of that payment.
pub fn charge_call(number: u64) -> TaskKind {
    let form = form(number);
    TaskKind::Charge(Box::new(ChargeCall {
        card_token: form.card_token.spendable(),
        store_id: form.store_id,
        store_name: form.store_name,
        pos_id: form.pos_id,
        trade_amount: form.trade_amount,
        un_redeem: form.un_redeem,
        remark: form.remark,
    }))
}
