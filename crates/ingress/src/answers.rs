//! Answers: from the order as the router knows it to the POS document's response fields.

mod cancel;
mod payment;
mod refund;

use twqr_types::StatusCode;
use twqr_wire::{
    bus::{self, movement::Phase, order::Order},
    pos::{InquiryType, QueryResponse},
};

pub(crate) use cancel::{cancel_of_nothing, cancel_response, unconfirmed_cancel};
pub(crate) use payment::{pay_response, unconfirmed_payment};
pub(crate) use refund::{no_such_payment, refund_response, unconfirmed_refund};

/// StatusDesc of an inquiry about an order whose issuer contradicted what is final.
const CONTRADICTED: &str = "success; the issuer has contradicted the order's state, and an operator must look into it";
/// StatusDesc of a success.
const SUCCESS_DESC: &str = "success";

/// Whether the call that asked for it has its result: a payment paid or failed, a refund ended.
pub(crate) fn has_result(order: &bus::Order) -> bool {
    match &order.order {
        Some(Order::Payment(payment)) => is_final(payment.charge.as_ref()),
        Some(Order::Refund(refund)) => !matches!(refund.phase, Some(bus::refund::Phase::AskAgainMs(_)) | None),
        Some(Order::Cancelled(_)) => true,
        None => false,
    }
}

/// Whether it is a payment that is, or was to be, taken back.
pub(crate) fn has_cancel(order: &bus::Order) -> bool {
    matches!(&order.order, Some(Order::Payment(payment)) if payment.cancel.is_some())
}

/// Whether nothing of it is in progress.
pub(crate) fn is_at_rest(order: &bus::Order) -> bool {
    let Some(Order::Payment(payment)) = &order.order else { return has_result(order) };
    let refunds = payment.refunds.iter().all(|entry| is_final(entry.refund.as_ref()));
    has_result(order) && refunds && payment.cancel.as_ref().is_none_or(|cancel| !cancel::is_open(cancel))
}

/// Whether a cancel has its answer: the payment is taken back, or the issuer refused.
pub(crate) fn is_cancel_closed(order: &bus::Order) -> bool {
    match &order.order {
        Some(Order::Payment(payment)) => payment.cancel.as_ref().is_some_and(|cancel| !cancel::is_open(cancel)),
        Some(Order::Refund(_) | Order::Cancelled(_)) => true,
        None => false,
    }
}

fn is_final(movement: Option<&bus::Movement>) -> bool {
    match movement.and_then(|movement| movement.phase.as_ref()) {
        Some(Phase::Approved(_) | Phase::Refunded(_) | Phase::Reversed(_) | Phase::Failed(_)) => true,
        Some(Phase::Sent(_) | Phase::UnresolvedMs(_) | Phase::Asking(_)) | None => false,
    }
}

/// The answer to an inquiry; an order of the other kind is none.
pub(crate) fn query_response(order: bus::Order, inquiry_type: InquiryType, in_progress: StatusCode) -> QueryResponse {
    let contradicted = matches!(&order.order, Some(Order::Payment(payment)) if !payment.contradiction.is_empty());
    let (order_status, payment, refund) = match (order.order, inquiry_type) {
        (Some(Order::Payment(payment)), InquiryType::Payment) => {
            (payment::order_status(&payment), Some(pay_response(payment, in_progress, false)), None)
        }
        (Some(Order::Refund(refund)), InquiryType::Refund) => {
            (refund::order_status(&refund), None, Some(refund_response(refund, in_progress, false)))
        }
        (Some(Order::Payment(_) | Order::Refund(_) | Order::Cancelled(_)) | None, _) => return no_such_order(),
    };
    let desc = if contradicted { CONTRADICTED } else { SUCCESS_DESC };
    QueryResponse {
        status_code: StatusCode::SUCCESS.into(),
        status_desc: desc.to_owned(),
        order_status: Some(order_status.into()),
        payment,
        refund,
    }
}

/// There is no such order.
pub(crate) fn no_such_order() -> QueryResponse {
    QueryResponse {
        status_code: StatusCode::NO_SUCH_ORDER.into(),
        status_desc: "no such order".to_owned(),
        ..QueryResponse::default()
    }
}

/// Extra3 of a credit card: `{"CardName":…,"CardNo":…}` (POS API, section 2); quotes and
/// backslashes escaped, control characters left out.
fn card_json(name: &str, number: &str) -> String {
    let escape = |text: &str| {
        let printable = text.chars().filter(|c| !c.is_control());
        printable.flat_map(|c| (matches!(c, '"' | '\\')).then_some('\\').into_iter().chain([c])).collect::<String>()
    };
    format!(r#"{{"CardName":"{}","CardNo":"{}"}}"#, escape(name), escape(number))
}

#[cfg(test)]
mod tests {
    use twqr_wire::{
        bus::{Cancel, Failure, Movement, Nothing, Payment, cancel::Stage},
        pos::{CancelRequest, OrderStatus},
    };

    use super::*;

    fn movement(phase: Phase) -> Movement {
        Movement { phase: Some(phase), ..Movement::default() }
    }

    fn failed(code: &str) -> Movement {
        movement(Phase::Failed(Failure { status_code: code.into(), ..Failure::default() }))
    }

    /// StatusCodes of a repeat and of a cancel, and whether a watch ends, for a payment that was
    /// told as declined (928).
    fn told(cancel: Cancel) -> (String, String, bool) {
        let payment = Payment { charge: Some(failed("928")), cancel: Some(cancel), ..Payment::default() };
        let order = bus::Order { order: Some(Order::Payment(payment.clone())) };
        let asked = query_response(order.clone(), InquiryType::Payment, StatusCode::FISC_ABNORMAL);
        assert_eq!(asked.order_status, Some(OrderStatus::Failed.into()), "that is what it was told as");
        let repeat = pay_response(payment, StatusCode::FISC_ABNORMAL, true).status_code;
        let cancelled = cancel_response(&order, &CancelRequest::default(), StatusCode::FISC_ABNORMAL).status_code;
        (repeat, cancelled, is_at_rest(&order))
    }

    #[test]
    fn a_late_charge_that_is_taken_back_changes_nothing_that_was_told() {
        let nothing = Cancel { stage: Some(Stage::Nothing(Nothing {})), ..Cancel::default() };
        let out = Stage::Reversing(movement(Phase::Sent(bus::EffectId::default())));
        let done = Stage::Reversing(movement(Phase::Reversed(bus::Reversed::default())));
        let refused = Stage::Reversing(failed("983"));
        let was_done = |stage: &Stage| Cancel { stage: Some(stage.clone()), was_told_done: true, ..Cancel::default() };
        let by_itself = |stage: &Stage| Cancel { stage: Some(stage.clone()), by_itself: true, ..Cancel::default() };
        for (cancel, repeat, cancelled, at_rest) in [
            (nothing, "812", "000", true),
            (was_done(&out), "812", "000", true),
            (was_done(&refused), "812", "000", true),
            (was_done(&done), "812", "000", true),
            (by_itself(&out), "928", "982", false),
            (by_itself(&refused), "928", "983", true),
            (by_itself(&done), "928", "000", true),
        ] {
            assert_eq!(told(cancel.clone()), (repeat.to_owned(), cancelled.to_owned(), at_rest), "{cancel:?}");
        }
    }
}
