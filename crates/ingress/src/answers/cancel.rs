//! The answer to a cancel.

use twqr_order::{Cancel, Order};
use twqr_types::{PayForm, StatusCode};

use super::{Echoes, Status};

/// StatusDesc of a cancel that has no result yet.
const IN_PROGRESS: &str = "the cancel is in progress; send it again until it has an answer";
/// StatusDesc of a cancel that may or may not have been accepted.
const UNCONFIRMED: &str = "the cancel is in progress and not confirmed yet; send it again";
/// StatusDesc of a cancel that arrived before its payment.
const NO_SUCH_PAYMENT: &str = "no such order; a payment that comes later under this MerchantTradeNo is refused";
/// StatusDesc of a cancel of a refund.
const IS_REFUND: &str = "no payment has this MerchantTradeNo; it is a refund's";

/// The answer to a cancel request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CancelAnswer {
    pub(crate) echoes: Echoes,
    pub(crate) status: Status,
    /// In whole TWD, as requested.
    pub(crate) trade_amount: i64,
}

/// The answer to a cancel, by its order as it is now. `in_progress_code` is its StatusCode while it
/// has no result.
pub(crate) fn cancel_answer(order: &Order, form: &PayForm, in_progress_code: StatusCode) -> CancelAnswer {
    let status = match order {
        Order::Payment(payment) => payment_status(payment.cancel.as_ref(), in_progress_code),
        Order::Refund(_) | Order::EarlyCancel(_) => Status::no_such_order(NO_SUCH_PAYMENT),
    };
    answer(form, status)
}

fn payment_status(cancel: Option<&Cancel>, in_progress_code: StatusCode) -> Status {
    let Some(cancel) = cancel else { return Status::new(in_progress_code, IN_PROGRESS) };
    if cancel.is_answered_as_done() {
        return Status::success();
    }
    match cancel.refusal() {
        Some(failure) => Status::failed(failure),
        None => Status::new(in_progress_code, IN_PROGRESS),
    }
}

/// The answer to a cancel whose MerchantTradeNo is a refund's.
pub(crate) fn no_payment_to_cancel(form: &PayForm) -> CancelAnswer {
    answer(form, Status::no_such_order(IS_REFUND))
}

/// The answer at the caller's deadline if no reply has confirmed that the cancel was accepted.
pub(crate) fn unconfirmed_cancel(form: &PayForm, in_progress_code: StatusCode) -> CancelAnswer {
    answer(form, Status::new(in_progress_code, UNCONFIRMED))
}

fn answer(form: &PayForm, status: Status) -> CancelAnswer {
    CancelAnswer { echoes: Echoes::of_form(form), status, trade_amount: form.trade_amount.twd() }
}
