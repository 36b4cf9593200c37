//! Pay: the first request creates the order; an equal repeat gets the first one's result; a request
//! that differs changes nothing. If a cancel arrived before the payment, the payment is refused
//! permanently.

use twqr_types::{Field, Issuer, PayForm, StatusCode, TradeNo, UnRedeem, UnixMs};

use super::{AppliedStep, ApplyContext, IGNORED, Step, changed, subscribe};
use crate::{
    Approval, Cancel, CancelStage, ChargeCall, Failure, IssuerRules, Movement, Nonces, Order, Pay, Payment,
    Remembering, ReplyBody, RouteTarget, Rules, StatusCodes, Subscriber, SubscriptionKind, TaskKind, Terms,
};

pub(super) fn apply(order: &mut Option<Order>, pay: &Pay, mut context: ApplyContext<'_>) -> AppliedStep {
    match order {
        Some(Order::Payment(payment)) => repeat(payment, pay, &mut context),
        Some(Order::Refund(_)) => {
            if let Some(to) = pay.reply_to {
                context.out.reply(to, true, ReplyBody::Conflict(vec![Field::MerchantTradeNo]));
            }
            AppliedStep { step: Step::Conflicted, changed: false }
        }
        Some(Order::EarlyCancel(cancelled)) => {
            let nonces = std::mem::take(&mut cancelled.nonces);
            let payment = refuse_after_cancel(pay, cancelled.requested_at, &mut context);
            *order = Some(Order::Payment(Payment { nonces, ..payment }));
            changed(Step::Refused)
        }
        None => {
            let (payment, step) = accept(pay, &mut context);
            *order = Some(Order::Payment(payment));
            changed(step)
        }
    }
}

/// Creates the order of the first Pay under this key.
fn accept(pay: &Pay, context: &mut ApplyContext<'_>) -> (Payment, Step) {
    let (issuer, verdict) = route_payment(&pay.form, context.rules, context.at);
    match verdict {
        Ok(rules) => {
            let movement = context.begin_movement(&rules, rules.idempotent_charges);
            let mut payment = new_payment(pay, Some(rules.issuer), movement, context);
            let call = charge_call(&payment, &pay.form);
            context.emit_task(&payment, &payment.charge, &rules, TaskKind::Charge(Box::new(call)));
            let first = |to| Subscriber { to, repeat: false, kind: SubscriptionKind::Result };
            payment.subscribers.extend(pay.reply_to.map(first));
            (payment, Step::Accepted)
        }
        Err(failure) => {
            let payment = new_payment(pay, issuer, Movement::failed(context.at, failure), context);
            reply(pay, context);
            (payment, Step::Refused)
        }
    }
}

/// Creates a payment that is refused because its cancel arrived first.
fn refuse_after_cancel(pay: &Pay, requested_at: UnixMs, context: &mut ApplyContext<'_>) -> Payment {
    let failure =
        Failure::refused(StatusCode::CANCELLED, "the payment was cancelled before it came; nothing was charged");
    let mut payment = new_payment(pay, None, Movement::failed(context.at, failure), context);
    payment.cancel = Some(Cancel {
        requested_at,
        remark: pay.form.remark.clone(),
        amount: 0,
        attempts: 0,
        last_sent_offset: context.cause.offset,
        amounts: Vec::new(),
        is_requested: true,
        was_answered_as_done: false,
        stage: CancelStage::NothingToReverse,
        last_refusal: None,
        changed_at: context.at,
    });
    reply(pay, context);
    payment
}

fn reply(pay: &Pay, context: &mut ApplyContext<'_>) {
    if let Some(to) = pay.reply_to {
        context.out.reply(to, false, ReplyBody::Order);
    }
}

/// Resolves the issuer, then returns its rules or the refusal. The issuer is `None` if the payment
/// is refused before it is resolved.
pub(crate) fn route_payment(
    form: &PayForm,
    rules: Rules<'_>,
    at: UnixMs,
) -> (Option<Issuer>, Result<IssuerRules, Failure>) {
    let refuse = |issuer, code: StatusCode, desc: &str| (issuer, Err(Failure::refused(code, desc)));
    let Some(policy) = rules.policy else {
        let code = StatusCodes::default().fisc_abnormal;
        return refuse(None, code, "no routes are configured yet; nothing was sent");
    };
    let amount = Some(form.trade_amount.twd());
    if let Some((code, desc)) = rules.merchant_refusal(&form.key.merchant_id, &form.store_id, amount) {
        return refuse(None, code, desc);
    }
    let Some(route) = policy.route(&form.card_token) else {
        return refuse(None, StatusCode::BAD_CODE, "no issuer is known for a code that begins like this");
    };
    let RouteTarget::Issuer(issuer) = route.target else {
        return refuse(None, StatusCode::BAD_CODE, "codes that begin like this are not taken");
    };
    if let Some(fault) = route.code_fault(&form.card_token) {
        return refuse(None, StatusCode::BAD_CODE, fault);
    }
    let rules = policy.issuer(issuer);
    if rules.is_in_maintenance(at) {
        let code = policy.status_codes.fisc_abnormal;
        return refuse(Some(issuer), code, "the issuer is in announced maintenance; nothing was sent");
    }
    (Some(issuer), Ok(rules))
}

fn new_payment(pay: &Pay, issuer: Option<Issuer>, charge: Movement<Approval>, context: &ApplyContext<'_>) -> Payment {
    let form = &pay.form;
    let un_redeem = if issuer == Some(Issuer::Wallet) { form.un_redeem } else { UnRedeem::ZERO };
    Payment {
        key: form.key.clone(),
        trade_no: TradeNo::new(context.cause.shard, context.cause.offset, context.at),
        accepted_at: context.at,
        terms: Terms {
            store_id: form.store_id.clone(),
            store_name: form.store_name.clone(),
            gateway_trade_no: form.gateway_trade_no.clone(),
            pos_id: form.pos_id.clone(),
            pos_trade_time: form.pos_trade_time.clone(),
            trade_amount: form.trade_amount,
            un_redeem,
            requested_un_redeem: form.un_redeem,
            remark: form.remark.clone(),
            extra1: form.extra1.clone(),
            extra2: form.extra2.clone(),
            card_token: form.card_token.compared(&form.key),
        },
        issuer,
        charge,
        refunds: Vec::new(),
        cancel: None,
        subscribers: Vec::new(),
        charge_took_effect_after_all: false,
        contradiction: None,
        protocol_version: context.protocol_version(),
        remembering: remembering(pay, context),
        nonces: Nonces::default(),
    }
}

/// Only the caller of this request may remember its answer so far.
fn remembering(pay: &Pay, context: &ApplyContext<'_>) -> Remembering {
    let mut remembering = Remembering::new(context.protocol_version());
    if let Some(to) = pay.reply_to {
        remembering.add(to.partition);
    }
    remembering
}

fn charge_call(payment: &Payment, form: &PayForm) -> ChargeCall {
    ChargeCall {
        card_token: form.card_token.spendable(),
        store_id: form.store_id.clone(),
        store_name: form.store_name.clone(),
        pos_id: form.pos_id.clone(),
        trade_amount: form.trade_amount,
        un_redeem: payment.terms.un_redeem,
        remark: form.remark.clone(),
    }
}

/// Applies another Pay under the same key: an equal one waits for the first one's result, any other
/// is refused.
fn repeat(payment: &mut Payment, pay: &Pay, context: &mut ApplyContext<'_>) -> AppliedStep {
    let differing = differing_fields(payment, &pay.form);
    let Some(to) = pay.reply_to else { return IGNORED };
    if !differing.is_empty() {
        context.out.reply(to, true, ReplyBody::Conflict(differing));
        return AppliedStep { step: Step::Conflicted, changed: false };
    }
    context.out.reply(to, true, ReplyBody::Order);
    let subscriber = Subscriber { to, repeat: true, kind: SubscriptionKind::Result };
    let waits = !payment.charge.phase.is_final() && subscribe(&mut payment.subscribers, subscriber, context.at);
    let is_new_there = payment.remembering.add(to.partition);
    AppliedStep { step: Step::Repeated, changed: waits || is_new_there }
}

/// The fields that differ from the payment's. Other fields, such as GatewayTradeNo and PosID, may
/// differ in a repeat.
fn differing_fields(payment: &Payment, form: &PayForm) -> Vec<Field> {
    let terms = &payment.terms;
    let compared = [
        (Field::StoreId, terms.store_id == form.store_id),
        (Field::CardToken, !terms.card_token.differs_from(&form.card_token, &form.key)),
        (Field::TradeAmount, terms.trade_amount == form.trade_amount),
        (Field::UnRedeem, terms.requested_un_redeem == form.un_redeem),
    ];
    compared.into_iter().filter(|(_, equal)| !equal).map(|(field, _)| field).collect()
}
