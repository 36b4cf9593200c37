//! Orders, tasks and replies on their way out.

use twqr_order::{
    Approval, Charge, EffectId, Evidence, Payment, PaymentType, Phase, Reply, ReplyBody, ReplyTo, Subscriber, Task,
    TaskKind, Terms,
};
use twqr_types::OrderKey;

use crate::{RECORD_VERSION, bus, pos};

/// An order's key.
pub fn key_out(key: &OrderKey) -> bus::OrderKey {
    bus::OrderKey {
        merchant_id: key.merchant_id.as_str().to_owned(),
        merchant_trade_no: key.merchant_trade_no.as_str().to_owned(),
    }
}

/// An effect's identity.
pub fn effect_id_out(id: EffectId) -> bus::EffectId {
    bus::EffectId { shard: u32::from(id.shard.0), offset: id.offset, n: id.n }
}

pub(crate) fn reply_to_out(to: ReplyTo) -> bus::ReplyTo {
    bus::ReplyTo { partition: to.partition, correlation: to.correlation, until_ms: to.until.0 }
}

/// An approval.
pub fn approval_out(approval: &Approval) -> bus::Approval {
    let payment_type = match approval.payment_type {
        PaymentType::StoredValue => pos::PaymentType::StoredValue,
        PaymentType::BankAccount => pos::PaymentType::BankAccount,
        PaymentType::CreditCard => pos::PaymentType::CreditCard,
        PaymentType::OtherIssuer => pos::PaymentType::OtherIssuer,
    };
    bus::Approval {
        payment_type: payment_type.into(),
        debit_amount: approval.debit_amount,
        redeem_name: approval.redeem_name.to_string(),
        redeem_amount: approval.redeem_amount,
        store_redeem_amount: approval.store_redeem_amount,
        invoice_vehicle: approval.invoice_vehicle.to_string(),
        mer_mem_token: approval.mer_mem_token.to_string(),
        card_name: approval.card_name.to_string(),
        card_no_masked: approval.card_no_masked.to_string(),
        issuer_trade_no: approval.issuer_trade_no.to_string(),
    }
}

fn terms_out(terms: &Terms) -> bus::PaymentTerms {
    bus::PaymentTerms {
        store_id: terms.store_id.as_str().to_owned(),
        store_name: terms.store_name.as_str().to_owned(),
        gateway_trade_no: terms.gateway_trade_no.as_str().to_owned(),
        pos_id: terms.pos_id.as_str().to_owned(),
        pos_trade_time: terms.pos_trade_time.as_str().to_owned(),
        trade_amount: terms.trade_amount.twd(),
        un_redeem: terms.un_redeem.twd(),
        requested_un_redeem: terms.requested_un_redeem.twd(),
        remark: terms.remark.as_str().to_owned(),
        extra1: terms.extra1.as_str().to_owned(),
        extra2: terms.extra2.as_str().to_owned(),
        card_token_digest: terms.card_token.as_bytes().to_vec().into(),
    }
}

fn phase_out(payment: &Payment) -> bus::payment::Phase {
    match &payment.phase {
        Phase::Paying { task } => bus::payment::Phase::Paying(bus::Paying {
            task: Some(effect_id_out(*task)),
            next_check_ms: payment.absent_after.0,
        }),
        Phase::Unresolved { next_check } => {
            bus::payment::Phase::Unresolved(bus::Unresolved { next_check_ms: next_check.0 })
        }
        Phase::Asking { task } => bus::payment::Phase::Asking(bus::Asking { task: Some(effect_id_out(*task)) }),
        Phase::Paid(approval) => bus::payment::Phase::Paid(approval_out(approval)),
        Phase::Failed(failure) => {
            let evidence = match failure.evidence {
                Evidence::Declined => bus::failure::Evidence::Declined,
                Evidence::NotSent => bus::failure::Evidence::NotSent,
                Evidence::Absent => bus::failure::Evidence::Absent,
                Evidence::Refused => bus::failure::Evidence::Refused,
            };
            bus::payment::Phase::Failed(bus::Failure {
                evidence: evidence.into(),
                status_code: failure.status_code.to_string(),
                status_desc: failure.status_desc.to_string(),
            })
        }
    }
}

/// A payment order, as it stands in `order-states` and in replies.
pub fn payment_out(payment: &Payment) -> bus::Payment {
    let subscriber = |s: &Subscriber| bus::Subscriber { reply_to: Some(reply_to_out(s.to)), repeat: s.repeat };
    bus::Payment {
        key: Some(key_out(&payment.key)),
        trade_no: payment.trade_no.as_str().to_owned(),
        shard: u32::from(payment.trade_no.shard().0),
        accepted_at_ms: payment.accepted_at.0,
        terms: Some(terms_out(&payment.terms)),
        institution: payment.issuer.as_ref().map_or("", |issuer| issuer.institution()).to_owned(),
        send_by_ms: payment.send_by.0,
        absent_after_ms: payment.absent_after.0,
        phase: Some(phase_out(payment)),
        subscribers: payment.subscribers.iter().map(subscriber).collect(),
        contradiction: payment.contradiction.as_deref().unwrap_or_default().to_owned(),
        inquiries: payment.inquiries,
        changed_at_ms: payment.changed_at.0,
        unrouted: payment.issuer.is_none(),
    }
}

/// A task, as it stands on a task partition.
pub fn task_out(task: &Task) -> bus::TasksRecord {
    let kind = match &task.kind {
        TaskKind::Charge(charge) => bus::task::Kind::Charge(charge_out(charge)),
        TaskKind::Inquire => bus::task::Kind::Inquire(bus::InquireTask {}),
    };
    let task = bus::Task {
        id: Some(effect_id_out(task.id)),
        key: Some(key_out(&task.key)),
        trade_no: task.trade_no.as_str().to_owned(),
        institution: task.issuer.institution().to_owned(),
        send_by_ms: task.send_by.0,
        absent_after_ms: task.absent_after.0,
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

/// A reply; `order` is the order right after the record that caused it. Who else waits is nobody's business there.
pub fn reply_out(reply: &Reply, order: Option<&Payment>) -> bus::ReplyRecord {
    let body = match &reply.body {
        ReplyBody::Order => order.map(|payment| {
            bus::reply_record::Body::Payment(bus::Payment { subscribers: Vec::new(), ..payment_out(payment) })
        }),
        ReplyBody::NotFound => Some(bus::reply_record::Body::NotFound(bus::NotFound {})),
        ReplyBody::Conflict(fields) => Some(bus::reply_record::Body::Conflict(bus::Conflict {
            fields: fields.iter().map(|field| field.pos_name().to_owned()).collect(),
        })),
        ReplyBody::TooManyWatchers => Some(bus::reply_record::Body::TooManyWatchers(bus::TooManyWatchers {})),
    };
    bus::ReplyRecord {
        version: RECORD_VERSION,
        id: Some(effect_id_out(reply.id)),
        correlation: reply.to.correlation,
        body,
        repeat: reply.repeat,
    }
}
