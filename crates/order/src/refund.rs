//! The state of a refund order, under its own number: the request, and what its payment says came
//! of it. The payment decides and asks the issuer, so that refunds and a cancel of one payment
//! never exceed it; this order answers for the number.

use twqr_types::{
    Amount, Extra, GatewayTradeNo, Issuer, OrderKey, PosId, PosTradeTime, Remark, StoreId, StoreName, TradeNo, UnixMs,
};

use crate::{Failure, PaymentType, RefundApproval, Subscriber};

/// A refund order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refund {
    /// Its identity.
    pub key: OrderKey,
    /// Our number for it (RefundTradeNo).
    pub trade_no: TradeNo,
    /// The payment's number, the only link to it.
    pub payment: TradeNo,
    /// When it was accepted.
    pub accepted_at: UnixMs,
    /// What was asked for.
    pub terms: RefundTerms,
    /// Where it stands.
    pub phase: RefundPhase,
    /// How often the payment has been asked.
    pub requests: u32,
    /// Who hears of each change.
    pub subscribers: Vec<Subscriber>,
    /// When the phase changed last.
    pub changed_at: UnixMs,
}

/// What a refund asked for, as stored.
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

/// Where a refund stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefundPhase {
    /// The payment has been asked, and asks the issuer in turn.
    Requested {
        /// When to ask the payment again.
        next_request: UnixMs,
    },
    /// The customer got the money back.
    Succeeded(Box<RefundSuccess>),
    /// Refused by the payment's rules or its issuer, or it surely never happened.
    Failed(Failure),
}

/// What is known of a refund that took effect: the issuer's words, and what its payment was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundSuccess {
    /// The issuer's words.
    pub refunded: RefundApproval,
    /// The payment's issuer.
    pub issuer: Issuer,
    /// How the payment was paid.
    pub payment_type: PaymentType,
    /// The payment's carrier (載具).
    pub invoice_vehicle: Box<str>,
    /// The customer's membership with the merchant.
    pub mer_mem_token: Box<str>,
    /// Credit cards: the card's name.
    pub card_name: Box<str>,
    /// Credit cards: the number, masked.
    pub card_no_masked: Box<str>,
}

impl Refund {
    /// Whether it has ended.
    pub fn is_final(&self) -> bool {
        match &self.phase {
            RefundPhase::Succeeded(_) | RefundPhase::Failed(_) => true,
            RefundPhase::Requested { .. } => false,
        }
    }

    /// When something must be done about it; none once it has ended.
    pub fn due_at(&self) -> Option<UnixMs> {
        match &self.phase {
            RefundPhase::Requested { next_request } => Some(*next_request),
            RefundPhase::Succeeded(_) | RefundPhase::Failed(_) => None,
        }
    }
}
