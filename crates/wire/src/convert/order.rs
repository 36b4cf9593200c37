//! Orders of every kind.

use twqr_order::Order;

use super::{
    fault::{RecordFault, need},
    payment::{cancelled_from, cancelled_out, payment_from, payment_out},
    refund::{refund_from, refund_out},
};
use crate::bus;

/// Encodes an order with its subscribers, as `order-states` stores it.
pub(crate) fn order_out(order: &Order) -> bus::Order {
    let order = match order {
        Order::Payment(payment) => bus::order::Order::Payment(payment_out(payment)),
        Order::Refund(refund) => bus::order::Order::Refund(refund_out(refund)),
        Order::EarlyCancel(cancelled) => bus::order::Order::Cancelled(cancelled_out(cancelled)),
    };
    bus::Order { order: Some(order) }
}

/// Decodes an order.
pub(crate) fn order_from(order: bus::Order) -> Result<Order, RecordFault> {
    Ok(match need(order.order, "order")? {
        bus::order::Order::Payment(payment) => Order::Payment(payment_from(payment)?),
        bus::order::Order::Refund(refund) => Order::Refund(refund_from(refund)?),
        bus::order::Order::Cancelled(cancelled) => Order::EarlyCancel(cancelled_from(cancelled)?),
    })
}

/// Like `order_out`, without subscribers and nonces: a caller has no use for other calls.
pub(crate) fn order_for_caller(order: &Order) -> bus::Order {
    let mut out = order_out(order);
    match &mut out.order {
        Some(bus::order::Order::Payment(payment)) => {
            payment.subscribers.clear();
            payment.remembering = None;
            payment.nonces.clear();
        }
        Some(bus::order::Order::Refund(refund)) => {
            refund.subscribers.clear();
            refund.nonces.clear();
        }
        Some(bus::order::Order::Cancelled(cancelled)) => cancelled.nonces.clear(),
        None => {}
    }
    out
}
