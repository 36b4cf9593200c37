//! Cancel: the request must be the payment's own; then it waits for whatever is in progress, and
//! reverses what is left. The same cancel may come again: it answers what is true by then, and
//! after a refusal asks the issuer once more (POS API, section 4).

use twqr_types::{Field, Issuer, PayForm, Remark, UnRedeem};

use super::{AppliedStep, ApplyContext, Step, changed, subscribe};
use crate::{
    Cancel, CancelRequest, CancelStage, EarlyCancel, Order, Payment, ReplyBody, ReversalCall, Subscriber,
    SubscriptionKind, TaskKind,
};

/// A request to take a payment back.
pub(super) fn request(
    order: &mut Option<Order>,
    request: &CancelRequest,
    mut context: ApplyContext<'_>,
) -> AppliedStep {
    match order {
        Some(Order::Payment(payment)) => of_payment(payment, request, &mut context),
        Some(Order::Refund(_)) => {
            reply(request, true, ReplyBody::NotFound, &mut context);
            AppliedStep { step: Step::Refused, changed: false }
        }
        Some(Order::EarlyCancel(_)) => {
            reply(request, true, ReplyBody::Order, &mut context);
            AppliedStep { step: Step::Repeated, changed: false }
        }
        None => {
            *order = Some(Order::EarlyCancel(before_its_payment(request, &context)));
            reply(request, false, ReplyBody::Order, &mut context);
            changed(Step::Cancelled)
        }
    }
}

fn reply(request: &CancelRequest, repeat: bool, body: ReplyBody, context: &mut ApplyContext<'_>) {
    if let Some(to) = request.reply_to {
        context.out.reply(to, repeat, body);
    }
}

fn before_its_payment(request: &CancelRequest, context: &ApplyContext<'_>) -> EarlyCancel {
    let form = &request.form;
    EarlyCancel {
        key: form.key.clone(),
        store_id: form.store_id.clone(),
        gateway_trade_no: form.gateway_trade_no.clone(),
        pos_id: form.pos_id.clone(),
        trade_amount: form.trade_amount.twd(),
        requested_at: context.at,
    }
}

fn of_payment(payment: &mut Payment, request: &CancelRequest, context: &mut ApplyContext<'_>) -> AppliedStep {
    let differing = differing_fields(payment, &request.form);
    if !differing.is_empty() && !is_cancelled_unsent(payment) {
        reply(request, true, ReplyBody::Conflict(differing), context);
        return AppliedStep { step: Step::Conflicted, changed: false };
    }
    let (step, began) = match &mut payment.cancel {
        Some(cancel) if cancel.is_complete() || cancel.is_in_progress() => {
            (Step::Repeated, !std::mem::replace(&mut cancel.is_requested, true))
        }
        Some(_) | None => {
            begin(payment, request, context);
            context.tell_watchers(payment);
            (if payment.is_at_rest() { Step::Cancelled } else { Step::Cancelling }, true)
        }
    };
    let subscribed = request.reply_to.is_some_and(|to| {
        context.out.reply(to, !began, ReplyBody::Order);
        let subscriber = Subscriber { to, repeat: !began, kind: SubscriptionKind::CancelResult };
        !payment.is_at_rest() && subscribe(&mut payment.subscribers, subscriber, context.at)
    });
    AppliedStep { step, changed: began || subscribed }
}

/// Whether it is cancelled, and nobody was ever asked to charge it. If the cancel came first, its
/// fields are not known any more, and it must hear again what it heard.
fn is_cancelled_unsent(payment: &Payment) -> bool {
    payment.issuer.is_none() && payment.cancel.as_ref().is_some_and(Cancel::is_complete)
}

/// The five fields that must be the payment's (POS API, section 2); MerchantTradeNo is the order's
/// key. UnRedeem of other issuers counts as rewritten, like the payment's.
fn differing_fields(payment: &Payment, form: &PayForm) -> Vec<Field> {
    let terms = &payment.terms;
    let un_redeem = if payment.issuer == Some(Issuer::Wallet) { form.un_redeem } else { UnRedeem::ZERO };
    let compared = [
        (Field::GatewayTradeNo, terms.gateway_trade_no == form.gateway_trade_no),
        (Field::CardToken, terms.card_token == form.card_token.digest(&form.key)),
        (Field::TradeAmount, terms.trade_amount == form.trade_amount),
        (Field::UnRedeem, terms.un_redeem == un_redeem),
    ];
    compared.into_iter().filter(|(_, equal)| !equal).map(|(field, _)| field).collect()
}

fn begin(payment: &mut Payment, request: &CancelRequest, context: &mut ApplyContext<'_>) {
    let before = payment.cancel.take();
    payment.cancel = Some(Cancel { is_requested: true, ..waiting(before, &request.form.remark, context) });
    advance_if_unblocked(payment, context);
}

/// A cancel that begins now; what went out for the one before still counts.
fn waiting(before: Option<Cancel>, remark: &Remark, context: &ApplyContext<'_>) -> Cancel {
    let (attempts, amounts, was_answered_as_done) =
        before.map_or_else(Default::default, |cancel| (cancel.attempts, cancel.amounts, cancel.was_answered_as_done));
    Cancel {
        requested_at: context.at,
        remark: remark.clone(),
        amount: 0,
        attempts,
        sent_at: context.cause.offset,
        amounts,
        is_requested: false,
        was_answered_as_done,
        stage: CancelStage::Blocked,
        changed_at: context.at,
    }
}

/// Takes back a charge that was told as failed and took effect after all. A cancel that found
/// nothing to take back has something now.
pub(super) fn start_automatic(payment: &mut Payment, context: &mut ApplyContext<'_>) {
    match &mut payment.cancel {
        Some(cancel) => {
            cancel.was_answered_as_done = cancel.is_requested;
            cancel.stage = CancelStage::Blocked;
        }
        None => payment.cancel = Some(waiting(None, &payment.terms.remark, context)),
    }
    advance_if_unblocked(payment, context);
}

/// Takes back what is left, if the cancel waited only for what is over now.
pub(super) fn advance_if_unblocked(payment: &mut Payment, context: &mut ApplyContext<'_>) {
    if payment.cancel_may_go_on() {
        take_back(payment, context);
    }
}

/// Takes back what refunds have left; a new reversal goes out only once the one before is closed.
pub(super) fn take_back(payment: &mut Payment, context: &mut ApplyContext<'_>) {
    let (left, rules) = (payment.left(), context.rules(payment));
    let Some(mut cancel) = payment.cancel.take() else { return };
    cancel.changed_at = context.at;
    cancel.stage = if left <= 0 {
        cancel.amount = 0;
        CancelStage::NothingToReverse
    } else if let Some(end) = rules.in_maintenance(context.at) {
        CancelStage::Retry { at: end }
    } else {
        cancel.amount = left;
        cancel.sent(context.cause.offset);
        let call =
            ReversalCall { store_id: payment.terms.store_id.clone(), amount: left, remark: cancel.remark.clone() };
        CancelStage::Reversing(context.begin(payment, &rules, TaskKind::Reverse(Box::new(call))))
    };
    payment.cancel = Some(cancel);
}
