//! The records of `orders`: everything that changes an order or inquires about one.

use bytes::Bytes;
use prost::Message;
use twqr_order::{
    CancelRequest, Command, HoldRecord, Nonce, Outcome, PROTOCOL_VERSION_NEWEST, Pay, Query, Record, RefundRequest,
    RefundResult, ReplyTo, Reserve,
};
use twqr_types::{Amount, KeyName, OrderKey, PayForm, PosId, RefundForm, Remark, StoreId, StoreName, UnixMs};

use super::{
    alive::{alive_from, alive_out, process_from, process_out},
    card_tokens::protected_out,
    fault::{RecordFault, check_version, need},
    forms::{cancel_request, pay_request, recorded_cancel, recorded_pay, refund_form, refund_request},
    hop_times::HopTimes,
    ids::{key_from, key_out, reply_to_from, reply_to_out, trade_no_from},
    listings::{listing_change_from, listing_change_out},
    movement::{failure_from, failure_out},
    nonce::{nonce_from, nonce_out},
    outcomes::{outcome_from, outcome_out},
    policy::{policy_change_from, policy_change_out},
    refund::{success_from, success_out},
};
use crate::{
    RECORD_VERSION,
    bus::{self, orders_record::Body, refund_result::Result as RefundResultBody},
};

/// The fields of a record that do not depend on its command.
#[derive(Clone, Copy, Debug)]
pub struct Stamp<'a> {
    /// When the record is written, by its writer's clock.
    pub at: UnixMs,
    /// The name of the merchant's key that signed the request; absent if it was not signed.
    pub signed_by: Option<&'a KeyName>,
    /// The nonce of the request's signature; absent if it has none.
    pub nonce: Option<Nonce>,
}

impl From<UnixMs> for Stamp<'_> {
    fn from(at: UnixMs) -> Self {
        Self { at, signed_by: None, nonce: None }
    }
}

/// Reads a record of `orders`.
pub fn decode_record(bytes: Bytes) -> Result<Record, RecordFault> {
    decode_record_with_hops(bytes).map(|(record, _)| record)
}

/// Reads a record of `orders`, and the hops of its call if that asked for them.
pub fn decode_record_with_hops(bytes: Bytes) -> Result<(Record, Option<HopTimes>), RecordFault> {
    let record = bus::OrdersRecord::decode(bytes).map_err(|_| RecordFault::NotProtobuf)?;
    check_version(record.version)?;
    let command = match need(record.body, "body")? {
        Body::Claim(bus::ShardClaim { owner, nonce, replaces }) => {
            Command::Hold(HoldRecord::Claim { owner: owner.into(), nonce, replaces })
        }
        Body::Release(release) => Command::Hold(HoldRecord::Release { claim: release.claim }),
        Body::Intent(intent) => Command::Hold(HoldRecord::Intent(process_from(intent.by)?)),
        Body::Alive(alive) => Command::Hold(HoldRecord::Alive(alive_from(alive)?)),
        Body::Doubt(doubt) => Command::Hold(HoldRecord::Doubt(process_from(doubt.by)?)),
        Body::Pay(pay) => Command::Pay(Box::new(Pay {
            form: recorded_pay(need(pay.request, "request")?, pay.token)?,
            reply_to: pay.reply_to.map(reply_to_from),
        })),
        Body::Refund(refund) => Command::Refund(Box::new(RefundRequest {
            form: refund_form(need(refund.request, "request")?).map_err(RecordFault::Form)?,
            reply_to: refund.reply_to.map(reply_to_from),
        })),
        Body::Cancel(cancel) => Command::Cancel(Box::new(CancelRequest {
            form: recorded_cancel(need(cancel.request, "request")?, cancel.token)?,
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
        Body::CloseBooks(closing) => Command::CloseBooks(UnixMs(closing.until_ms)),
        Body::Listing(change) => Command::Listing(Box::new(listing_change_from(change)?)),
    };
    let key = |name: String| KeyName::parse(name).map_err(RecordFault::invalid("signed_by"));
    let signed_by = Some(record.signed_by).filter(|name| !name.is_empty()).map(key).transpose()?;
    let nonce = record.nonce.as_ref().map(nonce_from).transpose()?;
    Ok((Record { at: UnixMs(record.at_ms), signed_by, nonce, command }, record.hops.map(HopTimes::from)))
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
    let outcome = match need(result.result, "result")? {
        RefundResultBody::Succeeded(success) => Ok(success_from(success)?),
        RefundResultBody::Failed(failure) => Err(failure_from(failure)?),
    };
    Ok(RefundResult { key: key_from(result.key)?, result: outcome })
}

fn refund_result_out(result: &RefundResult) -> bus::RefundResult {
    let body = match &result.result {
        Ok(success) => RefundResultBody::Succeeded(success_out(success)),
        Err(failure) => RefundResultBody::Failed(failure_out(failure)),
    };
    bus::RefundResult { key: Some(key_out(&result.key)), result: Some(body) }
}

/// Writes a record of `orders`.
pub fn encode_record(record: &Record) -> Bytes {
    let stamp = Stamp { at: record.at, signed_by: record.signed_by.as_ref(), nonce: record.nonce };
    let body = match &record.command {
        Command::Hold(hold) => hold_out(hold),
        Command::Pay(pay) => return encode_pay(stamp, &pay.form, pay.reply_to),
        Command::Refund(refund) => return encode_refund(stamp, &refund.form, refund.reply_to),
        Command::Cancel(cancel) => return encode_cancel(stamp, &cancel.form, cancel.reply_to),
        Command::Reserve(reserve) => Body::Reserve(reserve_out(reserve)),
        Command::RefundResult(result) => Body::RefundResult(refund_result_out(result)),
        Command::Query(query) => Body::Query(query_out(&query.key, query.reply_to, query.watch, query.keep)),
        Command::Outcome(outcome) => Body::Outcome(outcome_out(outcome)),
        Command::Due(key) => Body::Due(bus::Due { key: Some(key_out(key)) }),
        Command::Policy(change) => Body::Policy(policy_change_out(change)),
        Command::CloseBooks(until) => Body::CloseBooks(bus::CloseBooks { until_ms: until.0 }),
        Command::Listing(change) => Body::Listing(listing_change_out(change)),
    };
    encode(stamp, body)
}

fn hold_out(hold: &HoldRecord) -> Body {
    match hold {
        HoldRecord::Claim { owner, nonce, replaces } => {
            Body::Claim(bus::ShardClaim { owner: owner.to_string(), nonce: *nonce, replaces: *replaces })
        }
        HoldRecord::Release { claim } => Body::Release(bus::ShardRelease { claim: *claim }),
        HoldRecord::Intent(by) => Body::Intent(bus::ShardIntent { by: Some(process_out(by)) }),
        HoldRecord::Alive(alive) => Body::Alive(alive_out(alive)),
        HoldRecord::Doubt(by) => Body::Doubt(bus::Doubt { by: Some(process_out(by)) }),
    }
}

/// Writes a payment request.
pub fn encode_pay<'a>(stamp: impl Into<Stamp<'a>>, form: &PayForm, reply_to: Option<ReplyTo>) -> Bytes {
    let (request, token) = (Some(pay_request(form)), protected_out(&form.card_token));
    encode(stamp, Body::Pay(bus::Pay { request, reply_to: reply_to.map(reply_to_out), token }))
}

/// Writes a refund request.
pub fn encode_refund<'a>(stamp: impl Into<Stamp<'a>>, form: &RefundForm, reply_to: Option<ReplyTo>) -> Bytes {
    let (request, reply_to) = (Some(refund_request(form)), reply_to.map(reply_to_out));
    encode(stamp, Body::Refund(bus::RefundRequest { request, reply_to }))
}

/// Writes a cancel request.
pub fn encode_cancel<'a>(stamp: impl Into<Stamp<'a>>, form: &PayForm, reply_to: Option<ReplyTo>) -> Bytes {
    let (request, token) = (Some(cancel_request(form)), protected_out(&form.card_token));
    encode(stamp, Body::Cancel(bus::CancelRequest { request, reply_to: reply_to.map(reply_to_out), token }))
}

/// Writes an inquiry: the order as it is now, and with `watch` every change until nothing of it is
/// in progress.
pub fn encode_query<'a>(stamp: impl Into<Stamp<'a>>, key: &OrderKey, reply_to: ReplyTo, watch: bool) -> Bytes {
    encode(stamp, Body::Query(query_out(key, reply_to, watch, false)))
}

/// Writes a watch: the order as it is now and every change after that. Without `keep` the watch
/// ends when nothing of the order is in progress.
pub fn encode_watch(at: UnixMs, key: &OrderKey, reply_to: ReplyTo, keep: bool) -> Bytes {
    encode(at, Body::Query(query_out(key, reply_to, true, keep)))
}

fn query_out(key: &OrderKey, reply_to: ReplyTo, watch: bool, keep: bool) -> bus::Query {
    bus::Query { key: Some(key_out(key)), reply_to: Some(reply_to_out(reply_to)), watch, keep }
}

/// Writes the outcome of a task.
pub fn encode_outcome(at: UnixMs, outcome: &Outcome) -> Bytes {
    encode(at, Body::Outcome(outcome_out(outcome)))
}

/// Writes that an order in progress is due.
pub fn encode_due(at: UnixMs, key: &OrderKey) -> Bytes {
    encode(at, Body::Due(bus::Due { key: Some(key_out(key)) }))
}

fn encode<'a>(stamp: impl Into<Stamp<'a>>, body: Body) -> Bytes {
    let Stamp { at, signed_by, nonce } = stamp.into();
    let signed_by = signed_by.map_or_else(String::new, |name| name.as_str().to_owned());
    let nonce = nonce.as_ref().map(nonce_out);
    let protocol_known = if replies_partition(&body).is_some() { PROTOCOL_VERSION_NEWEST } else { 0 };
    let (version, body) = (RECORD_VERSION, Some(body));
    let record = bus::OrdersRecord { version, at_ms: at.0, signed_by, nonce, body, hops: None, protocol_known };
    record.encode_to_vec().into()
}

/// The partition of `replies` that the ingress reads from which this request came; `None` if it is
/// no request of a caller.
fn replies_partition(body: &Body) -> Option<u32> {
    let reply_to = match body {
        Body::Pay(pay) => pay.reply_to.as_ref(),
        Body::Query(query) => query.reply_to.as_ref(),
        Body::Refund(refund) => refund.reply_to.as_ref(),
        Body::Cancel(cancel) => cancel.reply_to.as_ref(),
        Body::Claim(_)
        | Body::Outcome(_)
        | Body::Due(_)
        | Body::Policy(_)
        | Body::Reserve(_)
        | Body::RefundResult(_)
        | Body::Alive(_)
        | Body::Doubt(_)
        | Body::Release(_)
        | Body::Intent(_)
        | Body::CloseBooks(_)
        | Body::Listing(_) => None,
    };
    reply_to.map(|reply_to| reply_to.partition)
}

/// Reads from a caller's request the partition of `replies` of its ingress, and the newest protocol
/// version that its build knows. `None` if the record is no such request.
pub(super) fn ingress_and_protocol(record: Bytes) -> Option<(u32, u32)> {
    let record = bus::OrdersRecord::decode(record).ok()?;
    Some((replies_partition(record.body.as_ref()?)?, record.protocol_known))
}

#[cfg(test)]
mod tests {
    use twqr_types::{RawPay, RawRefund, ShardId, TradeNo};

    use super::*;

    /// Earlier builds accepted such requests, so they are in logs.
    #[test]
    fn a_request_with_a_year_of_another_calendar_stays_readable() {
        let (pos_trade_time, send_time) = ("0115/11/28 10:00:00".to_owned(), "01151128100000".to_owned());
        let (merchant_id, merchant_trade_no) = ("M1".to_owned(), "1".to_owned());
        let form = PayForm::parse_stored(RawPay {
            merchant_id: merchant_id.clone(),
            merchant_trade_no: merchant_trade_no.clone(),
            card_token: "22abcdefghijklmnop".into(),
            trade_amount: 100,
            pos_trade_time: pos_trade_time.clone(),
            send_time: send_time.clone(),
            ..RawPay::default()
        });
        let form = form.unwrap();
        let refund = RefundForm::parse_stored(RawRefund {
            merchant_id,
            merchant_trade_no,
            trade_no: TradeNo::new(ShardId(0), 1, UnixMs(0)).to_string(),
            trade_amount: 100,
            pos_trade_time: pos_trade_time.clone(),
            send_time,
            ..RawRefund::default()
        });
        let at = UnixMs(0);
        let records =
            [encode_pay(at, &form, None), encode_cancel(at, &form, None), encode_refund(at, &refund.unwrap(), None)];
        let [pay, cancel, refund] = records.map(|record| decode_record(record).unwrap().command);
        let (Command::Pay(pay), Command::Cancel(cancel), Command::Refund(refund)) = (pay, cancel, refund) else {
            panic!("other commands than were encoded")
        };
        for read in [pay.form.pos_trade_time, cancel.form.pos_trade_time, refund.form.pos_trade_time] {
            assert_eq!(read.as_str(), pos_trade_time);
        }
    }
}
