//! From an order's state to what it settled: the lines of the accounting file. Each movement keeps the time at which it became final, whatever
//! comes to the order later.

use twqr_order::{Approval, CancelStage, Order, Payment, PaymentType, Refund, RefundPhase, RefundSuccess};
use twqr_types::UnixMs;
use twqr_wire::{
    ops::{SettlementEntry, settlement_entry::Kind},
    pos,
};

/// When a payment was paid, or a refund given back; none while it is not.
pub(crate) fn settled_at(order: &Order) -> Option<UnixMs> {
    match order {
        Order::Payment(payment) => payment.is_paid().then_some(payment.charge.changed_at),
        Order::Refund(refund) => matches!(refund.phase, RefundPhase::Succeeded(_)).then_some(refund.changed_at),
        Order::Cancelled(_) => None,
    }
}

/// When a payment was taken back; none while it is not, and where there was nothing to take back.
pub(crate) fn cancelled_at(order: &Order) -> Option<UnixMs> {
    let cancel = order.as_payment()?.cancel.as_ref()?;
    match &cancel.stage {
        CancelStage::Reversing(reversal) => reversal.done().map(|_| reversal.changed_at),
        CancelStage::Waiting | CancelStage::Again { .. } | CancelStage::Nothing => None,
    }
}

/// What the order has settled; nothing while it is in progress, and nothing where it failed.
pub(crate) fn entries_of(order: &Order) -> Vec<SettlementEntry> {
    match order {
        Order::Payment(payment) => {
            let Some(approval) = payment.charge.done() else { return Vec::new() };
            let cancel = cancelled_at(order).map(|at| cancel_entry(payment, approval, at));
            [Some(payment_entry(payment, approval)), cancel].into_iter().flatten().collect()
        }
        Order::Refund(refund) => match &refund.phase {
            RefundPhase::Succeeded(success) => vec![refund_entry(refund, success)],
            RefundPhase::Requested { .. } | RefundPhase::Failed(_) => Vec::new(),
        },
        Order::Cancelled(_) => Vec::new(),
    }
}

fn payment_entry(payment: &Payment, approval: &Approval) -> SettlementEntry {
    let terms = &payment.terms;
    SettlementEntry {
        kind: Kind::Payment.into(),
        merchant_id: payment.key.merchant_id.to_string(),
        store_id: terms.store_id.to_string(),
        gateway_trade_no: terms.gateway_trade_no.to_string(),
        merchant_trade_no: payment.key.merchant_trade_no.to_string(),
        pos_id: terms.pos_id.to_string(),
        trade_no: payment.trade_no.to_string(),
        refund_trade_no: String::new(),
        institution: payment.issuer.map_or_else(String::new, |issuer| issuer.institution().to_owned()),
        payment_type: payment_type(approval.payment_type, payment.issuer.is_some_and(is_other)).into(),
        trade_amount: terms.trade_amount.twd(),
        debit_amount: approval.debit_amount,
        redeem_amount: approval.redeem_amount,
        store_redeem_amount: approval.store_redeem_amount,
        accepted_at_ms: payment.accepted_at.0,
        settled_at_ms: payment.charge.changed_at.0,
    }
}

/// What refunds had left, with the signs of a refund.
fn cancel_entry(payment: &Payment, approval: &Approval, at: UnixMs) -> SettlementEntry {
    let refunded = || payment.refunds.iter().filter_map(|entry| entry.refund.done());
    let cancel = payment.cancel.as_ref();
    SettlementEntry {
        kind: Kind::Cancel.into(),
        trade_amount: cancel.map_or(0, |cancel| cancel.amount),
        debit_amount: approval.debit_amount - refunded().map(|refund| refund.debit_amount).sum::<i64>(),
        redeem_amount: -approval.redeem_amount - refunded().map(|refund| refund.redeem_amount).sum::<i64>(),
        store_redeem_amount: -approval.store_redeem_amount
            - refunded().map(|refund| refund.store_redeem_amount).sum::<i64>(),
        accepted_at_ms: cancel.map_or(at.0, |cancel| cancel.requested_at.0),
        settled_at_ms: at.0,
        ..payment_entry(payment, approval)
    }
}

fn refund_entry(refund: &Refund, success: &RefundSuccess) -> SettlementEntry {
    let terms = &refund.terms;
    SettlementEntry {
        kind: Kind::Refund.into(),
        merchant_id: refund.key.merchant_id.to_string(),
        store_id: terms.store_id.to_string(),
        gateway_trade_no: terms.gateway_trade_no.to_string(),
        merchant_trade_no: refund.key.merchant_trade_no.to_string(),
        pos_id: terms.pos_id.to_string(),
        trade_no: refund.payment.to_string(),
        refund_trade_no: refund.trade_no.to_string(),
        institution: success.issuer.institution().to_owned(),
        payment_type: payment_type(success.payment_type, is_other(success.issuer)).into(),
        trade_amount: terms.trade_amount.twd(),
        debit_amount: success.refunded.debit_amount,
        redeem_amount: success.refunded.redeem_amount,
        store_redeem_amount: success.refunded.store_redeem_amount,
        accepted_at_ms: refund.accepted_at.0,
        settled_at_ms: refund.changed_at.0,
    }
}

fn is_other(issuer: twqr_types::Issuer) -> bool {
    issuer != twqr_types::Issuer::Wallet
}

/// 8 for other issuers, whatever they say (integration note, PaymentType).
fn payment_type(payment_type: PaymentType, is_other: bool) -> pos::PaymentType {
    match payment_type {
        _ if is_other => pos::PaymentType::OtherIssuer,
        PaymentType::StoredValue => pos::PaymentType::StoredValue,
        PaymentType::BankAccount => pos::PaymentType::BankAccount,
        PaymentType::CreditCard => pos::PaymentType::CreditCard,
        PaymentType::OtherIssuer => pos::PaymentType::OtherIssuer,
    }
}
