//! Outcome: what a worker says came of a task of a payment: of its charge, of one of its refunds, or of its reversal.

use twqr_types::MerchantTradeNo;

use super::{
    Applied, IGNORED, Scene, Step, cancel, changed,
    lifecycle::{Judge, Moved},
    reserve,
};
use crate::{
    Approval, Came, CancelStage, EffectId, Movement, Outcome, Payment, Phase, Refunded, Reversed, TaskResult, schedule,
};

pub(super) fn apply(payment: &mut Payment, outcome: &Outcome, mut scene: Scene<'_>) -> Applied {
    match &outcome.came {
        Came::Charge(result) => of_charge(payment, outcome.task, result, &mut scene),
        Came::Refund(number, result) => of_refund(payment, outcome.task, number, result, &mut scene),
        Came::Reversal(result) => of_reversal(payment, outcome.task, result, &mut scene),
    }
}

fn of_charge(payment: &mut Payment, task: EffectId, result: &TaskResult<Approval>, scene: &mut Scene<'_>) -> Applied {
    let (rules, codes) = (scene.rules(payment), scene.codes());
    let judge = Judge { number: payment.trade_no, what: "payment", rules: &rules, codes: &codes, at: scene.at };
    let step = match payment.charge.take(task, result, &judge) {
        Moved::Done => {
            check_sum(payment);
            Step::Paid
        }
        Moved::Failed(evidence) => Step::Failed(evidence),
        Moved::Unresolved => Step::Unresolved,
        Moved::StillUnresolved => return changed(Step::Unresolved),
        Moved::Contradicted(text) => return contradict(payment, text, scene),
        Moved::Ignored => return IGNORED,
    };
    cancel::go_on(payment, scene);
    scene.tell_payment(payment);
    changed(step)
}

/// An approval whose amounts are not what was asked for counts, since the customer was charged; an operator must look.
fn check_sum(payment: &mut Payment) {
    let Some(approval) = payment.charge.done() else { return };
    if !approval.adds_up(payment.terms.trade_amount) {
        let text = format!(
            "approved with amounts that do not add up: trade {}, redeemed {} and {}, debit {}",
            payment.terms.trade_amount.twd(),
            approval.redeem_amount,
            approval.store_redeem_amount,
            approval.debit_amount
        );
        payment.contradiction = Some(text.into());
    }
}

fn of_refund(
    payment: &mut Payment,
    task: EffectId,
    number: &MerchantTradeNo,
    result: &TaskResult<Refunded>,
    scene: &mut Scene<'_>,
) -> Applied {
    let (rules, codes) = (scene.rules(payment), scene.codes());
    let Some(index) = payment.refunds.iter().position(|entry| entry.number == *number) else { return IGNORED };
    let entry = &mut payment.refunds[index];
    let judge = Judge { number: entry.trade_no, what: "refund", rules: &rules, codes: &codes, at: scene.at };
    let step = match entry.refund.take(task, result, &judge) {
        Moved::Done => {
            let odd = entry.refund.done().filter(|refunded| !refunded.adds_up(entry.amount));
            let text = odd.map(|_| format!("refund {} took effect with amounts that do not add up", entry.trade_no));
            payment.contradiction = payment.contradiction.take().or(text.map(Into::into));
            Step::Refunded
        }
        Moved::Failed(evidence) => Step::Failed(evidence),
        Moved::Unresolved | Moved::StillUnresolved => return changed(Step::Unresolved),
        Moved::Contradicted(text) => {
            let was_known = entry.took_effect_after_all;
            entry.took_effect_after_all |= matches!(result, TaskResult::Done(_));
            let is_news = entry.took_effect_after_all != was_known;
            let applied = contradict(payment, text, scene);
            return if is_news { changed(Step::Contradicted) } else { applied };
        }
        Moved::Ignored => return IGNORED,
    };
    reserve::tell_refund(payment, index, scene);
    cancel::go_on(payment, scene);
    scene.tell_payment(payment);
    changed(step)
}

fn of_reversal(payment: &mut Payment, task: EffectId, result: &TaskResult<Reversed>, scene: &mut Scene<'_>) -> Applied {
    let (rules, codes, number) = (scene.rules(payment), scene.codes(), payment.trade_no);
    let Some(cancel) = &mut payment.cancel else { return IGNORED };
    if task.offset < cancel.sent_at && !matches!(result, TaskResult::Done(_)) {
        return IGNORED;
    }
    let is_inquiry_after_several = cancel.attempts > 1 && task.offset > cancel.sent_at;
    let reversal = match &mut cancel.stage {
        CancelStage::Reversing(reversal) if reversal.failure().is_none() => reversal,
        CancelStage::Reversing(_) | CancelStage::Waiting | CancelStage::Again { .. } | CancelStage::Nothing => {
            return took_effect_after_all(payment, result, scene);
        }
    };
    let judge = Judge { number, what: "reversal", rules: &rules, codes: &codes, at: scene.at };
    let moved = if is_inquiry_after_several && !is_asked_after_the_window(reversal, task) {
        reversal.take(task, &unless_refused(result), &judge)
    } else {
        reversal.take(task, result, &judge)
    };
    let absent_after = reversal.absent_after;
    match moved {
        Moved::Done | Moved::Failed(_) | Moved::Unresolved | Moved::StillUnresolved => cancel.changed_at = scene.at,
        Moved::Contradicted(_) | Moved::Ignored => {}
    }
    let step = match moved {
        Moved::Done => Step::Cancelled,
        Moved::Failed(_) if cancel.may_be_sent_again(payment.issuer) => {
            let at = schedule::next_check(scene.at, cancel.attempts, number, absent_after, &rules);
            cancel.stage = CancelStage::Again { at };
            return changed(Step::Cancelling);
        }
        Moved::Failed(evidence) => Step::Failed(evidence),
        Moved::Unresolved | Moved::StillUnresolved => return changed(Step::Unresolved),
        Moved::Contradicted(text) => return contradict(payment, text, scene),
        Moved::Ignored => return IGNORED,
    };
    scene.tell_payment(payment);
    changed(step)
}

/// Whether this inquiry is the open one, and went out when no reversal could land any more.
fn is_asked_after_the_window(reversal: &Movement<Reversed>, task: EffectId) -> bool {
    reversal.phase == Phase::Asking { task } && reversal.changed_at > reversal.absent_after
}

/// The issuer knows all reversals by the payment's number: within the window, an inquiry about one may find the refusal of an earlier one.
fn unless_refused(result: &TaskResult<Reversed>) -> TaskResult<Reversed> {
    match result {
        TaskResult::Declined(decline) => {
            TaskResult::Unknown(format!("refused ({}), perhaps an earlier reversal", decline.code).into())
        }
        TaskResult::Done(_) | TaskResult::NotSent(_) | TaskResult::Unknown(_) | TaskResult::Absent => result.clone(),
    }
}

/// A reversal that was refused, or surely never arrived, took effect. So the payment is taken back, and nobody was told anything that stays
/// otherwise; but where something else was given back meanwhile, an operator must look.
fn took_effect_after_all(payment: &mut Payment, result: &TaskResult<Reversed>, scene: &mut Scene<'_>) -> Applied {
    let TaskResult::Done(reversed) = result else { return IGNORED };
    let left = payment.terms.trade_amount.twd() - payment.reserved();
    let Some(cancel) = payment.cancel.as_mut().filter(|cancel| cancel.attempts > 0) else { return IGNORED };
    let is_whole = match &cancel.stage {
        CancelStage::Reversing(_) | CancelStage::Again { .. } => cancel.amount == left,
        CancelStage::Waiting | CancelStage::Nothing => false,
    };
    if !is_whole {
        let text = "a reversal took effect that had failed before, and the payment was refunded meanwhile";
        return contradict(payment, text.to_owned(), scene);
    }
    cancel.stage = CancelStage::Reversing(Movement::done_at(scene.at, reversed.clone()));
    cancel.changed_at = scene.at;
    scene.tell_payment(payment);
    changed(Step::Cancelled)
}

/// The final state stays what callers were told; that the issuer says otherwise is kept for an operator, and told to those who watch.
fn contradict(payment: &mut Payment, text: String, scene: &mut Scene<'_>) -> Applied {
    if payment.contradiction.is_some() {
        return IGNORED;
    }
    payment.contradiction = Some(text.into());
    scene.tell_payment(payment);
    changed(Step::Contradicted)
}
