//! Outcome: a worker reports the result of a task of a payment: of its charge, of one of its
//! refunds, or of its reversal.

use twqr_types::{MerchantTradeNo, StatusCode};

use super::{
    AppliedStep, ApplyContext, IGNORED, Step, cancel, changed,
    lifecycle::{OutcomeContext, Transition, refund_desc_bytes_max, status_of},
    reserve,
};
use crate::{
    Approval, CancelStage, EffectId, Movement, MovementOutcome, Outcome, Payment, Phase, RefundApproval,
    ReversalApproval, TaskResult, schedule,
};

pub(super) fn apply(payment: &mut Payment, outcome: &Outcome, mut context: ApplyContext<'_>) -> AppliedStep {
    match &outcome.movement {
        MovementOutcome::Charge(result) => apply_charge(payment, outcome.task, result, &mut context),
        MovementOutcome::Refund(number, result) => apply_refund(payment, outcome.task, number, result, &mut context),
        MovementOutcome::Reversal(result) => apply_reversal(payment, outcome.task, result, &mut context),
    }
}

fn apply_charge(
    payment: &mut Payment,
    task: EffectId,
    result: &TaskResult<Approval>,
    context: &mut ApplyContext<'_>,
) -> AppliedStep {
    let (rules, codes) = (context.issuer_rules(payment), context.codes());
    let outcome_context = context.outcome_context(payment.trade_no, "payment", &rules, &codes);
    if is_repeat_after_reversal(payment, result, &outcome_context) {
        return IGNORED;
    }
    let step = match payment.charge.apply_result(task, result, &outcome_context) {
        Transition::Done => {
            payment.charge.late_booking = context.late_booking();
            note_wrong_sum(payment);
            Step::Paid
        }
        Transition::Failed(evidence) => Step::Failed(evidence),
        Transition::Unresolved => Step::Unresolved,
        Transition::StillUnresolved => return changed(Step::Unresolved),
        Transition::Contradicted(text) => return contradict_charge(payment, &text, result, context),
        Transition::Ignored => return IGNORED,
    };
    cancel::advance_if_unblocked(payment, context);
    context.notify_payment(payment);
    changed(step)
}

/// Whether the issuer answers with 812 to a charge that was sent again after its reversal. It says
/// that the charge is reversed, which contradicts nothing.
fn is_repeat_after_reversal(payment: &Payment, result: &TaskResult<Approval>, context: &OutcomeContext<'_>) -> bool {
    let has_sent_reversal = payment.cancel.as_ref().is_some_and(|cancel| cancel.attempts > 0);
    let is_repeat = payment.charge.is_idempotent && payment.is_paid() && has_sent_reversal;
    is_repeat
        && matches!(result, TaskResult::Declined(decline) if status_of(decline, context).0 == StatusCode::CANCELLED)
}

/// The issuer contradicts the final charge. If the customer was charged after all, the charge is
/// reversed, because callers were already answered that it failed.
fn contradict_charge(
    payment: &mut Payment,
    text: &str,
    result: &TaskResult<Approval>,
    context: &mut ApplyContext<'_>,
) -> AppliedStep {
    let is_charged = matches!(result, TaskResult::Done(_)) && !payment.charge_took_effect_after_all;
    if !is_charged {
        return contradict(payment, text, context);
    }
    payment.charge_took_effect_after_all = true;
    payment.note_contradiction(text);
    cancel::start_automatic(payment, context);
    context.notify_payment(payment);
    changed(Step::Contradicted)
}

/// Keeps a contradiction if the amounts of the approval do not add up. The payment counts as paid
/// all the same, since the customer was charged.
fn note_wrong_sum(payment: &mut Payment) {
    let Some(approval) = payment.charge.done() else { return };
    if !approval.adds_up(payment.terms.trade_amount) {
        let text = format!(
            "approved with amounts that do not add up: trade {}, redeemed {} and {}, debit {}",
            payment.terms.trade_amount.twd(),
            approval.redeem_amount,
            approval.store_redeem_amount,
            approval.debit_amount
        );
        payment.note_contradiction(&text);
    }
}

fn apply_refund(
    payment: &mut Payment,
    task: EffectId,
    number: &MerchantTradeNo,
    result: &TaskResult<RefundApproval>,
    context: &mut ApplyContext<'_>,
) -> AppliedStep {
    let (rules, codes) = (context.issuer_rules(payment), context.codes());
    let Some(index) = payment.refunds.iter().position(|entry| entry.number == *number) else { return IGNORED };
    let desc_bytes_max = refund_desc_bytes_max(payment);
    let entry = &mut payment.refunds[index];
    let outcome_context =
        OutcomeContext { desc_bytes_max, ..context.outcome_context(entry.trade_no, "refund", &rules, &codes) };
    let step = match entry.refund.apply_result(task, result, &outcome_context) {
        Transition::Done => {
            let odd = entry.refund.done().filter(|refunded| !refunded.adds_up(entry.amount));
            let text = odd.map(|_| format!("refund {} took effect with amounts that do not add up", entry.trade_no));
            if let Some(text) = text {
                payment.note_contradiction(&text);
            }
            Step::Refunded
        }
        Transition::Failed(evidence) => Step::Failed(evidence),
        Transition::Unresolved | Transition::StillUnresolved => return changed(Step::Unresolved),
        Transition::Contradicted(text) => {
            let was_known = entry.took_effect_after_all;
            entry.took_effect_after_all |= matches!(result, TaskResult::Done(_));
            let is_news = entry.took_effect_after_all != was_known;
            let applied = contradict(payment, &text, context);
            return if is_news { changed(Step::Contradicted) } else { applied };
        }
        Transition::Ignored => return IGNORED,
    };
    reserve::send_result(payment, index, context);
    cancel::advance_if_unblocked(payment, context);
    context.notify_payment(payment);
    changed(step)
}

fn apply_reversal(
    payment: &mut Payment,
    task: EffectId,
    result: &TaskResult<ReversalApproval>,
    context: &mut ApplyContext<'_>,
) -> AppliedStep {
    let (rules, codes, number) = (context.issuer_rules(payment), context.codes(), payment.trade_no);
    let Some(cancel) = &mut payment.cancel else { return IGNORED };
    if let TaskResult::Done(reversed) = result
        && cancel.attempts > 0
        && !cancel.is_reversed()
    {
        return complete_by_reversal(payment, task, reversed, context);
    }
    if task.offset < cancel.last_sent_offset {
        return IGNORED;
    }
    let is_inquiry_after_several = cancel.attempts > 1 && task.offset > cancel.last_sent_offset;
    let reversal = match &mut cancel.stage {
        CancelStage::Reversing(reversal) if reversal.failure().is_none() => reversal,
        CancelStage::Reversing(_)
        | CancelStage::Blocked
        | CancelStage::Retry { .. }
        | CancelStage::NothingToReverse => {
            return IGNORED;
        }
    };
    let outcome_context = context.outcome_context(number, "reversal", &rules, &codes);
    let transition = if is_inquiry_after_several && !is_inquiry_after_window(reversal, task) {
        reversal.apply_result(task, &without_refusal(result), &outcome_context)
    } else {
        reversal.apply_result(task, result, &outcome_context)
    };
    let (absent_after, refusal) = (reversal.absent_after, reversal.failure().cloned());
    match transition {
        Transition::Failed(_) | Transition::Unresolved | Transition::StillUnresolved => cancel.changed_at = context.at,
        Transition::Done | Transition::Contradicted(_) | Transition::Ignored => {}
    }
    let step = match transition {
        Transition::Failed(_) if cancel.may_be_retried(payment.issuer) => {
            let aged_from = (context.protocol_version() >= 1).then_some(cancel.requested_at);
            let at = schedule::next_check(context.at, cancel.attempts, number, absent_after, &rules, aged_from);
            cancel.stage = CancelStage::Retry { at };
            return changed(Step::Cancelling);
        }
        // The customer is charged, but callers were answered otherwise, so a refusal does not end
        // the cancel.
        Transition::Failed(_) if context.protocol_version() >= 1 && payment.charge_took_effect_after_all => {
            let at = schedule::retry_after_refusal(context.at, cancel.attempts, number, &rules);
            cancel.stage = CancelStage::Retry { at };
            cancel.last_refusal = refusal;
            return changed(Step::Cancelling);
        }
        Transition::Failed(evidence) => Step::Failed(evidence),
        Transition::Unresolved | Transition::StillUnresolved => return changed(Step::Unresolved),
        Transition::Contradicted(text) => return contradict(payment, &text, context),
        // A reversal that takes effect was handled above.
        Transition::Done | Transition::Ignored => return IGNORED,
    };
    context.notify_payment(payment);
    changed(step)
}

/// Whether `task` is the open inquiry, and was emitted when no reversal could arrive any more.
fn is_inquiry_after_window(reversal: &Movement<ReversalApproval>, task: EffectId) -> bool {
    matches!(reversal.phase, Phase::Inquiring { task: open, .. } if open == task)
        && reversal.changed_at > reversal.absent_after
}

/// Turns the refusal that an inquiry found into an unknown result. The issuer knows every reversal
/// by the payment's number, so within the window the refusal may be an earlier reversal's.
fn without_refusal(result: &TaskResult<ReversalApproval>) -> TaskResult<ReversalApproval> {
    match result {
        TaskResult::Declined(decline) => {
            TaskResult::Unknown(format!("refused ({}), perhaps an earlier reversal", decline.code).into())
        }
        TaskResult::Done(_) | TaskResult::NotSent(_) | TaskResult::Unknown(_) | TaskResult::Absent => result.clone(),
    }
}

/// Applies a reversal that took effect, even if it was refused before, or seemed never to have
/// arrived. If the reversal and the refunds do not add up to the payment, a contradiction is kept
/// for operators.
fn complete_by_reversal(
    payment: &mut Payment,
    task: EffectId,
    reversed: &ReversalApproval,
    context: &mut ApplyContext<'_>,
) -> AppliedStep {
    let (paid, refunded) = (payment.terms.trade_amount.twd(), payment.reserved());
    let Some(cancel) = &mut payment.cancel else { return IGNORED };
    cancel.amount = cancel.amount_at(task.offset);
    let late_booking = context.late_booking();
    let reversal = Movement { late_booking, ..Movement::done_at(context.at, reversed.clone()) };
    cancel.stage = CancelStage::Reversing(reversal);
    cancel.changed_at = context.at;
    let amount = cancel.amount;
    let adds_up = amount.saturating_add(refunded) == paid;
    if !adds_up {
        let text = format!("a reversal of {amount} TWD took effect, and {refunded} are refunded or may be, of {paid}");
        payment.note_contradiction(&text);
    }
    context.notify_payment(payment);
    changed(if adds_up { Step::Cancelled } else { Step::Contradicted })
}

/// Keeps the contradiction for operators, and sends it to watches. The final state does not change,
/// since callers have been answered with it (invariant I3).
fn contradict(payment: &mut Payment, text: &str, context: &mut ApplyContext<'_>) -> AppliedStep {
    if !payment.note_contradiction(text) {
        return IGNORED;
    }
    context.notify_payment(payment);
    changed(Step::Contradicted)
}
