//! Outcome: what a worker says came of a task of a payment: of its charge, of one of its refunds,
//! or of its reversal.

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
        Moved::Contradicted(text) => return of_final_charge(payment, &text, result, scene),
        Moved::Ignored => return IGNORED,
    };
    cancel::go_on(payment, scene);
    scene.tell_payment(payment);
    changed(step)
}

/// The issuer says something else than the charge was told as. If the customer was charged after
/// all, the charge is taken back: nobody may count on it any more.
fn of_final_charge(payment: &mut Payment, text: &str, result: &TaskResult<Approval>, scene: &mut Scene<'_>) -> Applied {
    let is_charged = matches!(result, TaskResult::Done(_)) && !payment.charge_took_effect_after_all;
    if !is_charged {
        return contradict(payment, text, scene);
    }
    payment.charge_took_effect_after_all = true;
    payment.note_contradiction(text);
    cancel::by_itself(payment, scene);
    scene.tell_payment(payment);
    changed(Step::Contradicted)
}

/// An approval whose amounts are not what was asked for counts, since the customer was charged; an
/// operator must look.
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
        payment.note_contradiction(&text);
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
            if let Some(text) = text {
                payment.note_contradiction(&text);
            }
            Step::Refunded
        }
        Moved::Failed(evidence) => Step::Failed(evidence),
        Moved::Unresolved | Moved::StillUnresolved => return changed(Step::Unresolved),
        Moved::Contradicted(text) => {
            let was_known = entry.took_effect_after_all;
            entry.took_effect_after_all |= matches!(result, TaskResult::Done(_));
            let is_news = entry.took_effect_after_all != was_known;
            let applied = contradict(payment, &text, scene);
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
    if let TaskResult::Done(reversed) = result
        && cancel.attempts > 0
        && !cancel.is_reversed()
    {
        return taken_back(payment, task, reversed, scene);
    }
    if task.offset < cancel.sent_at {
        return IGNORED;
    }
    let is_inquiry_after_several = cancel.attempts > 1 && task.offset > cancel.sent_at;
    let reversal = match &mut cancel.stage {
        CancelStage::Reversing(reversal) if reversal.failure().is_none() => reversal,
        CancelStage::Reversing(_) | CancelStage::Waiting | CancelStage::Again { .. } | CancelStage::Nothing => {
            return IGNORED;
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
        Moved::Failed(_) | Moved::Unresolved | Moved::StillUnresolved => cancel.changed_at = scene.at,
        Moved::Done | Moved::Contradicted(_) | Moved::Ignored => {}
    }
    let step = match moved {
        Moved::Failed(_) if cancel.may_be_sent_again(payment.issuer) => {
            let at = schedule::next_check(scene.at, cancel.attempts, number, absent_after, &rules);
            cancel.stage = CancelStage::Again { at };
            return changed(Step::Cancelling);
        }
        Moved::Failed(evidence) => Step::Failed(evidence),
        Moved::Unresolved | Moved::StillUnresolved => return changed(Step::Unresolved),
        Moved::Contradicted(text) => return contradict(payment, &text, scene),
        // What takes effect now is taken above.
        Moved::Done | Moved::Ignored => return IGNORED,
    };
    scene.tell_payment(payment);
    changed(step)
}

/// Whether this inquiry is the open one, and went out when no reversal could land any more.
fn is_asked_after_the_window(reversal: &Movement<Reversed>, task: EffectId) -> bool {
    reversal.phase == Phase::Asking { task } && reversal.changed_at > reversal.absent_after
}

/// The issuer knows all reversals by the payment's number: within the window, an inquiry about one
/// may find the refusal of an earlier one.
fn unless_refused(result: &TaskResult<Reversed>) -> TaskResult<Reversed> {
    match result {
        TaskResult::Declined(decline) => {
            TaskResult::Unknown(format!("refused ({}), perhaps an earlier reversal", decline.code).into())
        }
        TaskResult::Done(_) | TaskResult::NotSent(_) | TaskResult::Unknown(_) | TaskResult::Absent => result.clone(),
    }
}

/// A reversal took effect, also one that was refused, or surely never arrived: the payment is taken
/// back. Where that and refunds together are not what was paid, an operator must look.
fn taken_back(payment: &mut Payment, task: EffectId, reversed: &Reversed, scene: &mut Scene<'_>) -> Applied {
    let (paid, refunded) = (payment.terms.trade_amount.twd(), payment.reserved());
    let Some(cancel) = &mut payment.cancel else { return IGNORED };
    cancel.amount = cancel.amount_at(task.offset);
    cancel.stage = CancelStage::Reversing(Movement::done_at(scene.at, reversed.clone()));
    cancel.changed_at = scene.at;
    let amount = cancel.amount;
    let adds_up = amount.saturating_add(refunded) == paid;
    if !adds_up {
        let text = format!("a reversal of {amount} TWD took effect, and {refunded} are refunded or may be, of {paid}");
        payment.note_contradiction(&text);
    }
    scene.tell_payment(payment);
    changed(if adds_up { Step::Cancelled } else { Step::Contradicted })
}

/// The final state stays what callers were told; that the issuer says otherwise is kept for an
/// operator, and told to those who watch.
fn contradict(payment: &mut Payment, text: &str, scene: &mut Scene<'_>) -> Applied {
    if !payment.note_contradiction(text) {
        return IGNORED;
    }
    scene.tell_payment(payment);
    changed(Step::Contradicted)
}
