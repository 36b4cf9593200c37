//! Query: answers with the order as it is at this record. With `watch`, the caller also receives
//! every later change, until the order is at rest, or longer with `keep`.

use super::{AppliedStep, ApplyContext, Step, subscribe};
use crate::{Order, Query, ReplyBody, Subscriber, SubscriptionKind};

pub(super) fn apply(order: Option<&mut Order>, query: &Query, mut context: ApplyContext<'_>) -> AppliedStep {
    let to = query.reply_to;
    let mut applied = AppliedStep { step: Step::Queried, changed: false };
    let Some(order) = order else {
        context.out.reply(to, false, ReplyBody::NotFound);
        return applied;
    };
    let at_rest = order.is_at_rest();
    // Nothing can happen to a final refund any more, so `keep` counts only for payments.
    let keep = query.keep && order.as_payment().is_some();
    if let Some(subscribers) = order.subscribers().filter(|_| query.watch && (!at_rest || keep)) {
        let kind = if keep { SubscriptionKind::AllChanges } else { SubscriptionKind::UntilAtRest };
        let subscriber = Subscriber { to, repeat: false, kind };
        applied.changed = subscribe(subscribers, subscriber, context.at);
        if !applied.changed {
            context.out.reply(to, false, ReplyBody::TooManyWatchers);
            return applied;
        }
    }
    context.out.reply(to, false, ReplyBody::Order);
    applied
}
