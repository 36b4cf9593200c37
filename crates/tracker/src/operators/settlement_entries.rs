//! Derives the settled movements, which are the rows of accounting files, from the state of an
//! order. A later change of the order does not change when a movement counts, so the movement stays
//! in the file of its day.

use twqr_order::{
    Approval, Movement, Order, Payment, PaymentType, Refund, RefundPhase, RefundSuccess, ReversalApproval,
};
use twqr_types::Issuer;
use twqr_wire::{
    ops::{SettlementEntry, settlement_entry::Kind},
    pos,
};

use crate::model::completed_reversal;

/// The settled movements of an order. The list is empty while the order is in progress, and if it
/// failed.
pub(super) fn entries_of(order: &Order) -> Vec<SettlementEntry> {
    match order {
        Order::Payment(payment) => {
            let Some(approval) = payment.charge.done() else { return Vec::new() };
            let cancel = completed_reversal(order).map(|reversal| cancel_entry(payment, approval, reversal));
            [Some(payment_entry(payment, approval)), cancel].into_iter().flatten().collect()
        }
        Order::Refund(refund) => match &refund.phase {
            RefundPhase::Succeeded(success) => vec![refund_entry(refund, success)],
            RefundPhase::Requested { .. } | RefundPhase::Failed(_) => Vec::new(),
        },
        Order::EarlyCancel(_) => Vec::new(),
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
        institution: payment.issuer.map_or_else(String::new, |issuer| issuer.as_wire().to_owned()),
        payment_type: payment_type(approval.payment_type, payment.issuer).into(),
        trade_amount: terms.trade_amount.twd(),
        debit_amount: approval.debit_amount,
        redeem_amount: approval.redeem_amount,
        store_redeem_amount: approval.store_redeem_amount,
        accepted_at_ms: payment.accepted_at.0,
        settled_at_ms: payment.charge.changed_at.0,
        booked_at_ms: payment.charge.booked_at().0,
    }
}

/// The entry for a reversal, which returns what earlier refunds had left of a payment. Its amounts
/// have the signs of a refund.
///
/// The parts must add up to the reversed amount. Of a refund that took effect although it had been
/// reported as failed, only the total is known. It is subtracted from the money first, then from
/// the points.
fn cancel_entry(payment: &Payment, approval: &Approval, reversal: &Movement<ReversalApproval>) -> SettlementEntry {
    let refunded = || payment.refunds.iter().filter_map(|entry| entry.refund.done());
    let cancel = payment.cancel.as_ref();
    let trade_amount = cancel.map_or(0, |cancel| cancel.amount);
    let mut parts = [
        approval.debit_amount - refunded().map(|refund| refund.debit_amount).sum::<i64>(),
        -approval.redeem_amount - refunded().map(|refund| refund.redeem_amount).sum::<i64>(),
        -approval.store_redeem_amount - refunded().map(|refund| refund.store_redeem_amount).sum::<i64>(),
    ];
    let mut unexplained = parts.iter().sum::<i64>() - trade_amount;
    for part in &mut parts {
        let refunded = unexplained.min(*part).max(0);
        (*part, unexplained) = (*part - refunded, unexplained - refunded);
    }
    let [debit_amount, redeem_amount, store_redeem_amount] = parts;
    SettlementEntry {
        kind: Kind::Cancel.into(),
        trade_amount,
        debit_amount,
        redeem_amount,
        store_redeem_amount,
        accepted_at_ms: cancel.map_or(reversal.changed_at, |cancel| cancel.requested_at).0,
        settled_at_ms: reversal.changed_at.0,
        booked_at_ms: reversal.booked_at().0,
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
        institution: success.issuer.as_wire().to_owned(),
        payment_type: payment_type(success.payment_type, Some(success.issuer)).into(),
        trade_amount: terms.trade_amount.twd(),
        debit_amount: success.refunded.debit_amount,
        redeem_amount: success.refunded.redeem_amount,
        store_redeem_amount: success.refunded.store_redeem_amount,
        accepted_at_ms: refund.accepted_at.0,
        settled_at_ms: refund.changed_at.0,
        booked_at_ms: refund.booked_at().0,
    }
}

/// The PaymentType of a movement. It is 8 for all issuers except the JKOPAY wallet, whatever the
/// issuer answers (JKOPAY's integration note, field PaymentType).
fn payment_type(payment_type: PaymentType, issuer: Option<Issuer>) -> pos::PaymentType {
    match payment_type {
        _ if issuer.is_some_and(|issuer| issuer != Issuer::Wallet) => pos::PaymentType::OtherIssuer,
        PaymentType::StoredValue => pos::PaymentType::StoredValue,
        PaymentType::BankAccount => pos::PaymentType::BankAccount,
        PaymentType::CreditCard => pos::PaymentType::CreditCard,
        PaymentType::OtherIssuer => pos::PaymentType::OtherIssuer,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
