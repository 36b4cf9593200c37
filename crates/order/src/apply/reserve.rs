//! Reserve: a refund order asks its payment to refund an amount.
//!
//! The payment decides by its state and its issuer's rules, and sends the refund to the issuer. It
//! keeps its answer to each refund number permanently. So refunds and a cancel together never
//! exceed the payment, even at the same time (invariant I4).

use super::{AppliedStep, ApplyContext, Step, changed};
use crate::{
    CancelStage, Command, Effect, Failure, IssuerRules, Movement, Order, Payment, Phase, Position, REFUNDS_MAX,
    RefundCall, RefundEntry, RefundResult, RefundSuccess, Reserve, TaskKind, effect::Emitter, policy::RefundCheck,
};
use twqr_types::{CutOff, StatusCode, UnixMs};

pub(super) fn apply(order: Option<&mut Order>, reserve: &Reserve, mut context: ApplyContext<'_>) -> AppliedStep {
    let Some(payment) = order.and_then(|order| requested_payment(order, reserve)) else {
        answer(reserve, Err(no_such_payment()), &mut context);
        return AppliedStep { step: Step::Refused, changed: false };
    };
    if let Some(entry) = payment.refunds.iter().find(|entry| entry.number == reserve.refund.merchant_trade_no) {
        if let Some(result) = result_of(payment, entry) {
            answer(reserve, result, &mut context);
        }
        return AppliedStep { step: Step::Repeated, changed: false };
    }
    let numbers_max = payment.refund_numbers_max();
    if payment.refunds.len() >= numbers_max {
        let full = format!("the payment has had {numbers_max} refund requests already");
        answer(reserve, Err(Failure::refused(StatusCode::STATE_FORBIDS_REFUND, &full)), &mut context);
        return AppliedStep { step: Step::Refused, changed: false };
    }
    let rules = context.issuer_rules(payment);
    let (refund, step) = match refusal(payment, reserve, &rules, &context) {
        Some(failure) => {
            answer(reserve, Err(failure.clone()), &mut context);
            (Movement::failed(context.at, failure), Step::Refused)
        }
        None => (context.begin(payment, &rules, TaskKind::Refund(Box::new(refund_call(reserve)))), Step::Reserved),
    };
    payment.refunds.push(RefundEntry {
        number: reserve.refund.merchant_trade_no.clone(),
        trade_no: reserve.trade_no,
        amount: reserve.amount,
        refund,
        took_effect_after_all: false,
    });
    context.notify_of_start(payment);
    changed(step)
}

/// The payment, if its TradeNo and its merchant are those of the request.
fn requested_payment<'a>(order: &'a mut Order, reserve: &Reserve) -> Option<&'a mut Payment> {
    match order {
        Order::Payment(payment) => {
            let is_requested =
                payment.trade_no == reserve.payment && payment.key.merchant_id == reserve.refund.merchant_id;
            is_requested.then_some(payment)
        }
        Order::Refund(_) | Order::EarlyCancel(_) => None,
    }
}

fn refund_call(reserve: &Reserve) -> RefundCall {
    RefundCall {
        number: reserve.refund.merchant_trade_no.clone(),
        trade_no: reserve.trade_no,
        store_id: reserve.store_id.clone(),
        store_name: reserve.store_name.clone(),
        pos_id: reserve.pos_id.clone(),
        trade_amount: reserve.amount,
        remark: reserve.remark.clone(),
    }
}

/// The failure with which the payment refuses the refund; `None` if it accepts it.
fn refusal(payment: &Payment, reserve: &Reserve, rules: &IssuerRules, context: &ApplyContext<'_>) -> Option<Failure> {
    let refused = |code: StatusCode, desc: &str| Some(Failure::refused(code, desc));
    if payment.held_refunds() >= REFUNDS_MAX {
        let full = format!("{REFUNDS_MAX} refunds of the payment took effect or are in progress");
        return refused(StatusCode::STATE_FORBIDS_REFUND, &full);
    }
    match &payment.charge.phase {
        Phase::Done(_) => {}
        Phase::Failed(_) => {
            return refused(StatusCode::STATE_FORBIDS_REFUND, "the payment failed; there is nothing to give back");
        }
        Phase::Sent { .. } | Phase::Unresolved { .. } | Phase::Inquiring { .. } => {
            return refused(
                StatusCode::STATE_FORBIDS_REFUND,
                "the payment is in progress; nothing can be given back yet",
            );
        }
    }
    match &payment.cancel {
        Some(cancel) if cancel.is_complete() => {
            return refused(StatusCode::CANCELLED, "the payment is cancelled already");
        }
        Some(cancel) if cancel.is_in_progress() => {
            return refused(StatusCode::STATE_FORBIDS_REFUND, "the payment is being cancelled");
        }
        Some(_) | None => {}
    }
    if let Some((code, desc)) = context.rules.merchant_refusal(&reserve.refund.merchant_id, &reserve.store_id, None) {
        return refused(code, desc);
    }
    let remaining = payment.terms.trade_amount.twd() - payment.reserved();
    if reserve.amount.twd() > remaining {
        return refused(
            StatusCode::REFUNDS_ABOVE_PAYMENT,
            &format!("of {} TWD {remaining} are left", payment.terms.trade_amount.twd()),
        );
    }
    let check = RefundCheck {
        amount: reserve.amount,
        trade_amount: payment.terms.trade_amount,
        remaining,
        paid_at: payment.charge.changed_at,
        at: context.at,
    };
    let cut_off = context.rules.policy.map_or_else(CutOff::default, |policy| policy.cut_off);
    let by_rule = rules.refund.refusal(&check, cut_off);
    by_rule.and_then(|desc| refused(context.codes().refund_refused, &desc)).or_else(|| maintenance(rules, context))
}

fn maintenance(rules: &IssuerRules, context: &ApplyContext<'_>) -> Option<Failure> {
    rules.is_in_maintenance(context.at).then(|| {
        Failure::refused(context.codes().fisc_abnormal, "the issuer is in announced maintenance; nothing was sent")
    })
}

/// The answer to the refund order, once the entry is final.
fn result_of(payment: &Payment, entry: &RefundEntry) -> Option<Result<RefundSuccess, Failure>> {
    match (&entry.refund.phase, payment.charge.done()) {
        (Phase::Done(refunded), Some(approval)) => Some(Ok(RefundSuccess {
            refunded: (**refunded).clone(),
            issuer: payment.issuer.unwrap_or(twqr_types::Issuer::Wallet),
            payment_type: approval.payment_type,
            invoice_vehicle: approval.invoice_vehicle.clone(),
            mer_mem_token: approval.mer_mem_token.clone(),
            card_name: approval.card_name.clone(),
            card_no_masked: approval.card_no_masked.clone(),
        })),
        (Phase::Failed(failure), _) => Some(Err(failure.clone())),
        (Phase::Sent { .. } | Phase::Unresolved { .. } | Phase::Inquiring { .. } | Phase::Done(_), _) => None,
    }
}

/// Sends the result to the refund order, if the entry is final.
pub(super) fn send_result(payment: &Payment, index: usize, context: &mut ApplyContext<'_>) {
    let Some(entry) = payment.refunds.get(index) else { return };
    if let Some(result) = result_of(payment, entry) {
        let key = twqr_types::OrderKey {
            merchant_id: payment.key.merchant_id.clone(),
            merchant_trade_no: entry.number.clone(),
        };
        let result = RefundResult { key, result };
        context.out.forward(entry.trade_no.shard(), context.at, Command::RefundResult(Box::new(result)));
    }
}

fn answer(reserve: &Reserve, result: Result<RefundSuccess, Failure>, context: &mut ApplyContext<'_>) {
    forward_answer(reserve, result, context.at, &mut context.out);
}

fn forward_answer(reserve: &Reserve, result: Result<RefundSuccess, Failure>, at: UnixMs, out: &mut Emitter<'_>) {
    let result = RefundResult { key: reserve.refund.clone(), result };
    out.forward(reserve.trade_no.shard(), at, Command::RefundResult(Box::new(result)));
}

fn no_such_payment() -> Failure {
    Failure::refused(StatusCode::NO_SUCH_ORDER, "the merchant has no payment with this TradeNo")
}

/// Answers a refund whose TradeNo belongs to no payment on this shard.
pub fn refuse_unknown_payment(reserve: &Reserve, at: UnixMs, cause: Position, effects: &mut Vec<Effect>) {
    forward_answer(reserve, Err(no_such_payment()), at, &mut Emitter::new(cause, effects));
}

impl Payment {
    /// Whether a cancel is blocked, though everything that it waits for is final now.
    pub(super) fn can_advance_cancel(&self) -> bool {
        let waits = self.cancel.as_ref().is_some_and(|cancel| cancel.stage == CancelStage::Blocked);
        waits && self.charge.phase.is_final() && !self.has_refund_in_progress()
    }
}
