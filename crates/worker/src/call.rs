//! The calls of tasks, as a backend takes them.

use twqr_order::Subject;
use twqr_wire::{
    backend::{Charge, Inquiry, Refund, Reversal, exchange_request::Call, inquiry},
    bus,
};

use crate::partition::Transfer;

/// The call that moves money.
pub(crate) fn transfer_call(task: &bus::Task, transfer: Transfer) -> Call {
    let key = task.key.clone().unwrap_or_default();
    match transfer {
        Transfer::Charge(charge) => Call::Charge(Charge {
            trade_no: task.trade_no.clone(),
            merchant_id: key.merchant_id,
            merchant_trade_no: key.merchant_trade_no,
            store_id: charge.store_id,
            store_name: charge.store_name,
            pos_id: charge.pos_id,
            card_token: charge.card_token,
            trade_amount: charge.trade_amount,
            un_redeem: charge.un_redeem,
            remark: charge.remark,
            send_by_ms: task.send_by_ms,
        }),
        Transfer::Refund(refund) => Call::Refund(Refund {
            refund_trade_no: refund.trade_no,
            trade_no: task.trade_no.clone(),
            merchant_id: key.merchant_id,
            merchant_trade_no: refund.merchant_trade_no,
            store_id: refund.store_id,
            store_name: refund.store_name,
            pos_id: refund.pos_id,
            trade_amount: refund.trade_amount,
            remark: refund.remark,
            send_by_ms: task.send_by_ms,
        }),
        Transfer::Reversal(reversal) => Call::Reversal(Reversal {
            trade_no: task.trade_no.clone(),
            merchant_id: key.merchant_id,
            merchant_trade_no: key.merchant_trade_no,
            store_id: reversal.store_id,
            trade_amount: reversal.amount,
            remark: reversal.remark,
            send_by_ms: task.send_by_ms,
        }),
    }
}

/// The question what became of a movement.
pub(crate) fn inquiry_call(task: &bus::Task, subject: &Subject) -> Call {
    let (trade_no, subject) = match subject {
        Subject::Charge => (task.trade_no.clone(), inquiry::Subject::Charge),
        Subject::Refund { trade_no, .. } => (trade_no.to_string(), inquiry::Subject::Refund),
        Subject::Reversal => (task.trade_no.clone(), inquiry::Subject::Reversal),
    };
    Call::Inquiry(Inquiry { trade_no, subject: subject.into() })
}

/// Unix ms after which a call must not be handed over any more; none for questions.
pub(crate) fn send_by_ms(call: &Call) -> Option<i64> {
    match call {
        Call::Charge(charge) => Some(charge.send_by_ms),
        Call::Refund(refund) => Some(refund.send_by_ms),
        Call::Reversal(reversal) => Some(reversal.send_by_ms),
        Call::Inquiry(_) => None,
    }
}
