//! Tasks and replies on their way out.

use twqr_order::{Charge, Order, RefundCall, Reply, ReplyBody, ReverseCall, Subject, Task, TaskKind};
use twqr_types::{MerchantTradeNo, OrderKey};

use super::{
    fault::RecordFault,
    ids::{effect_id_out, key_out, merchant_trade_no_from, trade_no_from},
    order::order_for_caller,
    policy::limits_out,
};
use crate::{RECORD_VERSION, bus};

/// A task, as it stands on a task partition.
pub fn task_out(task: &Task) -> bus::TasksRecord {
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
        institution: task.issuer.institution().to_owned(),
        send_by_ms: task.send_by.0,
        absent_after_ms: task.absent_after.0,
        limits: Some(limits_out(task.limits)),
        kind: Some(kind),
    };
    bus::TasksRecord { version: RECORD_VERSION, body: Some(bus::tasks_record::Body::Task(task)) }
}

fn charge_out(charge: &Charge) -> bus::ChargeTask {
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

fn reversal_out(reversal: &ReverseCall) -> bus::ReversalTask {
    bus::ReversalTask {
        store_id: reversal.store_id.as_str().to_owned(),
        amount: reversal.amount,
        remark: reversal.remark.as_str().to_owned(),
    }
}

/// Which movement; the charge is none.
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

/// Which movement.
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

/// The refund with this number; its own TradeNo is not told where only the number counts.
pub(crate) fn refund_subject(number: &MerchantTradeNo) -> bus::Subject {
    let refund = bus::RefundNumber { merchant_trade_no: number.as_str().to_owned(), trade_no: String::new() };
    bus::Subject { subject: Some(bus::subject::Subject::Refund(refund)) }
}

/// A reply; `order` is the order right after the record that caused it, `in_progress_code` the
/// StatusCode for what is in progress.
pub fn reply_out(reply: &Reply, order: Option<&Order>, in_progress_code: &str) -> bus::ReplyRecord {
    let body = match &reply.body {
        ReplyBody::Order => order.map(|order| bus::reply_record::Body::Order(order_for_caller(order))),
        ReplyBody::NotFound => Some(bus::reply_record::Body::NotFound(bus::NotFound {})),
        ReplyBody::Conflict(fields) => Some(bus::reply_record::Body::Conflict(bus::Conflict {
            fields: fields.iter().map(|field| field.pos_name().to_owned()).collect(),
        })),
        ReplyBody::TooManyWatchers => Some(bus::reply_record::Body::TooManyWatchers(bus::TooManyWatchers {})),
        ReplyBody::KeyRefused => Some(bus::reply_record::Body::KeyRefused(bus::KeyRefused {})),
    };
    bus::ReplyRecord {
        version: RECORD_VERSION,
        id: Some(effect_id_out(reply.id)),
        correlation: reply.to.correlation,
        body,
        repeat: reply.repeat,
        in_progress_code: in_progress_code.to_owned(),
    }
}

/// To every ingress: what is remembered of this order's payment is no longer the answer.
pub fn forget_reply(key: &OrderKey) -> bus::ReplyRecord {
    bus::ReplyRecord {
        version: RECORD_VERSION,
        body: Some(bus::reply_record::Body::Forget(key_out(key))),
        ..bus::ReplyRecord::default()
    }
}

/// To every ingress: other rules hold, so what is remembered of payments need not be the answer any
/// more.
pub fn rules_changed_reply() -> bus::ReplyRecord {
    bus::ReplyRecord {
        version: RECORD_VERSION,
        body: Some(bus::reply_record::Body::RulesChanged(bus::RulesChanged {})),
        ..bus::ReplyRecord::default()
    }
}
