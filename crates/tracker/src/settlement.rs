//! From an order's state to what it settled: the lines of the accounting file.

use twqr_wire::{
    bus::{self, payment::Phase},
    ops::{SettlementEntry, settlement_entry::Kind},
};

/// What the order has settled; nothing while it is in progress, and nothing where it failed.
pub(crate) fn entries_of(payment: &bus::Payment) -> Vec<SettlementEntry> {
    let Some(Phase::Paid(approval)) = &payment.phase else { return Vec::new() };
    let key = payment.key.clone().unwrap_or_default();
    let terms = payment.terms.clone().unwrap_or_default();
    vec![SettlementEntry {
        kind: Kind::Payment.into(),
        merchant_id: key.merchant_id,
        store_id: terms.store_id,
        gateway_trade_no: terms.gateway_trade_no,
        merchant_trade_no: key.merchant_trade_no,
        pos_id: terms.pos_id,
        trade_no: payment.trade_no.clone(),
        refund_trade_no: String::new(),
        institution: payment.institution.clone(),
        payment_type: approval.payment_type,
        trade_amount: terms.trade_amount,
        debit_amount: approval.debit_amount,
        redeem_amount: approval.redeem_amount,
        store_redeem_amount: approval.store_redeem_amount,
        accepted_at_ms: payment.accepted_at_ms,
        settled_at_ms: payment.changed_at_ms,
    }]
}
