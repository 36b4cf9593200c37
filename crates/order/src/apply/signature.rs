//! Whether the policy accepts the merchant's key that signed a request, and whether the request is
//! a replay of another one.
//!
//! The ingress checks the signature itself. Which keys are accepted is a rule of the policy, so it
//! changes at a record, and a replay decides the same. Only the key's name is in the log.

use twqr_types::MerchantId;

use super::ApplyContext;
use crate::{Command, NONCES_SINCE, Nonce, Order, Record, ReplyBody, ReplyTo, Rules};

/// Refuses a request that was signed with a key that the policy does not accept. The request
/// changes nothing, and its caller gets an answer. Returns false if the key is accepted, or the
/// request is not signed.
pub(super) fn refuse_key(record: &Record, context: &mut ApplyContext<'_>) -> bool {
    let refused = is_key_refused(record, context.rules);
    if let Some(to) = merchant_request(&record.command).and_then(|(_, reply_to)| reply_to).filter(|_| refused) {
        context.out.reply(to, false, ReplyBody::KeyRefused);
    }
    refused
}

/// Refuses a request whose nonce its order has seen. The request changes nothing, and its caller
/// gets an answer. Returns false if the request is no replay.
pub(super) fn refuse_replay(order: Option<&Order>, record: &Record, context: &mut ApplyContext<'_>) -> bool {
    let nonce = nonce(record, context.protocol_version());
    let refused = order.zip(nonce).is_some_and(|(order, nonce)| order.nonces().refuse(&nonce, record.at));
    if let Some(to) = merchant_request(&record.command).and_then(|(_, reply_to)| reply_to).filter(|_| refused) {
        context.out.reply(to, false, ReplyBody::Replayed);
    }
    refused
}

/// The nonce that a merchant's request claims, if nonces count under this protocol version. An
/// inquiry claims none: a replay of it shows the order and moves no money, while inquiries in a row
/// would fill the order's nonces and keep its cancel out.
pub(super) fn nonce(record: &Record, protocol_version: u32) -> Option<Nonce> {
    let claims = matches!(record.command, Command::Pay(_) | Command::Refund(_) | Command::Cancel(_));
    record.nonce.filter(|_| claims && protocol_version >= NONCES_SINCE)
}

/// Whether the record is a request that was signed with a key that these rules do not accept.
pub(crate) fn is_key_refused(record: &Record, rules: Rules<'_>) -> bool {
    let Some(name) = &record.signed_by else { return false };
    merchant_request(&record.command).is_some_and(|(merchant_id, _)| !rules.accept_key(merchant_id, name))
}

/// The merchant of a request, and where to answer; `None` for records that are not from a caller.
fn merchant_request(command: &Command) -> Option<(&MerchantId, Option<ReplyTo>)> {
    match command {
        Command::Pay(pay) => Some((&pay.form.key.merchant_id, pay.reply_to)),
        Command::Refund(refund) => Some((&refund.form.key.merchant_id, refund.reply_to)),
        Command::Cancel(cancel) => Some((&cancel.form.key.merchant_id, cancel.reply_to)),
        Command::Query(query) => Some((&query.key.merchant_id, Some(query.reply_to))),
        Command::Reserve(_)
        | Command::RefundResult(_)
        | Command::Outcome(_)
        | Command::Due(_)
        | Command::Hold(_)
        | Command::Policy(_)
        | Command::Listing(_)
        | Command::CloseBooks(_) => None,
    }
}
