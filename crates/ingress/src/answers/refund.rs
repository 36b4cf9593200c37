//! The answer to a refund.

use twqr_order::{PaymentType, Refund, RefundPhase, RefundSuccess};
use twqr_types::{RawRefund, RefundForm, StatusCode};

use super::{Details, Echoes, OrderStatus, Status, card_json};

/// StatusDesc of a refund that has no result yet.
const IN_PROGRESS: &str = "the refund is in progress; query it with its MerchantTradeNo and InquiryType R";
/// StatusDesc of a refund that may or may not have been accepted.
const UNCONFIRMED: &str =
    "the refund is in progress and not confirmed yet; send it again with the same MerchantTradeNo";
/// StatusDesc of a refund whose payment does not exist.
const NO_PAYMENT: &str = "there is no payment with this TradeNo; nothing was accepted";

/// The answer to a refund request, and a part of the answer to an inquiry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RefundAnswer {
    pub(crate) echoes: Echoes,
    pub(crate) status: Status,
    /// IsRep: the refund existed before the request.
    pub(crate) is_repeat: bool,
    /// The payment's number.
    pub(crate) trade_no: String,
    /// The refund's own number; empty while it is not known whether the refund was accepted, like
    /// the time.
    pub(crate) refund_trade_no: String,
    pub(crate) refund_trade_time: String,
    pub(crate) details: Details,
}

/// The answer about a refund as it is now. `in_progress_code` is its StatusCode while it has no
/// result.
pub(crate) fn refund_answer(refund: &Refund, in_progress_code: StatusCode, is_repeat: bool) -> RefundAnswer {
    let terms = &refund.terms;
    let mut details = Details {
        trade_amount: terms.trade_amount.twd(),
        remark: terms.remark.as_str().to_owned(),
        extra1: terms.extra1.as_str().to_owned(),
        extra2: terms.extra2.as_str().to_owned(),
        ..Details::default()
    };
    let status = match &refund.phase {
        RefundPhase::Succeeded(success) => {
            add_success(&mut details, success);
            Status::success()
        }
        RefundPhase::Failed(failure) => Status::failed(failure),
        RefundPhase::Requested { .. } => Status::new(in_progress_code, IN_PROGRESS),
    };
    RefundAnswer {
        echoes: Echoes {
            merchant_id: refund.key.merchant_id.as_str().to_owned(),
            store_id: terms.store_id.as_str().to_owned(),
            gateway_trade_no: terms.gateway_trade_no.as_str().to_owned(),
            merchant_trade_no: refund.key.merchant_trade_no.as_str().to_owned(),
            pos_id: terms.pos_id.as_str().to_owned(),
        },
        status,
        is_repeat,
        trade_no: refund.payment.as_str().to_owned(),
        refund_trade_no: refund.trade_no.as_str().to_owned(),
        refund_trade_time: refund.accepted_at.taipei(),
        details,
    }
}

fn add_success(details: &mut Details, success: &RefundSuccess) {
    let refunded = &success.refunded;
    details.debit_amount = refunded.debit_amount;
    details.redeem_name = refunded.redeem_name.to_string();
    details.redeem_amount = refunded.redeem_amount;
    details.store_redeem_amount = refunded.store_redeem_amount;
    details.invoice_vehicle = success.invoice_vehicle.to_string();
    details.mer_mem_token = success.mer_mem_token.to_string();
    let institution = success.issuer.as_wire();
    if institution.is_empty() {
        details.payment_type = Some(success.payment_type);
        if success.payment_type == PaymentType::CreditCard {
            details.extra3 = card_json(&success.card_name, &success.card_no_masked);
        }
    } else {
        details.payment_type = Some(PaymentType::OtherIssuer);
        institution.clone_into(&mut details.extra3);
    }
}

/// The OrderStatus of a refund.
pub(super) fn order_status(refund: &Refund) -> OrderStatus {
    match &refund.phase {
        RefundPhase::Succeeded(_) => OrderStatus::RefundSucceeded,
        RefundPhase::Failed(_) => OrderStatus::Failed,
        RefundPhase::Requested { .. } => OrderStatus::InProgress,
    }
}

/// The answer at the caller's deadline if no reply has confirmed that the refund was accepted.
pub(crate) fn unconfirmed_refund(form: &RefundForm, in_progress_code: StatusCode) -> RefundAnswer {
    RefundAnswer {
        echoes: Echoes {
            merchant_id: form.key.merchant_id.as_str().to_owned(),
            store_id: form.store_id.as_str().to_owned(),
            gateway_trade_no: form.gateway_trade_no.as_str().to_owned(),
            merchant_trade_no: form.key.merchant_trade_no.as_str().to_owned(),
            pos_id: form.pos_id.as_str().to_owned(),
        },
        status: Status::new(in_progress_code, UNCONFIRMED),
        is_repeat: false,
        trade_no: form.trade_no.as_str().to_owned(),
        refund_trade_no: String::new(),
        refund_trade_time: String::new(),
        details: Details {
            trade_amount: form.trade_amount.twd(),
            remark: form.remark.as_str().to_owned(),
            extra1: form.extra1.as_str().to_owned(),
            extra2: form.extra2.as_str().to_owned(),
            ..Details::default()
        },
    }
}

/// The answer to a refund whose TradeNo this system cannot have given out. It repeats the request's
/// other fields, which were checked.
pub(crate) fn no_payment_to_refund(request: RawRefund) -> RefundAnswer {
    RefundAnswer {
        echoes: Echoes {
            merchant_id: request.merchant_id,
            store_id: request.store_id,
            gateway_trade_no: request.gateway_trade_no,
            merchant_trade_no: request.merchant_trade_no,
            pos_id: request.pos_id,
        },
        status: Status::no_such_order(NO_PAYMENT),
        is_repeat: false,
        trade_no: request.trade_no,
        refund_trade_no: String::new(),
        refund_trade_time: String::new(),
        details: Details {
            trade_amount: request.trade_amount,
            remark: request.remark,
            extra1: request.extra1,
            extra2: request.extra2,
            ..Details::default()
        },
    }
}
