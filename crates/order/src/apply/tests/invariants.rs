//! What must hold at every step of every order, after any earlier events.

use crate::{
    AppliedStep, CALLS_MAX, CancelStage, Effect, Order, Payment, Phase, REFUND_NUMBERS_MAX, RefundPhase, TaskKind,
    WATCHES_MAX,
};

/// Checks one step: a record was applied, and `before` became `after`.
pub(super) fn check_step(before: Option<&Order>, after: Option<&Order>, applied: AppliedStep, effects: &[Effect]) {
    let Some(after) = after else {
        assert!(before.is_none(), "an order is gone");
        return;
    };
    every_order_is_due_or_at_rest(after);
    match (before, after) {
        (Some(Order::Payment(before)), Order::Payment(after)) => answers_stay(before, after),
        (Some(Order::Refund(before)), Order::Refund(after)) => {
            assert!(!before.is_final() || before == after, "I3: a refund that had ended changed: {after:?}");
        }
        (Some(Order::EarlyCancel(_)), Order::Payment(after)) => {
            assert!(after.charge.failure().is_some(), "a charge after its cancel: {after:?}");
        }
        (None, _) | (Some(Order::EarlyCancel(_)), Order::EarlyCancel(_)) => {}
        (Some(before), after) => panic!("{before:?} became {after:?}"),
    }
    if let Order::Payment(payment) = after {
        never_returns_more_than_was_paid(payment);
        assert!(
            payment.refunds.len() <= REFUND_NUMBERS_MAX && payment.subscribers.len() <= CALLS_MAX + WATCHES_MAX,
            "{payment:?}"
        );
    }
    for effect in effects {
        if let Effect::Task(task) = effect {
            let before = before.and_then(Order::as_payment);
            each_movement_has_one_task(&task.kind, before, applied);
        }
    }
}

/// I1, as far as one step shows it: a task that moves money starts a new movement.
fn each_movement_has_one_task(kind: &TaskKind, before: Option<&Payment>, applied: AppliedStep) {
    match (kind, before) {
        (TaskKind::Charge(_), before) => assert!(before.is_none(), "I1: charged again, {applied:?}"),
        (TaskKind::Refund(call), Some(before)) => {
            let known = before.refunds.iter().any(|entry| entry.number == call.number);
            assert!(!known, "I1: refunded again, {before:?}");
        }
        (TaskKind::Reverse(_), Some(before)) => {
            let open = before.cancel.as_ref().is_some_and(|cancel| match &cancel.stage {
                CancelStage::Reversing(reversal) => !reversal.phase.is_final(),
                CancelStage::Blocked | CancelStage::Retry { .. } | CancelStage::NothingToReverse => false,
            });
            assert!(!open, "I1: a second reversal while the first is open, {before:?}");
        }
        (TaskKind::Refund(_) | TaskKind::Reverse(_), None) => panic!("a task of no payment: {kind:?}"),
        (TaskKind::Inquire(_), _) => {}
    }
}

/// I2: an order is at rest or has a due time; what is blocked waits for something that has one.
fn every_order_is_due_or_at_rest(order: &Order) {
    assert!(order.is_at_rest() || order.due_at().is_some(), "I2: not at rest, and never due: {order:?}");
    let Order::Payment(payment) = order else { return };
    let refund_open = payment.refunds.iter().any(|entry| !entry.refund.phase.is_final());
    let waits = payment.cancel.as_ref().is_some_and(|cancel| cancel.stage == CancelStage::Blocked);
    assert!(!waits || refund_open || !payment.charge.phase.is_final(), "I2: the cancel waits for nothing: {payment:?}");
}

/// I3: what callers were answered is never contradicted.
fn answers_stay(before: &Payment, after: &Payment) {
    let charge = &before.charge.phase;
    assert!(!charge.is_final() || *charge == after.charge.phase, "I3: the charge's end changed: {after:?}");
    assert_eq!((before.trade_no, before.issuer, &before.terms), (after.trade_no, after.issuer, &after.terms));
    for (n, entry) in before.refunds.iter().enumerate() {
        let now = &after.refunds[n];
        assert_eq!((&entry.number, entry.amount), (&now.number, now.amount), "an entry changed");
        let phase = &entry.refund.phase;
        assert!(!phase.is_final() || *phase == now.refund.phase, "I3: the end of {} changed: {after:?}", entry.number);
    }
    if let (Some(cancel), Some(now)) = (before.cancel.as_ref().filter(|cancel| cancel.is_complete()), &after.cancel) {
        let has_more = after.charge_took_effect_after_all && !before.charge_took_effect_after_all;
        assert!(now.is_complete() || has_more, "I3: a cancel that was done is not: {after:?}");
        assert!(!cancel.is_reversed() || cancel.stage == now.stage, "I3: a reversal changed: {after:?}");
    }
    assert!(before.contradiction.is_none() || after.contradiction.is_some(), "a contradiction is forgotten");
}

/// I4: what is refunded, may still be refunded, and is being reversed never exceeds the payment.
fn never_returns_more_than_was_paid(payment: &Payment) {
    // An issuer that refunds after it refused is not the machine's doing.
    let kept = payment.refunds.iter().filter(|entry| entry.refund.failure().is_none());
    let refunds: i64 = kept.map(|entry| entry.amount.twd()).sum();
    let reversed = payment.cancel.as_ref().map_or(0, |cancel| match &cancel.stage {
        CancelStage::Reversing(reversal) if reversal.done().is_some() && payment.contradiction.is_some() => 0,
        CancelStage::Reversing(reversal) if reversal.failure().is_none() => cancel.amount,
        CancelStage::Retry { .. } => cancel.amount,
        CancelStage::Reversing(_) | CancelStage::Blocked | CancelStage::NothingToReverse => 0,
    });
    let paid = payment.terms.trade_amount.twd();
    assert!(refunds + reversed <= paid, "I4: {refunds} + {reversed} of {paid}: {payment:?}");
    let gave = refunds + reversed > 0;
    assert!(
        !gave || payment.is_paid() || payment.charge_took_effect_after_all,
        "I4: money was returned for a payment without a charge: {payment:?}"
    );
}

/// At the end of a history: the payment and its refund orders agree about each refund.
pub(super) fn check_answers(payment: &Payment, refund: &crate::Refund) {
    let entry = payment.refunds.iter().find(|entry| entry.number == refund.key.merchant_trade_no);
    match (&refund.phase, entry.map(|entry| &entry.refund.phase)) {
        (RefundPhase::Succeeded(success), Some(Phase::Done(refunded))) => assert_eq!(success.refunded, **refunded),
        (RefundPhase::Failed(answered), Some(Phase::Failed(failure))) => assert_eq!(answered, failure),
        (RefundPhase::Failed(_), None) => {}
        (answered, entry) => panic!("the refund order has {answered:?}, its payment has {entry:?}"),
    }
}
