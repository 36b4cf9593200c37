//! Due: the time has come to ask the issuer about what is in progress, to reverse again, or to ask
//! a refund's payment again.

use super::{Applied, IGNORED, Scene, Step, cancel, changed, lifecycle::Judge, refund};
use crate::{CancelStage, Order, Payment, Refund, Subject};

pub(super) fn apply(order: &mut Order, mut scene: Scene<'_>) -> Applied {
    match order {
        Order::Payment(payment) => of_payment(payment, &mut scene),
        Order::Refund(refund) => of_refund(refund, &mut scene),
        Order::Cancelled(_) => IGNORED,
    }
}

fn of_refund(order: &mut Refund, scene: &mut Scene<'_>) -> Applied {
    if order.due_at().is_none_or(|due| scene.at < due) {
        return IGNORED;
    }
    refund::ask_payment(order, scene);
    changed(Step::Asked)
}

/// Everything of the payment that is due.
fn of_payment(payment: &mut Payment, scene: &mut Scene<'_>) -> Applied {
    if payment.due_at().is_none_or(|due| scene.at < due) {
        return IGNORED;
    }
    ask_about_charge(payment, scene);
    ask_about_refunds(payment, scene);
    if go_on_with_cancel(payment, scene) {
        scene.tell_payment(payment);
        return changed(Step::Cancelled);
    }
    changed(Step::Asked)
}

fn ask_about_charge(payment: &mut Payment, scene: &mut Scene<'_>) {
    if !payment.charge.is_due(scene.at) {
        return;
    }
    let (rules, codes) = (scene.rules(payment), scene.codes());
    let judge = Judge { number: payment.trade_no, what: "payment", rules: &rules, codes: &codes, at: scene.at };
    if payment.charge.ask(scene.out.next_id(), &judge) {
        scene.emit_inquiry(payment, &payment.charge, &rules, Subject::Charge);
    }
}

fn ask_about_refunds(payment: &mut Payment, scene: &mut Scene<'_>) {
    let (rules, codes) = (scene.rules(payment), scene.codes());
    for index in 0..payment.refunds.len() {
        let entry = &mut payment.refunds[index];
        let judge = Judge { number: entry.trade_no, what: "refund", rules: &rules, codes: &codes, at: scene.at };
        if entry.refund.is_due(scene.at) && entry.refund.ask(scene.out.next_id(), &judge) {
            let entry = &payment.refunds[index];
            let subject = Subject::Refund { number: entry.number.clone(), trade_no: entry.trade_no };
            scene.emit_inquiry(payment, &entry.refund, &rules, subject);
        }
    }
}

/// Whether the cancel is done by that: refunds have left nothing.
fn go_on_with_cancel(payment: &mut Payment, scene: &mut Scene<'_>) -> bool {
    let (rules, codes, number) = (scene.rules(payment), scene.codes(), payment.trade_no);
    let Some(cancel) = payment.cancel.as_mut().filter(|cancel| cancel.is_open()) else { return false };
    match &mut cancel.stage {
        CancelStage::Reversing(reversal) if reversal.is_due(scene.at) => {
            let judge = Judge { number, what: "reversal", rules: &rules, codes: &codes, at: scene.at };
            if reversal.ask(scene.out.next_id(), &judge) {
                let asked = reversal.clone();
                scene.emit_inquiry(payment, &asked, &rules, Subject::Reversal);
            }
        }
        CancelStage::Again { at } if scene.at >= *at => cancel::take_back(payment, scene),
        CancelStage::Reversing(_) | CancelStage::Again { .. } | CancelStage::Waiting | CancelStage::Nothing => {}
    }
    payment.cancel.as_ref().is_some_and(crate::Cancel::is_done)
}
