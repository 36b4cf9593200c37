//! Cancel: a caller wants to reverse a payment.
//!
//! The request must have the payment's own fields. The cancel waits until charge and refunds are
//! final, and then reverses the remaining amount. A repeat of the request is answered with the
//! present state; after the issuer's refusal it starts another attempt.

use twqr_types::{Field, Issuer, PayForm, Remark, UnRedeem};

use super::{AppliedStep, ApplyContext, Step, changed, subscribe};
use crate::{
    Cancel, CancelRequest, CancelStage, EarlyCancel, Nonces, Order, Payment, ReplyBody, ReversalCall, Subscriber,
    SubscriptionKind, TaskKind,
};

/// Applies a request to cancel a payment.
pub(super) fn request(
    order: &mut Option<Order>,
    request: &CancelRequest,
    mut context: ApplyContext<'_>,
) -> AppliedStep {
    match order {
        Some(Order::Payment(payment)) => cancel_payment(payment, request, &mut context),
        Some(Order::Refund(_)) => {
            reply(request, true, ReplyBody::NotFound, &mut context);
            AppliedStep { step: Step::Refused, changed: false }
        }
        Some(Order::EarlyCancel(_)) => {
            reply(request, true, ReplyBody::Order, &mut context);
            AppliedStep { step: Step::Repeated, changed: false }
        }
        None => {
            *order = Some(Order::EarlyCancel(early_cancel(request, &context)));
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

fn early_cancel(request: &CancelRequest, context: &ApplyContext<'_>) -> EarlyCancel {
    let form = &request.form;
    EarlyCancel {
        key: form.key.clone(),
        store_id: form.store_id.clone(),
        gateway_trade_no: form.gateway_trade_no.clone(),
        pos_id: form.pos_id.clone(),
        trade_amount: form.trade_amount.twd(),
        requested_at: context.at,
        nonces: Nonces::default(),
    }
}

fn cancel_payment(payment: &mut Payment, request: &CancelRequest, context: &mut ApplyContext<'_>) -> AppliedStep {
    let differing = differing_fields(payment, &request.form);
    if !differing.is_empty() && !is_cancelled_unsent(payment) {
        reply(request, true, ReplyBody::Conflict(differing), context);
        return AppliedStep { step: Step::Conflicted, changed: false };
    }
    let (step, is_new) = match &mut payment.cancel {
        Some(cancel) if cancel.is_complete() || cancel.is_in_progress() && !cancel.is_waiting_after_refusal() => {
            (Step::Repeated, !std::mem::replace(&mut cancel.is_requested, true))
        }
        Some(_) | None => {
            start_requested(payment, request, context);
            context.notify_of_start(payment);
            (if payment.is_at_rest() { Step::Cancelled } else { Step::Cancelling }, true)
        }
    };
    let subscribed = request.reply_to.is_some_and(|to| {
        context.out.reply(to, !is_new, ReplyBody::Order);
        let subscriber = Subscriber { to, repeat: !is_new, kind: SubscriptionKind::CancelResult };
        !payment.is_at_rest() && subscribe(&mut payment.subscribers, subscriber, context.at)
    });
    AppliedStep { step, changed: is_new || subscribed }
}

/// Whether the payment is cancelled and never had an issuer, for example because its cancel arrived
/// first. The fields of that cancel were not stored, so a repeat of it may differ from the payment,
/// and must still get the same answer.
fn is_cancelled_unsent(payment: &Payment) -> bool {
    payment.issuer.is_none() && payment.cancel.as_ref().is_some_and(Cancel::is_complete)
}

/// The fields that differ from the payment's. MerchantTradeNo is not compared, since it is the
/// order's key. For other issuers UnRedeem counts as 0, as in the payment.
fn differing_fields(payment: &Payment, form: &PayForm) -> Vec<Field> {
    let terms = &payment.terms;
    let un_redeem = if payment.issuer == Some(Issuer::Wallet) { form.un_redeem } else { UnRedeem::ZERO };
    let compared = [
        (Field::GatewayTradeNo, terms.gateway_trade_no == form.gateway_trade_no),
        (Field::CardToken, !terms.card_token.differs_from(&form.card_token, &form.key)),
        (Field::TradeAmount, terms.trade_amount == form.trade_amount),
        (Field::UnRedeem, terms.un_redeem == un_redeem),
    ];
    compared.into_iter().filter(|(_, equal)| !equal).map(|(field, _)| field).collect()
}

fn start_requested(payment: &mut Payment, request: &CancelRequest, context: &mut ApplyContext<'_>) {
    let before = payment.cancel.take();
    payment.cancel = Some(Cancel { is_requested: true, ..new_cancel(before, &request.form.remark, context) });
    advance_if_unblocked(payment, context);
}

/// A cancel that starts now. It keeps what an earlier cancel sent, since that may still take
/// effect.
fn new_cancel(before: Option<Cancel>, remark: &Remark, context: &ApplyContext<'_>) -> Cancel {
    let (attempts, amounts, was_answered_as_done, last_refusal) = before.map_or_else(Default::default, |cancel| {
        (cancel.attempts, cancel.amounts, cancel.was_answered_as_done, cancel.last_refusal)
    });
    Cancel {
        requested_at: context.at,
        remark: remark.clone(),
        amount: 0,
        attempts,
        last_sent_offset: context.cause.offset,
        amounts,
        is_requested: false,
        was_answered_as_done,
        stage: CancelStage::Blocked,
        last_refusal,
        changed_at: context.at,
    }
}

/// Starts a cancel that no caller requested, because a charge took effect after it had failed. A
/// cancel that found nothing to reverse before is started again.
pub(super) fn start_automatic(payment: &mut Payment, context: &mut ApplyContext<'_>) {
    match &mut payment.cancel {
        Some(cancel) => {
            cancel.was_answered_as_done = cancel.is_requested;
            cancel.stage = CancelStage::Blocked;
        }
        None => payment.cancel = Some(new_cancel(None, &payment.terms.remark, context)),
    }
    advance_if_unblocked(payment, context);
}

/// Sends the reversal if the cancel is blocked and everything that it waited for is final.
pub(super) fn advance_if_unblocked(payment: &mut Payment, context: &mut ApplyContext<'_>) {
    if payment.can_advance_cancel() {
        reverse_remainder(payment, context);
    }
}

/// Sends a reversal of what refunds have left, or waits until the issuer's maintenance ends. No
/// reversal may be in progress.
pub(super) fn reverse_remainder(payment: &mut Payment, context: &mut ApplyContext<'_>) {
    let (left, rules) = (payment.remaining(), context.issuer_rules(payment));
    let Some(mut cancel) = payment.cancel.take() else { return };
    cancel.changed_at = context.at;
    cancel.stage = if left <= 0 {
        cancel.amount = 0;
        CancelStage::NothingToReverse
    } else if let Some(end) = rules.maintenance_until(context.at) {
        CancelStage::Retry { at: end }
    } else {
        cancel.amount = left;
        cancel.note_sent(context.cause.offset);
        let call =
            ReversalCall { store_id: payment.terms.store_id.clone(), amount: left, remark: cancel.remark.clone() };
        CancelStage::Reversing(context.begin(payment, &rules, TaskKind::Reverse(Box::new(call))))
    };
    payment.cancel = Some(cancel);
}
