//! Refund: the first request under a number creates the refund order and asks the payment, which
//! may be on another shard; the payment's answer is the result. An equal repeat gets the first
//! one's result; a request that differs changes nothing.

use twqr_types::{Field, RefundForm, TradeNo};

use super::{AppliedStep, ApplyContext, IGNORED, Step, changed, subscribe};
use crate::{
    Command, Evidence, Nonces, Order, Refund, RefundPhase, RefundRequest, RefundResult, RefundTerms, ReplyBody,
    Reserve, Subscriber, SubscriptionKind, schedule,
};

/// The delays after which the payment is asked again, in ms; they double from the minimum to the
/// maximum. The payment answers by itself after its issuer has, so asking again only makes up for
/// lost records.
const ASK_AGAIN_MS_MIN: i64 = 60_000;
const ASK_AGAIN_MS_MAX: i64 = 3_600_000;

/// Applies a request for a refund.
pub(super) fn request(
    order: &mut Option<Order>,
    request: &RefundRequest,
    mut context: ApplyContext<'_>,
) -> AppliedStep {
    match order {
        Some(Order::Refund(refund)) => repeat(refund, request, &mut context),
        Some(Order::Payment(_) | Order::EarlyCancel(_)) => {
            if let Some(to) = request.reply_to {
                context.out.reply(to, true, ReplyBody::Conflict(vec![Field::MerchantTradeNo]));
            }
            AppliedStep { step: Step::Conflicted, changed: false }
        }
        None => {
            let refund = accept(request, &mut context);
            if let Some(to) = request.reply_to {
                context.out.reply(to, false, ReplyBody::Order);
            }
            *order = Some(Order::Refund(refund));
            changed(Step::Accepted)
        }
    }
}

fn accept(request: &RefundRequest, context: &mut ApplyContext<'_>) -> Refund {
    let form = &request.form;
    let first = |to| Subscriber { to, repeat: false, kind: SubscriptionKind::Result };
    let mut refund = Refund {
        key: form.key.clone(),
        trade_no: TradeNo::new(context.cause.shard, context.cause.offset, context.at),
        payment: form.trade_no,
        accepted_at: context.at,
        terms: RefundTerms {
            store_id: form.store_id.clone(),
            store_name: form.store_name.clone(),
            gateway_trade_no: form.gateway_trade_no.clone(),
            pos_id: form.pos_id.clone(),
            pos_trade_time: form.pos_trade_time.clone(),
            trade_amount: form.trade_amount,
            remark: form.remark.clone(),
            extra1: form.extra1.clone(),
            extra2: form.extra2.clone(),
        },
        phase: RefundPhase::Requested { next_request: context.at },
        requests: 0,
        subscribers: request.reply_to.map(first).into_iter().collect(),
        changed_at: context.at,
        late_booking: None,
        nonces: Nonces::default(),
    };
    ask_payment(&mut refund, context);
    refund
}

/// Asks the payment, and sets the time to ask again.
pub(super) fn ask_payment(refund: &mut Refund, context: &mut ApplyContext<'_>) {
    let reserve = Reserve {
        payment: refund.payment,
        refund: refund.key.clone(),
        trade_no: refund.trade_no,
        amount: refund.terms.trade_amount,
        store_id: refund.terms.store_id.clone(),
        store_name: refund.terms.store_name.clone(),
        pos_id: refund.terms.pos_id.clone(),
        remark: refund.terms.remark.clone(),
    };
    context.out.forward(refund.payment.shard(), context.at, Command::Reserve(Box::new(reserve)));
    let spacing = schedule::spacing(refund.requests, ASK_AGAIN_MS_MIN, ASK_AGAIN_MS_MAX);
    refund.phase = RefundPhase::Requested { next_request: context.at.plus(spacing) };
    refund.requests = refund.requests.saturating_add(1);
}

fn repeat(refund: &mut Refund, request: &RefundRequest, context: &mut ApplyContext<'_>) -> AppliedStep {
    let differing = differing_fields(refund, &request.form);
    let Some(to) = request.reply_to else { return IGNORED };
    if !differing.is_empty() {
        context.out.reply(to, true, ReplyBody::Conflict(differing));
        return AppliedStep { step: Step::Conflicted, changed: false };
    }
    context.out.reply(to, true, ReplyBody::Order);
    let subscriber = Subscriber { to, repeat: true, kind: SubscriptionKind::Result };
    let waits = !refund.is_final() && subscribe(&mut refund.subscribers, subscriber, context.at);
    AppliedStep { step: Step::Repeated, changed: waits }
}

/// The fields that differ from the refund's.
fn differing_fields(refund: &Refund, form: &RefundForm) -> Vec<Field> {
    let compared = [
        (Field::StoreId, refund.terms.store_id == form.store_id),
        (Field::TradeNo, refund.payment == form.trade_no),
        (Field::TradeAmount, refund.terms.trade_amount == form.trade_amount),
    ];
    compared.into_iter().filter(|(_, equal)| !equal).map(|(field, _)| field).collect()
}

/// Applies the payment's answer. Only the first answer counts. Later ones are the same, because a
/// payment always gives a refund number the same answer.
pub(super) fn result(order: &mut Option<Order>, result: &RefundResult, mut context: ApplyContext<'_>) -> AppliedStep {
    let Some(Order::Refund(refund)) = order else { return IGNORED };
    if refund.is_final() {
        return IGNORED;
    }
    let step = match &result.result {
        Ok(success) => {
            refund.phase = RefundPhase::Succeeded(Box::new(success.clone()));
            refund.late_booking = context.late_booking();
            Step::Refunded
        }
        Err(failure) => {
            refund.phase = RefundPhase::Failed(failure.clone());
            if failure.evidence == Evidence::Refused { Step::Refused } else { Step::Failed(failure.evidence) }
        }
    };
    refund.changed_at = context.at;
    context.notify(&mut refund.subscribers, true, true);
    changed(step)
}
