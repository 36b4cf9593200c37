//! The state of a payment: its charge, its refunds, and its cancel.

use twqr_types::{
    Amount, ComparedToken, Extra, GatewayTradeNo, Issuer, MerchantTradeNo, OrderKey, PosId, PosTradeTime, Remark,
    StoreId, StoreName, TradeNo, UnRedeem, UnixMs,
};

use crate::{Cancel, Movement, Nonces, Phase, RefundApproval, Remembering, ReplyTo};

/// A payment and everything that happened to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// The merchant, and its own number for the payment.
    pub key: OrderKey,
    /// The TradeNo, by which the issuer identifies the payment.
    pub trade_no: TradeNo,
    /// When the payment was accepted.
    pub accepted_at: UnixMs,
    /// The request, as stored.
    pub terms: Terms,
    /// The issuer of the payment code; `None` if the payment was refused before its issuer was
    /// resolved.
    pub issuer: Option<Issuer>,
    /// The charge at the issuer.
    pub charge: Movement<Approval>,
    /// One entry for each refund number that ever requested a part of the payment. Entries are
    /// never removed. At most [`REFUNDS_MAX`] are in progress or took effect, and there are at most
    /// [`REFUND_NUMBERS_MAX`].
    pub refunds: Vec<RefundEntry>,
    /// The cancel: requested by a caller, or started by the machine because a charge that had
    /// failed took effect after all.
    pub cancel: Option<Cancel>,
    /// The subscribers that receive each change: at most [`CALLS_MAX`] calls and [`WATCHES_MAX`]
    /// watches. They are counted apart, so that watches never take the place of a call.
    pub subscribers: Vec<Subscriber>,
    /// Whether the issuer reported that the charge took effect after callers were answered that it
    /// failed. It stays failed for callers, and is reversed.
    pub charge_took_effect_after_all: bool,
    /// The contradictions of final states by issuers, as text for operators; `None` if there is
    /// none.
    pub contradiction: Option<Box<str>>,
    /// The protocol version in force at the record that made the payment. It fixes permanently how
    /// many refund numbers the payment keeps.
    pub protocol_version: u32,
    /// The ingresses that may remember an answer to it, by their partitions of `replies`.
    pub remembering: Remembering,
    /// The nonces of signed requests about it.
    pub nonces: Nonces,
}

/// The number of watches that one order may have.
pub const WATCHES_MAX: usize = 8;
/// The number of calls that may wait for an answer about one order.
pub const CALLS_MAX: usize = 32;
/// The number of refunds of a payment that may be in progress or have taken effect. A further one
/// is refused; its number keeps that answer.
pub const REFUNDS_MAX: usize = 200;
/// The number of refund numbers that a payment keeps, with the refused and failed ones. A further
/// number is refused and not kept: since entries are never removed, it is refused permanently. A
/// payment made before protocol version 1 keeps [`REFUNDS_MAX`] numbers in all.
pub const REFUND_NUMBERS_MAX: usize = 1_000;

/// A refund, as its payment knows it. It is never removed: so the same number never refunds twice,
/// and never gets another answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundEntry {
    /// The refund's own MerchantTradeNo.
    pub number: MerchantTradeNo,
    /// The RefundTradeNo; it contains the shard of the refund order.
    pub trade_no: TradeNo,
    /// The amount to refund; it is reserved until the refund fails.
    pub amount: Amount,
    /// The refund at the issuer.
    pub refund: Movement<RefundApproval>,
    /// Whether the issuer reported that the refund took effect after callers were answered that it
    /// failed. Its amount counts as refunded, and an operator must look.
    pub took_effect_after_all: bool,
}

impl RefundEntry {
    /// Whether the refund took effect or is in progress, so that its amount is reserved.
    pub(crate) fn holds_money(&self) -> bool {
        self.refund.failure().is_none() || self.took_effect_after_all
    }
}

/// A call or a watch that receives changes of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscriber {
    /// The address of replies, and the time until which they are sent.
    pub to: ReplyTo,
    /// Whether its own request was a repeat.
    pub repeat: bool,
    /// The result that it waits for.
    pub kind: SubscriptionKind,
}

/// The result that a subscriber waits for. Once it has received that result, it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionKind {
    /// The call of a payment or a refund: it waits for the final charge, or the final refund.
    Result,
    /// The call of a cancel: it waits until the order is at rest.
    CancelResult,
    /// A watch that ends when the order is at rest.
    UntilAtRest,
    /// A watch that also receives what happens afterwards: refunds, cancels, contradictions.
    AllChanges,
}

impl SubscriptionKind {
    /// Whether it is a watch, not a call that waits for its answer.
    pub(crate) fn is_watch(self) -> bool {
        match self {
            Self::Result | Self::CancelResult => false,
            Self::UntilAtRest | Self::AllChanges => true,
        }
    }
}

/// The payment request, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the POS document's")]
pub struct Terms {
    pub store_id: StoreId,
    pub store_name: StoreName,
    pub gateway_trade_no: GatewayTradeNo,
    pub pos_id: PosId,
    pub pos_trade_time: PosTradeTime,
    pub trade_amount: Amount,
    /// 0 for issuers other than the wallet, whatever was requested. A cancel is compared with this.
    pub un_redeem: UnRedeem,
    /// As requested; a repeat is compared with this.
    pub requested_un_redeem: UnRedeem,
    pub remark: Remark,
    pub extra1: Extra,
    pub extra2: Extra,
    pub card_token: ComparedToken,
}

/// How a payment was paid: PaymentType of the POS document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaymentType {
    /// 1, the wallet's stored value (儲值帳戶).
    StoredValue,
    /// 3, a bank account (銀行帳戶).
    BankAccount,
    /// 4, a credit card (信用卡).
    CreditCard,
    /// 8, another issuer (他行發卡).
    OtherIssuer,
}

/// The issuer's answer to a charge that took effect. Amounts are in whole TWD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// How the payment was paid.
    pub payment_type: PaymentType,
    /// The amount that the customer paid after redemption.
    pub debit_amount: i64,
    /// The name of what was redeemed, for people.
    pub redeem_name: Box<str>,
    /// RedeemAmount of the POS document: zero or negative.
    pub redeem_amount: i64,
    /// StoreRedeemAmount of the POS document: zero or negative.
    pub store_redeem_amount: i64,
    /// The customer's invoice carrier (載具).
    pub invoice_vehicle: Box<str>,
    /// The customer's membership with the merchant.
    pub mer_mem_token: Box<str>,
    /// The name of the credit card, if one was used.
    pub card_name: Box<str>,
    /// The number of the credit card, if one was used; only its first six and last four digits are
    /// shown.
    pub card_no_masked: Box<str>,
    /// The issuer's own number for the charge.
    pub issuer_trade_no: Box<str>,
}

impl Approval {
    /// Whether TradeAmount + RedeemAmount + StoreRedeemAmount = DebitAmount, and neither redemption
    /// is positive.
    pub fn adds_up(&self, trade_amount: Amount) -> bool {
        let redeemed = self.redeem_amount.checked_add(self.store_redeem_amount);
        let debit = redeemed.and_then(|redeemed| redeemed.checked_add(trade_amount.twd()));
        self.redeem_amount <= 0 && self.store_redeem_amount <= 0 && debit == Some(self.debit_amount)
    }
}

/// The most bytes that are kept about contradictions.
const CONTRADICTION_LEN_MAX: usize = 1_000;

impl Payment {
    /// Keeps a contradiction for operators. Returns false if the same one is there already, or
    /// there is no more room.
    pub(crate) fn note_contradiction(&mut self, text: &str) -> bool {
        let known = self.contradiction.as_deref().unwrap_or_default();
        let both = if known.is_empty() { text.to_owned() } else { format!("{known}; {text}") };
        let is_news = !known.contains(text) && (known.is_empty() || both.len() <= CONTRADICTION_LEN_MAX);
        if is_news {
            self.contradiction = Some(both.into());
        }
        is_news
    }

    /// The remaining amount of the charge after refunds, in whole TWD; 0 without a charge.
    pub(crate) fn remaining(&self) -> i64 {
        let is_charged = self.is_paid() || self.charge_took_effect_after_all;
        if is_charged { self.terms.trade_amount.twd() - self.refunded() } else { 0 }
    }

    /// The sum of the refunds that took effect, in whole TWD.
    pub fn refunded(&self) -> i64 {
        let done = |entry: &&RefundEntry| entry.refund.done().is_some() || entry.took_effect_after_all;
        self.refunds.iter().filter(done).map(|entry| entry.amount.twd()).sum()
    }

    /// The sum of the refunds that took effect or are in progress, in whole TWD.
    pub fn reserved(&self) -> i64 {
        self.refunds.iter().filter(|entry| entry.holds_money()).map(|entry| entry.amount.twd()).sum()
    }

    /// How many refunds took effect or are in progress.
    pub(crate) fn held_refunds(&self) -> usize {
        self.refunds.iter().filter(|entry| entry.holds_money()).count()
    }

    /// How many refund numbers the payment keeps.
    pub(crate) fn refund_numbers_max(&self) -> usize {
        if self.protocol_version >= 1 { REFUND_NUMBERS_MAX } else { REFUNDS_MAX }
    }

    /// Whether nothing of the payment is in progress: charge, refunds and cancel.
    pub fn is_at_rest(&self) -> bool {
        self.charge.phase.is_final()
            && !self.has_refund_in_progress()
            && self.cancel.as_ref().is_none_or(|cancel| !cancel.is_in_progress())
    }

    /// Whether a refund is in progress.
    pub(crate) fn has_refund_in_progress(&self) -> bool {
        self.refunds.iter().any(|entry| !entry.refund.phase.is_final())
    }

    /// The next time at which the machine must act on it; `None` if it is at rest.
    pub fn due_at(&self) -> Option<UnixMs> {
        let refunds = self.refunds.iter().filter_map(|entry| entry.refund.due_at());
        let cancel = self.cancel.as_ref().and_then(Cancel::due_at);
        self.charge.due_at().into_iter().chain(refunds).chain(cancel).min()
    }

    /// When anything about it changed last.
    pub fn changed_at(&self) -> UnixMs {
        let refunds = self.refunds.iter().map(|entry| entry.refund.changed_at);
        let cancel = self.cancel.as_ref().map(|cancel| cancel.changed_at);
        refunds.chain(cancel).fold(self.charge.changed_at, UnixMs::max)
    }

    /// Whether the charge took effect, as callers know it.
    pub fn is_paid(&self) -> bool {
        matches!(self.charge.phase, Phase::Done(_))
    }
}
