//! The only conversions between answers and the messages of `twqr.pos.v1`.

use prost_types::Timestamp;
use twqr_types::UnixMs;
use twqr_wire::pos::{self, CancelResponse, PayResponse, QueryResponse, RefundResponse, WatchOrderResponse};

use crate::answers::{CancelAnswer, InquiredOrder, InquiryAnswer, InquiryType, PaymentAnswer, RefundAnswer};

/// Converts the type of an inquiry; absent if it is neither payment nor refund.
pub(super) fn inquiry_type(inquiry_type: pos::InquiryType) -> Option<InquiryType> {
    match inquiry_type {
        pos::InquiryType::Payment => Some(InquiryType::Payment),
        pos::InquiryType::Refund => Some(InquiryType::Refund),
        pos::InquiryType::Unspecified => None,
    }
}

pub(super) fn pay_response(answer: PaymentAnswer) -> PayResponse {
    let PaymentAnswer { echoes, status, is_repeat, trade_no, trade_time, details } = answer;
    PayResponse {
        merchant_id: echoes.merchant_id,
        store_id: echoes.store_id,
        gateway_trade_no: echoes.gateway_trade_no,
        merchant_trade_no: echoes.merchant_trade_no,
        pos_id: echoes.pos_id,
        trade_no,
        trade_time,
        status_code: status.code.into(),
        status_desc: status.desc,
        is_rep: is_repeat,
        action_code: String::new(),
        payment_type: details.payment_type_number(),
        trade_amount: details.trade_amount,
        debit_amount: details.debit_amount,
        redeem_name: details.redeem_name,
        redeem_amount: details.redeem_amount,
        store_redeem_amount: details.store_redeem_amount,
        available_amount: 0,
        invoice_vehicle: details.invoice_vehicle,
        mer_mem_token: details.mer_mem_token,
        remark: details.remark,
        extra1: details.extra1,
        extra2: details.extra2,
        extra3: details.extra3,
    }
}

pub(super) fn refund_response(answer: RefundAnswer) -> RefundResponse {
    let RefundAnswer { echoes, status, is_repeat, trade_no, refund_trade_no, refund_trade_time, details } = answer;
    RefundResponse {
        merchant_id: echoes.merchant_id,
        store_id: echoes.store_id,
        gateway_trade_no: echoes.gateway_trade_no,
        merchant_trade_no: echoes.merchant_trade_no,
        pos_id: echoes.pos_id,
        trade_no,
        refund_trade_no,
        refund_trade_time,
        status_code: status.code.into(),
        status_desc: status.desc,
        is_rep: is_repeat,
        action_code: String::new(),
        payment_type: details.payment_type_number(),
        trade_amount: details.trade_amount,
        debit_amount: details.debit_amount,
        redeem_name: details.redeem_name,
        redeem_amount: details.redeem_amount,
        store_redeem_amount: details.store_redeem_amount,
        invoice_vehicle: details.invoice_vehicle,
        mer_mem_token: details.mer_mem_token,
        remark: details.remark,
        extra1: details.extra1,
        extra2: details.extra2,
        extra3: details.extra3,
    }
}

pub(super) fn cancel_response(answer: CancelAnswer) -> CancelResponse {
    let CancelAnswer { echoes, status, trade_amount } = answer;
    CancelResponse {
        merchant_id: echoes.merchant_id,
        store_id: echoes.store_id,
        gateway_trade_no: echoes.gateway_trade_no,
        merchant_trade_no: echoes.merchant_trade_no,
        pos_id: echoes.pos_id,
        trade_amount,
        status_code: status.code.into(),
        status_desc: status.desc,
        action_code: String::new(),
    }
}

pub(super) fn query_response(answer: InquiryAnswer) -> QueryResponse {
    let order_status = answer.order.as_ref().map(|order| order.order_status() as i32);
    let (payment, refund) = match answer.order {
        Some(InquiredOrder::Payment(_, payment)) => (Some(pay_response(payment)), None),
        Some(InquiredOrder::Refund(_, refund)) => (None, Some(refund_response(refund))),
        None => (None, None),
    };
    QueryResponse {
        status_code: answer.status.code.into(),
        status_desc: answer.status.desc,
        order_status,
        payment,
        refund,
    }
}

pub(super) fn watch_response(answer: InquiryAnswer, sent_at: UnixMs) -> WatchOrderResponse {
    let nanos = i32::try_from(sent_at.0.rem_euclid(1_000) * 1_000_000).unwrap_or_default();
    let sent_at = Timestamp { seconds: sent_at.0.div_euclid(1_000), nanos };
    WatchOrderResponse { order: Some(query_response(answer)), sent_at: Some(sent_at) }
}

#[cfg(test)]
mod tests {
    use twqr_order::PaymentType;

    use super::*;
    use crate::answers::{Details, OrderStatus};

    #[test]
    fn the_numbers_of_answers_are_those_of_the_messages() {
        for (status, expected) in [
            (OrderStatus::InProgress, pos::OrderStatus::InProgress),
            (OrderStatus::Paid, pos::OrderStatus::Paid),
            (OrderStatus::Failed, pos::OrderStatus::Failed),
            (OrderStatus::FullyRefunded, pos::OrderStatus::FullyRefunded),
            (OrderStatus::RefundSucceeded, pos::OrderStatus::RefundSucceeded),
            (OrderStatus::PartlyRefunded, pos::OrderStatus::PartlyRefunded),
        ] {
            assert_eq!(status as i32, i32::from(expected));
        }
        for (payment_type, expected) in [
            (None, pos::PaymentType::Unspecified),
            (Some(PaymentType::StoredValue), pos::PaymentType::StoredValue),
            (Some(PaymentType::BankAccount), pos::PaymentType::BankAccount),
            (Some(PaymentType::CreditCard), pos::PaymentType::CreditCard),
            (Some(PaymentType::OtherIssuer), pos::PaymentType::OtherIssuer),
        ] {
            let details = Details { payment_type, ..Details::default() };
            assert_eq!(details.payment_type_number(), i32::from(expected));
        }
    }
}
