//! The answer to a payment.

use twqr_order::{Approval, Payment, PaymentType, Phase};
use twqr_types::{PayForm, StatusCode};

use super::{Details, Echoes, OrderStatus, Status, card_json};

/// StatusDesc of a payment that has no result yet.
const IN_PROGRESS: &str = "the payment is in progress; query it with the same MerchantTradeNo";
/// StatusDesc of a payment that may or may not have been accepted. There is no TradeNo
/// then, and an inquiry may find nothing.
const UNCONFIRMED: &str =
    "the payment is in progress and not confirmed yet; send it again with the same MerchantTradeNo";

/// The answer to a payment request, and a part of the answer to an inquiry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PaymentAnswer {
    pub(crate) echoes: Echoes,
    pub(crate) status: Status,
    /// IsRep: the payment existed before the request.
    pub(crate) is_repeat: bool,
    /// Empty while it is not known whether the payment was accepted, like the time.
    pub(crate) trade_no: String,
    pub(crate) trade_time: String,
    pub(crate) details: Details,
}

/// The answer about a payment as it is now. `in_progress_code` is its StatusCode while it has no
/// result.
pub(crate) fn payment_answer(payment: &Payment, in_progress_code: StatusCode, is_repeat: bool) -> PaymentAnswer {
    let terms = &payment.terms;
    let mut details = Details {
        trade_amount: terms.trade_amount.twd(),
        remark: terms.remark.as_str().to_owned(),
        extra1: terms.extra1.as_str().to_owned(),
        extra2: terms.extra2.as_str().to_owned(),
        ..Details::default()
    };
    let institution = payment.issuer.as_ref().map_or("", |issuer| issuer.as_wire());
    if !institution.is_empty() {
        details.payment_type = Some(PaymentType::OtherIssuer);
        institution.clone_into(&mut details.extra3);
    }
    let mut status = match &payment.charge.phase {
        Phase::Done(approval) => {
            add_approval(&mut details, approval);
            Status::success()
        }
        Phase::Failed(failure) => Status::failed(failure),
        Phase::Sent { .. } | Phase::Unresolved { .. } | Phase::Inquiring { .. } => {
            Status::new(in_progress_code, IN_PROGRESS)
        }
    };
    // Once a caller's cancel has succeeded, a repeat of the payment is refused, whatever its result
    // was (`proto/README.md`, section Cancels).
    if payment.cancel.as_ref().is_some_and(|cancel| cancel.is_answered_as_done() && cancel.is_requested) {
        status = Status::new(StatusCode::CANCELLED, "the payment was cancelled");
    }
    PaymentAnswer {
        echoes: Echoes {
            merchant_id: payment.key.merchant_id.as_str().to_owned(),
            store_id: terms.store_id.as_str().to_owned(),
            gateway_trade_no: terms.gateway_trade_no.as_str().to_owned(),
            merchant_trade_no: payment.key.merchant_trade_no.as_str().to_owned(),
            pos_id: terms.pos_id.as_str().to_owned(),
        },
        status,
        is_repeat,
        trade_no: payment.trade_no.as_str().to_owned(),
        trade_time: payment.accepted_at.taipei(),
        details,
    }
}

fn add_approval(details: &mut Details, approval: &Approval) {
    // For another issuer both fields are set already; its own payment type is not used.
    if details.payment_type.is_none() {
        details.payment_type = Some(approval.payment_type);
        if approval.payment_type == PaymentType::CreditCard {
            details.extra3 = card_json(&approval.card_name, &approval.card_no_masked);
        }
    }
    details.debit_amount = approval.debit_amount;
    details.redeem_name = approval.redeem_name.to_string();
    details.redeem_amount = approval.redeem_amount;
    details.store_redeem_amount = approval.store_redeem_amount;
    details.invoice_vehicle = approval.invoice_vehicle.to_string();
    details.mer_mem_token = approval.mer_mem_token.to_string();
}

/// The OrderStatus of a payment. A cancelled payment counts as fully refunded; while its cancel is
/// in progress, so is the order.
pub(super) fn order_status(payment: &Payment) -> OrderStatus {
    match &payment.charge.phase {
        Phase::Done(_) => {}
        Phase::Failed(_) => return OrderStatus::Failed,
        Phase::Sent { .. } | Phase::Unresolved { .. } | Phase::Inquiring { .. } => return OrderStatus::InProgress,
    }
    match &payment.cancel {
        Some(cancel) if cancel.is_answered_as_done() => return OrderStatus::FullyRefunded,
        Some(cancel) if cancel.is_unanswered() => return OrderStatus::InProgress,
        // The issuer refused the cancel: it does not change the payment's status.
        Some(_) | None => {}
    }
    match payment.refunded() {
        0 => OrderStatus::Paid,
        refunded if refunded >= payment.terms.trade_amount.twd() => OrderStatus::FullyRefunded,
        _ => OrderStatus::PartlyRefunded,
    }
}

/// The answer at the caller's deadline if no reply has confirmed that the payment was accepted.
pub(crate) fn unconfirmed_payment(form: &PayForm, in_progress_code: StatusCode) -> PaymentAnswer {
    PaymentAnswer {
        echoes: Echoes::of_form(form),
        status: Status::new(in_progress_code, UNCONFIRMED),
        is_repeat: false,
        trade_no: String::new(),
        trade_time: String::new(),
        details: Details {
            trade_amount: form.trade_amount.twd(),
            remark: form.remark.as_str().to_owned(),
            extra1: form.extra1.as_str().to_owned(),
            extra2: form.extra2.as_str().to_owned(),
            ..Details::default()
        },
    }
}
