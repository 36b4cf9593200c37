//! Due: it is time to inquire at the issuer, to send another reversal, or to ask a refund's payment
//! again.

use super::{AppliedStep, ApplyContext, IGNORED, Step, cancel, changed, refund};
use crate::{CancelStage, Order, Payment, Refund, Subject};

pub(super) fn apply(order: &mut Order, mut context: ApplyContext<'_>) -> AppliedStep {
    match order {
        Order::Payment(payment) => act_on_payment(payment, &mut context),
        Order::Refund(refund) => act_on_refund(refund, &mut context),
        Order::EarlyCancel(_) => IGNORED,
    }
}

fn act_on_refund(order: &mut Refund, context: &mut ApplyContext<'_>) -> AppliedStep {
    if order.due_at().is_none_or(|due| context.at < due) {
        return IGNORED;
    }
    refund::ask_payment(order, context);
    changed(Step::Inquired)
}

/// Does everything of the payment that is due.
fn act_on_payment(payment: &mut Payment, context: &mut ApplyContext<'_>) -> AppliedStep {
    if context.protocol_version() >= 1 && payment.has_abandoned_reversal() {
        cancel::reverse_remainder(payment, context);
        return changed(Step::Cancelling);
    }
    if payment.due_at().is_none_or(|due| context.at < due) {
        return IGNORED;
    }
    inquire_about_charge(payment, context);
    inquire_about_refunds(payment, context);
    if act_on_cancel(payment, context) {
        context.notify_payment(payment);
        return changed(Step::Cancelled);
    }
    changed(Step::Inquired)
}

fn inquire_about_charge(payment: &mut Payment, context: &mut ApplyContext<'_>) {
    if !payment.charge.is_due(context.at) {
        return;
    }
    let (rules, codes) = (context.issuer_rules(payment), context.codes());
    let outcome_context = context.outcome_context(payment.trade_no, "payment", &rules, &codes);
    if payment.charge.begin_inquiry(context.out.next_id(), &outcome_context) {
        context.emit_inquiry(payment, &payment.charge, &rules, Subject::Charge);
    }
}

fn inquire_about_refunds(payment: &mut Payment, context: &mut ApplyContext<'_>) {
    let (rules, codes) = (context.issuer_rules(payment), context.codes());
    for index in 0..payment.refunds.len() {
        let entry = &mut payment.refunds[index];
        let outcome_context = context.outcome_context(entry.trade_no, "refund", &rules, &codes);
        if entry.refund.is_due(context.at) && entry.refund.begin_inquiry(context.out.next_id(), &outcome_context) {
            let entry = &payment.refunds[index];
            let subject = Subject::Refund { number: entry.number.clone(), trade_no: entry.trade_no };
            context.emit_inquiry(payment, &entry.refund, &rules, subject);
        }
    }
}

/// Acts on the cancel if it is due. Returns true if that completes it, because refunds have left
/// nothing to reverse.
fn act_on_cancel(payment: &mut Payment, context: &mut ApplyContext<'_>) -> bool {
    let (rules, codes, number) = (context.issuer_rules(payment), context.codes(), payment.trade_no);
    let Some(cancel) = payment.cancel.as_mut().filter(|cancel| cancel.is_in_progress()) else { return false };
    match &mut cancel.stage {
        CancelStage::Reversing(reversal) if reversal.is_due(context.at) => {
            let outcome_context = context.outcome_context(number, "reversal", &rules, &codes);
            if reversal.begin_inquiry(context.out.next_id(), &outcome_context) {
                let inquired = reversal.clone();
                context.emit_inquiry(payment, &inquired, &rules, Subject::Reversal);
            }
        }
        CancelStage::Retry { at } if context.at >= *at => cancel::reverse_remainder(payment, context),
        CancelStage::Reversing(_)
        | CancelStage::Retry { .. }
        | CancelStage::Blocked
        | CancelStage::NothingToReverse => {}
    }
    payment.cancel.as_ref().is_some_and(crate::Cancel::is_complete)
}
