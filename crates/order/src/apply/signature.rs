//! Which of a merchant's keys count is a rule like any other: it changes at a record, and is the
//! same for whoever replays. That the request was signed with the key of that name is the ingress'
//! word; the key itself is never in the log.

use twqr_types::MerchantId;

use super::ApplyContext;
use crate::{Command, Policy, Record, ReplyBody, ReplyTo};

/// Tells who waits for it if the record is a request that was signed with a key that does not
/// count: it changes nothing then.
pub(super) fn refuse(record: &Record, context: &mut ApplyContext<'_>) -> bool {
    let refused = is_refused(record, context.policy);
    if let Some(to) = request(&record.command).and_then(|(_, reply_to)| reply_to).filter(|_| refused) {
        context.out.reply(to, false, ReplyBody::KeyRefused);
    }
    refused
}

/// Whether the record is a request that was signed with a key that does not count by this policy.
pub(crate) fn is_refused(record: &Record, policy: Option<&Policy>) -> bool {
    let (Some(name), Some(policy)) = (&record.signed_by, policy) else { return false };
    request(&record.command).is_some_and(|(merchant_id, _)| !policy.key_counts(merchant_id, name))
}

/// Whose request it is, and who waits for the answer; none: it is not a merchant's.
fn request(command: &Command) -> Option<(&MerchantId, Option<ReplyTo>)> {
    match command {
        Command::Pay(pay) => Some((&pay.form.key.merchant_id, pay.reply_to)),
        Command::Refund(refund) => Some((&refund.form.key.merchant_id, refund.reply_to)),
        Command::Cancel(cancel) => Some((&cancel.form.key.merchant_id, cancel.reply_to)),
        Command::Query(query) => Some((&query.key.merchant_id, Some(query.reply_to))),
        Command::Reserve(_)
        | Command::RefundResult(_)
        | Command::Outcome(_)
        | Command::Due(_)
        | Command::Claim { .. }
        | Command::Policy(_) => None,
    }
}
