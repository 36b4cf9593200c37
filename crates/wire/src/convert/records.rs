//! The records of `orders`.

use bytes::Bytes;
use prost::Message;
use twqr_order::{CancelRequest, Command, Outcome, Pay, Query, Record, RefundRequest, RefundResult, ReplyTo, Reserve};
use twqr_types::{Amount, KeyName, OrderKey, PayForm, PosId, RefundForm, Remark, StoreId, StoreName, UnixMs};

use super::{
    fault::{RecordFault, check_version, need},
    forms::{cancel_form, cancel_request, pay_form, pay_request, refund_form, refund_request},
    ids::{key_from, key_out, reply_to_from, reply_to_out, trade_no_from},
    movement::{failure_from, failure_out},
    outcomes::{outcome_from, outcome_out},
    policy::{policy_change_from, policy_change_out},
    refund::{success_from, success_out},
};
use crate::{
    RECORD_VERSION,
    bus::{self, orders_record::Body, refund_result::Result as RefundCame},
};

/// When a record is written, and the merchant's key with which it was signed, if it was.
#[derive(Clone, Copy, Debug)]
pub struct Stamp<'a> {
    /// By its writer's clock.
    pub at: UnixMs,
    /// The key's name.
    pub signed_by: Option<&'a KeyName>,
}

impl From<UnixMs> for Stamp<'_> {
    fn from(at: UnixMs) -> Self {
        Self { at, signed_by: None }
    }
}

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
        Body::Refund(refund) => Command::Refund(Box::new(RefundRequest {
            form: refund_form(need(refund.request, "request")?).map_err(RecordFault::Form)?,
            reply_to: refund.reply_to.map(reply_to_from),
        })),
        Body::Cancel(cancel) => Command::Cancel(Box::new(CancelRequest {
            form: cancel_form(need(cancel.request, "request")?).map_err(RecordFault::Form)?,
            reply_to: cancel.reply_to.map(reply_to_from),
        })),
        Body::Reserve(reserve) => Command::Reserve(Box::new(reserve_from(reserve)?)),
        Body::RefundResult(result) => Command::RefundResult(Box::new(refund_result_from(result)?)),
        Body::Query(query) => Command::Query(Query {
            key: key_from(query.key)?,
            reply_to: reply_to_from(need(query.reply_to, "reply_to")?),
            watch: query.watch,
            keep: query.keep,
        }),
        Body::Outcome(outcome) => Command::Outcome(Box::new(outcome_from(outcome)?)),
        Body::Due(due) => Command::Due(key_from(due.key)?),
        Body::Policy(change) => Command::Policy(Box::new(policy_change_from(change)?)),
    };
    let key = |name: String| KeyName::parse(name).map_err(RecordFault::invalid("signed_by"));
    let signed_by = Some(record.signed_by).filter(|name| !name.is_empty()).map(key).transpose()?;
    Ok(Record { at: UnixMs(record.at_ms), signed_by, command })
}

fn reserve_from(reserve: bus::Reserve) -> Result<Reserve, RecordFault> {
    let invalid = RecordFault::invalid;
    Ok(Reserve {
        payment: trade_no_from(&reserve.payment_trade_no)?,
        refund: key_from(reserve.refund)?,
        trade_no: trade_no_from(&reserve.trade_no)?,
        amount: Amount::parse(reserve.amount).map_err(invalid("amount"))?,
        store_id: StoreId::parse(reserve.store_id).map_err(invalid("store_id"))?,
        store_name: StoreName::parse(reserve.store_name).map_err(invalid("store_name"))?,
        pos_id: PosId::parse(reserve.pos_id).map_err(invalid("pos_id"))?,
        remark: Remark::parse(reserve.remark).map_err(invalid("remark"))?,
    })
}

fn reserve_out(reserve: &Reserve) -> bus::Reserve {
    bus::Reserve {
        payment_trade_no: reserve.payment.as_str().to_owned(),
        refund: Some(key_out(&reserve.refund)),
        trade_no: reserve.trade_no.as_str().to_owned(),
        amount: reserve.amount.twd(),
        store_id: reserve.store_id.as_str().to_owned(),
        store_name: reserve.store_name.as_str().to_owned(),
        pos_id: reserve.pos_id.as_str().to_owned(),
        remark: reserve.remark.as_str().to_owned(),
    }
}

fn refund_result_from(result: bus::RefundResult) -> Result<RefundResult, RecordFault> {
    let came = match need(result.result, "result")? {
        RefundCame::Succeeded(success) => Ok(success_from(success)?),
        RefundCame::Failed(failure) => Err(failure_from(failure)?),
    };
    Ok(RefundResult { key: key_from(result.key)?, result: came })
}

fn refund_result_out(result: &RefundResult) -> bus::RefundResult {
    let came = match &result.result {
        Ok(success) => RefundCame::Succeeded(success_out(success)),
        Err(failure) => RefundCame::Failed(failure_out(failure)),
    };
    bus::RefundResult { key: Some(key_out(&result.key)), result: Some(came) }
}

/// Writes a record of `orders`.
pub fn encode_record(record: &Record) -> Bytes {
    let stamp = Stamp { at: record.at, signed_by: record.signed_by.as_ref() };
    let body = match &record.command {
        Command::Claim { owner, nonce } => Body::Claim(bus::ShardClaim { owner: owner.to_string(), nonce: *nonce }),
        Command::Pay(pay) => return pay_record(stamp, &pay.form, pay.reply_to),
        Command::Refund(refund) => return refund_record(stamp, &refund.form, refund.reply_to),
        Command::Cancel(cancel) => return cancel_record(stamp, &cancel.form, cancel.reply_to),
        Command::Reserve(reserve) => Body::Reserve(reserve_out(reserve)),
        Command::RefundResult(result) => Body::RefundResult(refund_result_out(result)),
        Command::Query(query) => Body::Query(query_out(&query.key, query.reply_to, query.watch, query.keep)),
        Command::Outcome(outcome) => Body::Outcome(outcome_out(outcome)),
        Command::Due(key) => Body::Due(bus::Due { key: Some(key_out(key)) }),
        Command::Policy(change) => Body::Policy(policy_change_out(change)),
    };
    encode(stamp, body)
}

/// The record of a payment request.
pub fn pay_record<'a>(stamp: impl Into<Stamp<'a>>, form: &PayForm, reply_to: Option<ReplyTo>) -> Bytes {
    encode(stamp, Body::Pay(bus::Pay { request: Some(pay_request(form)), reply_to: reply_to.map(reply_to_out) }))
}

/// The record of a refund request.
pub fn refund_record<'a>(stamp: impl Into<Stamp<'a>>, form: &RefundForm, reply_to: Option<ReplyTo>) -> Bytes {
    let (request, reply_to) = (Some(refund_request(form)), reply_to.map(reply_to_out));
    encode(stamp, Body::Refund(bus::RefundRequest { request, reply_to }))
}

/// The record of a cancel request.
pub fn cancel_record<'a>(stamp: impl Into<Stamp<'a>>, form: &PayForm, reply_to: Option<ReplyTo>) -> Bytes {
    let (request, reply_to) = (Some(cancel_request(form)), reply_to.map(reply_to_out));
    encode(stamp, Body::Cancel(bus::CancelRequest { request, reply_to }))
}

/// The record of a question for an order.
pub fn query_record<'a>(stamp: impl Into<Stamp<'a>>, key: &OrderKey, reply_to: ReplyTo, watch: bool) -> Bytes {
    encode(stamp, Body::Query(query_out(key, reply_to, watch, false)))
}

/// The record of a watch: the order as it is and every change after it; with `keep` also when
/// nothing is in progress any more.
pub fn watch_record(at: UnixMs, key: &OrderKey, reply_to: ReplyTo, keep: bool) -> Bytes {
    encode(at, Body::Query(query_out(key, reply_to, true, keep)))
}

fn query_out(key: &OrderKey, reply_to: ReplyTo, watch: bool, keep: bool) -> bus::Query {
    bus::Query { key: Some(key_out(key)), reply_to: Some(reply_to_out(reply_to)), watch, keep }
}

/// The record of what came of a task.
pub fn outcome_record(at: UnixMs, outcome: &Outcome) -> Bytes {
    encode(at, Body::Outcome(outcome_out(outcome)))
}

/// The record that an order's next check time has come.
pub fn due_record(at: UnixMs, key: &OrderKey) -> Bytes {
    encode(at, Body::Due(bus::Due { key: Some(key_out(key)) }))
}

/// How much of a record that cannot be used is kept, in bytes: the letter must itself be small
/// enough for the journal.
const BURIED_BYTES_MAX: usize = 512 * 1024;

/// The dead letter of a record that stood on `topic` at (partition, offset). `reason` must not have
/// a part of the payload in it.
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

fn encode<'a>(stamp: impl Into<Stamp<'a>>, body: Body) -> Bytes {
    let Stamp { at, signed_by } = stamp.into();
    let signed_by = signed_by.map_or_else(String::new, |name| name.as_str().to_owned());
    bus::OrdersRecord { version: RECORD_VERSION, at_ms: at.0, signed_by, body: Some(body) }.encode_to_vec().into()
}
