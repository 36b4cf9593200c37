//! Targets for messages over gRPC: requests of callers, changes of operators, answers of a backend.
//! A message that a reader accepts is written to the log, so it must be readable there.

use bytes::Bytes;
use prost::Message;
use twqr_order::{Command, EffectId, MovementOutcome, Outcome, TaskResult};
use twqr_types::{
    MerchantId, MerchantTradeNo, OrderKey, PayForm, QueryForm, RawPay, RefundForm, ShardId, UnixMs, Violations,
};
use twqr_wire::{
    backend::ExchangeResponse,
    convert::{
        BackendAnswer, backend_answer_from, decode_record, encode_cancel, encode_outcome, encode_pay, encode_refund,
        listing_change_from, listing_change_out, policy_from, policy_out, raw_cancel, raw_pay, raw_query, raw_refund,
    },
    ops,
    pos::{CancelRequest, PayRequest, QueryRequest, RefundRequest},
};

/// When the records are written.
const AT: UnixMs = UnixMs(1_790_000_000_000);

/// The message of each unary method, with the checks of an ingress.
pub(crate) fn requests(input: &[u8]) -> bool {
    let pay = |raw: Option<RawPay>| raw.map(PayForm::parse).and_then(accepted);
    let paid = pay(PayRequest::decode(input).ok().map(raw_pay));
    if let Some(form) = &paid {
        let record = encode_pay(AT, form, None);
        let is_same =
            |command: &Command| matches!(command, Command::Pay(pay) if encode_pay(AT, &pay.form, None) == record);
        assert_is_read(record.clone(), is_same);
    }
    let cancelled = pay(CancelRequest::decode(input).ok().map(raw_cancel));
    if let Some(form) = &cancelled {
        let is_same = |command: &Command| matches!(command, Command::Cancel(cancel) if cancel.form.key == form.key);
        assert_is_read(encode_cancel(AT, form, None), is_same);
    }
    let refunded = RefundRequest::decode(input).ok().map(|request| RefundForm::parse(raw_refund(request)));
    let refunded = refunded.and_then(accepted);
    if let Some(form) = &refunded {
        let is_same = |command: &Command| matches!(command, Command::Refund(refund) if refund.form == *form);
        assert_is_read(encode_refund(AT, form, None), is_same);
    }
    let inquired = QueryRequest::decode(input).ok().map(|request| QueryForm::parse(raw_query(request)));
    paid.is_some() || cancelled.is_some() || refunded.is_some() || inquired.and_then(accepted).is_some()
}

/// The form of a request that is within all limits. The text of a refusal names no value.
fn accepted<T>(parsed: Result<T, Violations>) -> Option<T> {
    parsed.map_err(|violations| drop(violations.to_string())).ok()
}

fn assert_is_read(record: Bytes, is_same: impl Fn(&Command) -> bool) {
    let read = decode_record(record);
    assert!(read.is_ok_and(|read| is_same(&read.command)), "an accepted request is not read from the log as it was");
}

/// A change of the rules or of the directory, as an operator's command sends it.
pub(crate) fn operators(input: &[u8]) -> bool {
    let policy = ops::Policy::decode(input).ok().and_then(|policy| policy_from(policy).ok());
    if let Some(policy) = &policy {
        assert!(policy_from(policy_out(policy)).as_ref() == Ok(policy), "a policy is not read as it was");
    }
    let change = ops::ListingChange::decode(input).ok().and_then(|change| listing_change_from(change).ok());
    if let Some(change) = &change {
        assert!(
            listing_change_from(listing_change_out(change)).as_ref() == Ok(change),
            "a listing is not read as it was"
        );
    }
    policy.is_some() || change.is_some()
}

/// The answer of the wallet or of FISC.
pub(crate) fn backend_answers(input: &[u8]) -> bool {
    let Ok(response) = ExchangeResponse::decode(input) else { return false };
    let Some((key, refund)) = order() else { return false };
    let movement = match backend_answer_from(response).1 {
        BackendAnswer::Approved(approval) => MovementOutcome::Charge(TaskResult::Done(*approval)),
        BackendAnswer::Refunded(approval) => MovementOutcome::Refund(refund, TaskResult::Done(approval)),
        BackendAnswer::Reversed(approval) => MovementOutcome::Reversal(TaskResult::Done(approval)),
        BackendAnswer::Declined(decline) => MovementOutcome::Charge(TaskResult::Declined(decline)),
        BackendAnswer::TradeUnknown | BackendAnswer::Undecided => return true,
        BackendAnswer::Malformed(_) => return false,
    };
    let outcome = Outcome { key, task: EffectId { shard: ShardId(0), offset: 0, n: 0 }, movement };
    let is_same = |command: &Command| matches!(command, Command::Outcome(read) if read.movement == outcome.movement);
    assert_is_read(encode_outcome(AT, &outcome), is_same);
    true
}

/// The order that the answers are about, and the number of a refund of it.
fn order() -> Option<(OrderKey, MerchantTradeNo)> {
    let merchant_id = MerchantId::parse("M1".to_owned()).ok()?;
    let number = |text: &str| MerchantTradeNo::parse(text.to_owned()).ok();
    Some((OrderKey { merchant_id, merchant_trade_no: number("T1")? }, number("R1")?))
}
