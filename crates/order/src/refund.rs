//! The state of a refund order, which has its own MerchantTradeNo.
//!
//! The payment decides the refund and sends it to the issuer, so that the refunds and the cancel of
//! one payment together never exceed it (invariant I4). The refund order keeps the request, asks
//! the payment, and answers callers.

use twqr_types::{
    Amount, Extra, GatewayTradeNo, Issuer, OrderKey, PosId, PosTradeTime, Remark, StoreId, StoreName, TradeNo, UnixMs,
};

use crate::{Failure, Nonces, PaymentType, RefundApproval, Subscriber};

/// A refund, as callers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refund {
    /// The merchant and the refund's own number.
    pub key: OrderKey,
    /// The RefundTradeNo of this refund.
    pub trade_no: TradeNo,
    /// The payment's TradeNo, the only link to it.
    pub payment: TradeNo,
    /// When the refund was accepted.
    pub accepted_at: UnixMs,
    /// The request, as stored.
    pub terms: RefundTerms,
    /// The present phase.
    pub phase: RefundPhase,
    /// How many times the payment has been asked.
    pub requests: u32,
    /// The calls and watches that receive each change.
    pub subscribers: Vec<Subscriber>,
    /// When the phase changed last.
    pub changed_at: UnixMs,
    /// When a refund that took effect counts in the books, if not at `changed_at`: the books up to
    /// here were closed when its result was read.
    pub late_booking: Option<UnixMs>,
    /// The nonces of signed requests about it.
    pub nonces: Nonces,
}

/// The refund request, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the POS document's")]
pub struct RefundTerms {
    pub store_id: StoreId,
    pub store_name: StoreName,
    pub gateway_trade_no: GatewayTradeNo,
    pub pos_id: PosId,
    pub pos_trade_time: PosTradeTime,
    pub trade_amount: Amount,
    pub remark: Remark,
    pub extra1: Extra,
    pub extra2: Extra,
}

/// The phase of a refund order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefundPhase {
    /// The payment has been asked, and has not answered yet.
    Requested {
        /// When to ask the payment again.
        next_request: UnixMs,
    },
    /// The refund took effect.
    Succeeded(Box<RefundSuccess>),
    /// The rules or the issuer refused it, or there is evidence that it never happened.
    Failed(Failure),
}

/// A refund that took effect: the issuer's answer, and the fields of its payment that callers get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundSuccess {
    /// The issuer's answer to the refund.
    pub refunded: RefundApproval,
    /// The issuer of the payment.
    pub issuer: Issuer,
    /// How the payment was paid.
    pub payment_type: PaymentType,
    /// The payment's invoice carrier (載具).
    pub invoice_vehicle: Box<str>,
    /// The customer's membership with the merchant.
    pub mer_mem_token: Box<str>,
    /// The name of the credit card, if one was used.
    pub card_name: Box<str>,
    /// The number of the credit card, if one was used; only its first six and last four digits are
    /// shown.
    pub card_no_masked: Box<str>,
}

impl Refund {
    /// Whether it succeeded or failed; both are final.
    pub fn is_final(&self) -> bool {
        match &self.phase {
            RefundPhase::Succeeded(_) | RefundPhase::Failed(_) => true,
            RefundPhase::Requested { .. } => false,
        }
    }

    /// When it counts in the books, once it took effect.
    pub fn booked_at(&self) -> UnixMs {
        self.late_booking.unwrap_or(self.changed_at)
    }

    /// When to ask the payment again; `None` once the refund is final.
    pub fn due_at(&self) -> Option<UnixMs> {
        match &self.phase {
            RefundPhase::Requested { next_request } => Some(*next_request),
            RefundPhase::Succeeded(_) | RefundPhase::Failed(_) => None,
        }
    }
}
