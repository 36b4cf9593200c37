//! The records of `orders`.

use bytes::Bytes;
use prost::Message;
use twqr_order::{Command, Decline, DeclineKind, Outcome, Pay, PolicyChange, Query, Record, ReplyTo, TaskResult};
use twqr_types::{OrderKey, PayForm, UnixMs};

use super::{
    fault::{RecordFault, check_version, need},
    forms::{pay_form, pay_request},
    order_in::{approval_from, effect_id_from, key_from, reply_to_from},
    order_out::{approval_out, effect_id_out, key_out, reply_to_out},
    policy::{policy_from, policy_out},
};
use crate::{
    RECORD_VERSION,
    bus::{self, orders_record::Body, outcome::Result as Came},
};

/// Reads a record of `orders`.
pub fn decode_record(bytes: Bytes) -> Result<Record, RecordFault> {
    let record = bus::OrdersRecord::decode(bytes).map_err(|_| RecordFault::NotProtobuf)?;
    check_version(record.version)?;
    let command = match need(record.body, "body")? {
        Body::Claim(claim) => Command::Claim { owner: claim.owner.into(), nonce: claim.nonce },
        Body::Pay(pay) => Command::Pay(Box::new(Pay {
            form: pay_form(need(pay.request, "request")?).map_err(RecordFault::Form)?,
            reply_to: pay.reply_to.map(reply_to_from),
        })),
        Body::Query(query) => Command::Query(Query {
            key: key_from(query.key)?,
            reply_to: reply_to_from(need(query.reply_to, "reply_to")?),
            watch: query.watch,
        }),
        Body::Outcome(outcome) => Command::Outcome(Box::new(Outcome {
            key: key_from(outcome.key)?,
            task: effect_id_from(outcome.task)?,
            result: result_from(need(outcome.result, "result")?)?,
        })),
        Body::Due(due) => Command::Due(key_from(due.key)?),
        Body::Policy(change) => Command::Policy(Box::new(PolicyChange {
            policy: policy_from(need(change.policy, "policy")?)?,
            who: change.who.into(),
            why: change.why.into(),
        })),
    };
    Ok(Record { at: UnixMs(record.at_ms), command })
}

fn result_from(result: Came) -> Result<TaskResult, RecordFault> {
    Ok(match result {
        Came::Approved(approval) => TaskResult::Approved(approval_from(approval)?),
        Came::Declined(decline) => {
            let kind = match decline.kind() {
                bus::decline::Kind::Wallet => DeclineKind::Wallet,
                bus::decline::Kind::Issuer => DeclineKind::Issuer,
                bus::decline::Kind::CardNotSupported => DeclineKind::CardNotSupported,
                bus::decline::Kind::Fisc => DeclineKind::Fisc,
                bus::decline::Kind::Unspecified => return Err(RecordFault::Missing("kind of the decline")),
            };
            TaskResult::Declined(Decline { kind, code: decline.code.into(), reason: decline.reason.into() })
        }
        Came::NotSent(why) => TaskResult::NotSent(why.reason.into()),
        Came::Unknown(why) => TaskResult::Unknown(why.reason.into()),
        Came::Absent(_) => TaskResult::Absent,
    })
}

fn result_out(result: &TaskResult) -> Came {
    match result {
        TaskResult::Approved(approval) => Came::Approved(approval_out(approval)),
        TaskResult::Declined(decline) => {
            let kind = match decline.kind {
                DeclineKind::Wallet => bus::decline::Kind::Wallet,
                DeclineKind::Issuer => bus::decline::Kind::Issuer,
                DeclineKind::CardNotSupported => bus::decline::Kind::CardNotSupported,
                DeclineKind::Fisc => bus::decline::Kind::Fisc,
            };
            Came::Declined(bus::Decline {
                kind: kind.into(),
                code: decline.code.to_string(),
                reason: decline.reason.to_string(),
            })
        }
        TaskResult::NotSent(reason) => Came::NotSent(bus::NotSent { reason: reason.to_string() }),
        TaskResult::Unknown(reason) => Came::Unknown(bus::Unknown { reason: reason.to_string() }),
        TaskResult::Absent => Came::Absent(bus::Absent {}),
    }
}

/// Writes a record of `orders`.
pub fn encode_record(record: &Record) -> Bytes {
    let body = match &record.command {
        Command::Claim { owner, nonce } => Body::Claim(bus::ShardClaim { owner: owner.to_string(), nonce: *nonce }),
        Command::Pay(pay) => return pay_record(record.at, &pay.form, pay.reply_to),
        Command::Query(query) => {
            return query_record(record.at, &query.key, query.reply_to, query.watch);
        }
        Command::Outcome(outcome) => return outcome_record(record.at, outcome),
        Command::Due(key) => return due_record(record.at, key),
        Command::Policy(change) => Body::Policy(bus::PolicyChange {
            policy: Some(policy_out(&change.policy)),
            who: change.who.to_string(),
            why: change.why.to_string(),
        }),
    };
    encode(record.at, body)
}

/// The record of a payment request.
pub fn pay_record(at: UnixMs, form: &PayForm, reply_to: Option<ReplyTo>) -> Bytes {
    encode(at, Body::Pay(bus::Pay { request: Some(pay_request(form)), reply_to: reply_to.map(reply_to_out) }))
}

/// The record of a question for an order.
pub fn query_record(at: UnixMs, key: &OrderKey, reply_to: ReplyTo, watch: bool) -> Bytes {
    encode(at, Body::Query(bus::Query { key: Some(key_out(key)), reply_to: Some(reply_to_out(reply_to)), watch }))
}

/// The record of what came of a task.
pub fn outcome_record(at: UnixMs, outcome: &Outcome) -> Bytes {
    encode(
        at,
        Body::Outcome(bus::Outcome {
            key: Some(key_out(&outcome.key)),
            task: Some(effect_id_out(outcome.task)),
            result: Some(result_out(&outcome.result)),
        }),
    )
}

/// The record that an order's next check time has come.
pub fn due_record(at: UnixMs, key: &OrderKey) -> Bytes {
    encode(at, Body::Due(bus::Due { key: Some(key_out(key)) }))
}

/// How much of a record that cannot be used is kept, in bytes: the letter must itself be small enough for the journal.
const BURIED_BYTES_MAX: usize = 512 * 1024;

/// The dead letter of a record that stood on `topic` at (partition, offset). `reason` must not have a part of the payload in it.
pub fn dead_letter(topic: &str, (partition, offset): (u32, u64), payload: &Bytes, reason: &str, at: UnixMs) -> Bytes {
    let kept = payload.slice(..payload.len().min(BURIED_BYTES_MAX));
    let cut = if kept.len() < payload.len() {
        format!("; of {} bytes the first are kept", payload.len())
    } else {
        String::new()
    };
    let letter = bus::DeadLetter {
        version: RECORD_VERSION,
        topic: topic.to_owned(),
        partition,
        offset,
        payload: kept,
        reason: format!("{reason}{cut}"),
        at_ms: at.0,
    };
    letter.encode_to_vec().into()
}

fn encode(at: UnixMs, body: Body) -> Bytes {
    bus::OrdersRecord { version: RECORD_VERSION, at_ms: at.0, body: Some(body) }.encode_to_vec().into()
}
