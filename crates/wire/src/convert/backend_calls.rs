//! The calls to a backend (`proto/twqr/backend/v1`), made from tasks.

use twqr_order::{ChargeCall, RefundCall, ReversalCall, Subject, Task, TaskKind};
use twqr_types::SpendableToken;

use crate::backend::{self, exchange_request::Call};

/// The call that moves the money of a task. A task that only inquires moves none, so its call is
/// the inquiry.
pub fn transfer_out(call_id: u64, task: &Task) -> backend::ExchangeRequest {
    let call = match &task.kind {
        TaskKind::Charge(charge) => Call::Charge(charge_call(task, charge)),
        TaskKind::Refund(refund) => Call::Refund(refund_call(task, refund)),
        TaskKind::Reverse(reversal) => Call::Reversal(reversal_call(task, reversal)),
        TaskKind::Inquire(_) => return inquiry_out(call_id, task),
    };
    request(call_id, task, call)
}

/// The call that inquires about the result of the task's movement.
pub fn inquiry_out(call_id: u64, task: &Task) -> backend::ExchangeRequest {
    let (trade_no, subject) = match task.subject() {
        Subject::Charge => (task.trade_no, backend::inquiry::Subject::Charge),
        Subject::Refund { trade_no, .. } => (trade_no, backend::inquiry::Subject::Refund),
        Subject::Reversal => (task.trade_no, backend::inquiry::Subject::Reversal),
    };
    let inquiry = backend::Inquiry { trade_no: trade_no.to_string(), subject: subject.into() };
    request(call_id, task, Call::Inquiry(inquiry))
}

fn request(call_id: u64, task: &Task, call: Call) -> backend::ExchangeRequest {
    let institution = task.issuer.as_wire().to_owned();
    backend::ExchangeRequest { call_id, institution, call: Some(call) }
}

fn charge_call(task: &Task, charge: &ChargeCall) -> backend::Charge {
    backend::Charge {
        trade_no: task.trade_no.to_string(),
        merchant_id: task.key.merchant_id.to_string(),
        merchant_trade_no: task.key.merchant_trade_no.to_string(),
        store_id: charge.store_id.as_str().to_owned(),
        store_name: charge.store_name.as_str().to_owned(),
        pos_id: charge.pos_id.as_str().to_owned(),
        card_token: clear_text(&charge.card_token),
        trade_amount: charge.trade_amount.twd(),
        un_redeem: charge.un_redeem.twd(),
        remark: charge.remark.as_str().to_owned(),
        send_by_ms: task.send_by.0,
    }
}

/// The token for the issuer. The worker has opened it before; a sealed one is nothing to pay with.
fn clear_text(token: &SpendableToken) -> String {
    match token {
        SpendableToken::Clear(token) => token.expose().to_owned(),
        SpendableToken::Sealed(_) => String::new(),
    }
}

fn refund_call(task: &Task, refund: &RefundCall) -> backend::Refund {
    backend::Refund {
        refund_trade_no: refund.trade_no.to_string(),
        trade_no: task.trade_no.to_string(),
        merchant_id: task.key.merchant_id.to_string(),
        merchant_trade_no: refund.number.to_string(),
        store_id: refund.store_id.as_str().to_owned(),
        store_name: refund.store_name.as_str().to_owned(),
        pos_id: refund.pos_id.as_str().to_owned(),
        trade_amount: refund.trade_amount.twd(),
        remark: refund.remark.as_str().to_owned(),
        send_by_ms: task.send_by.0,
    }
}

fn reversal_call(task: &Task, reversal: &ReversalCall) -> backend::Reversal {
    backend::Reversal {
        trade_no: task.trade_no.to_string(),
        merchant_id: task.key.merchant_id.to_string(),
        merchant_trade_no: task.key.merchant_trade_no.to_string(),
        store_id: reversal.store_id.as_str().to_owned(),
        trade_amount: reversal.amount,
        remark: reversal.remark.as_str().to_owned(),
        send_by_ms: task.send_by.0,
    }
}
