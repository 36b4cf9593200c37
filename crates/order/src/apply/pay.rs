//! Pay: the first one makes the order, a repeat gets the first one's result, a contradiction changes nothing.

use twqr_types::{Field, Issuer, PayForm, TradeNo, UnRedeem};

use super::{Applied, IGNORED, Scene, Step, changed};
use crate::{
    Charge, Effect, Evidence, Failure, Pay, Payment, Phase, Policy, ReplyBody, Resolution, Route, StatusCodes,
    Subscriber, Task, TaskKind, Terms,
};

/// StatusCode 927, bad code: no issuer would know it.
const BAD_CODE: &str = "927";

pub(super) fn apply(order: &mut Option<Payment>, pay: &Pay, mut scene: Scene<'_>) -> Applied {
    if let Some(payment) = order {
        return repeat(payment, pay, &mut scene);
    }
    let (payment, step) = accept(pay, &mut scene);
    *order = Some(payment);
    changed(step)
}

/// The first Pay under this key.
fn accept(pay: &Pay, scene: &mut Scene<'_>) -> (Payment, Step) {
    match find_route(&pay.form, scene.policy) {
        Ok((route, policy)) => {
            let mut payment = new_payment(pay, Some(route.issuer), policy.send_within_ms, route.resolution, scene);
            payment.subscribers.extend(pay.reply_to.map(|to| Subscriber { to, repeat: false }));
            scene.out.emit(Effect::Task(charge_task(&payment, &pay.form, scene)));
            (payment, Step::Accepted)
        }
        Err(failure) => {
            let mut payment = new_payment(pay, None, 0, Resolution::DEFAULT, scene);
            payment.phase = Phase::Failed(failure);
            if let Some(to) = pay.reply_to {
                scene.out.reply(to, false, ReplyBody::Order);
            }
            (payment, Step::Refused)
        }
    }
}

fn find_route<'p>(form: &PayForm, policy: Option<&'p Policy>) -> Result<(&'p Route, &'p Policy), Failure> {
    let refuse = |status_code: &str, status_desc: &str| Failure {
        evidence: Evidence::Refused,
        status_code: status_code.into(),
        status_desc: status_desc.into(),
    };
    let Some(policy) = policy else {
        let code = StatusCodes::default().fisc_abnormal;
        return Err(refuse(&code, "no routes are configured yet; nothing was sent"));
    };
    let Some(route) = policy.route(&form.card_token) else {
        return Err(refuse(BAD_CODE, "no issuer is known for a code that begins like this"));
    };
    if !route.code_lengths.contains(&(form.card_token.expose().len() as u32)) {
        return Err(refuse(BAD_CODE, "the code does not have the length that its issuer's codes have"));
    }
    Ok((route, policy))
}

fn new_payment(
    pay: &Pay,
    issuer: Option<Issuer>,
    send_within_ms: i64,
    rules: Resolution,
    scene: &Scene<'_>,
) -> Payment {
    let form = &pay.form;
    let send_by = scene.at.plus(send_within_ms);
    let un_redeem = if issuer == Some(Issuer::Wallet) { form.un_redeem } else { UnRedeem::ZERO };
    Payment {
        key: form.key.clone(),
        trade_no: TradeNo::new(scene.cause.shard, scene.cause.offset, scene.at),
        accepted_at: scene.at,
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
            card_token: form.card_token.digest(&form.key),
        },
        issuer,
        send_by,
        absent_after: send_by.plus(rules.window_ms),
        phase: Phase::Paying { task: scene.out.next_id() },
        subscribers: Vec::new(),
        contradiction: None,
        inquiries: 0,
        changed_at: scene.at,
    }
}

fn charge_task(payment: &Payment, form: &PayForm, scene: &Scene<'_>) -> Task {
    let charge = Charge {
        card_token: form.card_token.clone(),
        store_id: form.store_id.clone(),
        store_name: form.store_name.clone(),
        pos_id: form.pos_id.clone(),
        trade_amount: form.trade_amount,
        un_redeem: payment.terms.un_redeem,
        remark: form.remark.clone(),
    };
    Task {
        id: scene.out.next_id(),
        key: payment.key.clone(),
        trade_no: payment.trade_no,
        issuer: payment.issuer.unwrap_or(Issuer::Wallet),
        send_by: payment.send_by,
        absent_after: payment.absent_after,
        kind: TaskKind::Charge(Box::new(charge)),
    }
}

/// Another Pay under the key: equal ones wait for the first one's result, others are refused and change nothing.
fn repeat(payment: &mut Payment, pay: &Pay, scene: &mut Scene<'_>) -> Applied {
    let differing = differing_fields(payment, &pay.form);
    let Some(to) = pay.reply_to else { return IGNORED };
    if !differing.is_empty() {
        scene.out.reply(to, true, ReplyBody::Conflict(differing));
        return Applied { step: Step::Conflicted, changed: false };
    }
    scene.out.reply(to, true, ReplyBody::Order);
    let waits = !payment.phase.is_final() && payment.subscribe(Subscriber { to, repeat: true }, scene.at);
    Applied { step: Step::Repeated, changed: waits }
}

/// What makes a Pay another request under the same number: store, amount, the part not redeemable, the code (POS API, section 4).
fn differing_fields(payment: &Payment, form: &PayForm) -> Vec<Field> {
    let terms = &payment.terms;
    let compared = [
        (Field::StoreId, terms.store_id == form.store_id),
        (Field::CardToken, terms.card_token == form.card_token.digest(&form.key)),
        (Field::TradeAmount, terms.trade_amount == form.trade_amount),
        (Field::UnRedeem, terms.requested_un_redeem == form.un_redeem),
    ];
    compared.into_iter().filter(|(_, equal)| !equal).map(|(field, _)| field).collect()
}
