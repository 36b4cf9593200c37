//! The records of `wallet-tasks` and `fisc-tasks`: calls for a worker to make.

use bytes::Bytes;
use prost::Message;
use twqr_order::{ChargeCall, RefundCall, ReversalCall, Subject, Task, TaskKind};
use twqr_types::MerchantTradeNo;

use super::{
    fault::RecordFault,
    ids::{effect_id_out, key_out, merchant_trade_no_from, trade_no_from},
    policy::limits_out,
};
use crate::{RECORD_VERSION, bus};

/// Writes a task.
pub fn encode_task(task: &Task) -> Bytes {
    let kind = match &task.kind {
        TaskKind::Charge(charge) => bus::task::Kind::Charge(charge_out(charge)),
        TaskKind::Refund(refund) => bus::task::Kind::Refund(refund_out(refund)),
        TaskKind::Reverse(reversal) => bus::task::Kind::Reversal(reversal_out(reversal)),
        TaskKind::Inquire(subject) => bus::task::Kind::Inquire(bus::InquireTask { subject: subject_out(subject) }),
    };
    let task = bus::Task {
        id: Some(effect_id_out(task.id)),
        key: Some(key_out(&task.key)),
        trade_no: task.trade_no.as_str().to_owned(),
        institution: task.issuer.as_wire().to_owned(),
        send_by_ms: task.send_by.0,
        absent_after_ms: task.absent_after.0,
        limits: Some(limits_out(task.limits)),
        kind: Some(kind),
    };
    let record = bus::TasksRecord { version: RECORD_VERSION, body: Some(bus::tasks_record::Body::Task(task)) };
    record.encode_to_vec().into()
}

fn charge_out(charge: &ChargeCall) -> bus::ChargeTask {
    bus::ChargeTask {
        card_token: charge.card_token.expose().to_owned(),
        store_id: charge.store_id.as_str().to_owned(),
        store_name: charge.store_name.as_str().to_owned(),
        pos_id: charge.pos_id.as_str().to_owned(),
        trade_amount: charge.trade_amount.twd(),
        un_redeem: charge.un_redeem.twd(),
        remark: charge.remark.as_str().to_owned(),
    }
}

fn refund_out(refund: &RefundCall) -> bus::RefundTask {
    bus::RefundTask {
        merchant_trade_no: refund.number.as_str().to_owned(),
        trade_no: refund.trade_no.as_str().to_owned(),
        store_id: refund.store_id.as_str().to_owned(),
        store_name: refund.store_name.as_str().to_owned(),
        pos_id: refund.pos_id.as_str().to_owned(),
        trade_amount: refund.trade_amount.twd(),
        remark: refund.remark.as_str().to_owned(),
    }
}

fn reversal_out(reversal: &ReversalCall) -> bus::ReversalTask {
    bus::ReversalTask {
        store_id: reversal.store_id.as_str().to_owned(),
        amount: reversal.amount,
        remark: reversal.remark.as_str().to_owned(),
    }
}

/// Encodes which movement of a payment is meant; the charge is encoded as an absent subject.
pub(crate) fn subject_out(subject: &Subject) -> Option<bus::Subject> {
    let subject = match subject {
        Subject::Charge => return None,
        Subject::Refund { number, trade_no } => bus::subject::Subject::Refund(bus::RefundNumber {
            merchant_trade_no: number.as_str().to_owned(),
            trade_no: trade_no.as_str().to_owned(),
        }),
        Subject::Reversal => bus::subject::Subject::Reversal(bus::ReversalSubject {}),
    };
    Some(bus::Subject { subject: Some(subject) })
}

/// Decodes which movement of a payment is meant; an absent subject is the charge.
pub fn subject_from(subject: Option<bus::Subject>) -> Result<Subject, RecordFault> {
    Ok(match subject.and_then(|subject| subject.subject) {
        None => Subject::Charge,
        Some(bus::subject::Subject::Refund(refund)) => Subject::Refund {
            number: merchant_trade_no_from(refund.merchant_trade_no)?,
            trade_no: trade_no_from(&refund.trade_no)?,
        },
        Some(bus::subject::Subject::Reversal(_)) => Subject::Reversal,
    })
}

/// Encodes the refund with this number in an outcome, where its TradeNo is left empty: the router
/// finds the refund by its number alone.
pub(crate) fn refund_subject(number: &MerchantTradeNo) -> bus::Subject {
    let refund = bus::RefundNumber { merchant_trade_no: number.as_str().to_owned(), trade_no: String::new() };
    bus::Subject { subject: Some(bus::subject::Subject::Refund(refund)) }
}
