//! What is told of a cancel.

use twqr_types::StatusCode;
use twqr_wire::{
    bus::{self, cancel::Stage, movement::Phase, order::Order},
    pos::{CancelRequest, CancelResponse},
};

use super::SUCCESS_DESC;

/// StatusDesc while the cancel is in progress.
const IN_PROGRESS: &str = "the cancel is in progress; send it again until it has an answer";
/// StatusDesc where it is not known yet whether the cancel was accepted.
const UNCONFIRMED: &str = "the cancel is in progress and not confirmed yet; send it again";
/// StatusDesc where there is nothing to cancel.
const NO_SUCH_PAYMENT: &str = "no such order; a payment that comes later under this MerchantTradeNo is refused";

fn reversal(cancel: &bus::Cancel) -> Option<&Phase> {
    match &cancel.stage {
        Some(Stage::Reversing(reversal)) => reversal.phase.as_ref(),
        Some(Stage::Waiting(_) | Stage::AgainMs(_) | Stage::Nothing(_)) | None => None,
    }
}

/// The payment is taken back, or there was nothing to take back.
pub(super) fn is_done(cancel: &bus::Cancel) -> bool {
    let has_ended =
        matches!(cancel.stage, Some(Stage::Nothing(_))) || matches!(reversal(cancel), Some(Phase::Reversed(_)));
    has_ended || cancel.was_told_done
}

/// Neither done nor refused.
pub(super) fn is_open(cancel: &bus::Cancel) -> bool {
    !is_done(cancel) && !matches!(reversal(cancel), Some(Phase::Failed(_)))
}

/// The answer to a cancel, by the order as it is; no order: it is not known yet whether the cancel
/// was accepted.
pub(crate) fn cancel_response(order: &bus::Order, request: &CancelRequest, in_progress: StatusCode) -> CancelResponse {
    let (code, desc) = match &order.order {
        Some(Order::Payment(payment)) => match &payment.cancel {
            Some(cancel) if is_done(cancel) => (StatusCode::SUCCESS.into(), SUCCESS_DESC),
            Some(cancel) => match reversal(cancel) {
                Some(Phase::Failed(failure)) => (failure.status_code.clone(), failure.status_desc.as_str()),
                Some(
                    Phase::Sent(_)
                    | Phase::UnresolvedMs(_)
                    | Phase::Asking(_)
                    | Phase::Approved(_)
                    | Phase::Refunded(_)
                    | Phase::Reversed(_),
                )
                | None => (in_progress.into(), IN_PROGRESS),
            },
            None => (in_progress.into(), IN_PROGRESS),
        },
        Some(Order::Refund(_) | Order::Cancelled(_)) => (StatusCode::NO_SUCH_ORDER.into(), NO_SUCH_PAYMENT),
        None => (in_progress.into(), UNCONFIRMED),
    };
    CancelResponse { status_code: code, status_desc: desc.to_owned(), ..echoes(request) }
}

/// The number is a refund's, or nobody's.
pub(crate) fn cancel_of_nothing(request: &CancelRequest) -> CancelResponse {
    CancelResponse {
        status_code: StatusCode::NO_SUCH_ORDER.into(),
        status_desc: "no payment has this MerchantTradeNo; it is a refund's".to_owned(),
        ..echoes(request)
    }
}

/// What a caller gets at its deadline where nobody knows yet whether the cancel was accepted.
pub(crate) fn unconfirmed_cancel(request: &CancelRequest, in_progress: StatusCode) -> CancelResponse {
    cancel_response(&bus::Order::default(), request, in_progress)
}

fn echoes(request: &CancelRequest) -> CancelResponse {
    CancelResponse {
        merchant_id: request.merchant_id.clone(),
        store_id: request.store_id.clone(),
        gateway_trade_no: request.gateway_trade_no.clone(),
        merchant_trade_no: request.merchant_trade_no.clone(),
        pos_id: request.pos_id.clone(),
        trade_amount: request.trade_amount,
        ..CancelResponse::default()
    }
}
