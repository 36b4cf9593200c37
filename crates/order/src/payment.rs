//! The state of a payment order: its charge, its refunds, and its cancel.

use twqr_types::{
    Amount, CardTokenDigest, Extra, GatewayTradeNo, Issuer, MerchantTradeNo, OrderKey, PosId, PosTradeTime, Remark,
    StoreId, StoreName, TradeNo, UnRedeem, UnixMs,
};

use crate::{Cancel, Movement, Phase, RefundApproval, ReplyTo};

/// A payment order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Its identity.
    pub key: OrderKey,
    /// Our number for it.
    pub trade_no: TradeNo,
    /// When it was accepted.
    pub accepted_at: UnixMs,
    /// What was asked for.
    pub terms: Terms,
    /// Whose customer it is; none where no route was found.
    pub issuer: Option<Issuer>,
    /// What comes of charging the customer.
    pub charge: Movement<Approval>,
    /// One entry for each refund number that asked for a part of it, for good; at most
    /// [`REFUNDS_MAX`].
    pub refunds: Vec<RefundEntry>,
    /// Since somebody asked for it, or a charge took effect after it was told as failed.
    pub cancel: Option<Cancel>,
    /// Who hears of each change: at most [`CALLS_MAX`] calls, and [`WATCHES_MAX`] watches, so that
    /// nobody who watches takes a call's answer.
    pub subscribers: Vec<Subscriber>,
    /// The charge was told as failed, and the issuer says that it took effect after all: it stays
    /// told as failed, and is taken back.
    pub charge_took_effect_after_all: bool,
    /// How issuers contradicted final states, if they did: an operator must look.
    pub contradiction: Option<Box<str>>,
}

/// How many watches of one order there may be.
pub const WATCHES_MAX: usize = 8;
/// How many calls may wait for an answer about one order.
pub const CALLS_MAX: usize = 32;
/// How many refund numbers a payment keeps; further ones are refused.
pub const REFUNDS_MAX: usize = 200;

/// A refund as its payment knows it. It stays for good, so that the same number never takes twice,
/// nor gets another answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundEntry {
    /// The refund's own MerchantTradeNo.
    pub number: MerchantTradeNo,
    /// Our number for the refund (RefundTradeNo); its shard is where the refund order lives.
    pub trade_no: TradeNo,
    /// What is to be given back; reserved until it has failed.
    pub amount: Amount,
    /// What comes of it at the issuer.
    pub refund: Movement<RefundApproval>,
    /// It was told as failed, and the issuer says that it took effect after all: what it asked for
    /// counts as given back, and an operator must look.
    pub took_effect_after_all: bool,
}

/// Who hears of each change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscriber {
    /// Where to, and until when.
    pub to: ReplyTo,
    /// Its own request was a repeat.
    pub repeat: bool,
    /// What it waits for.
    pub kind: SubscriptionKind,
}

/// What a subscriber waits for; it is told no more once that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionKind {
    /// A payment's or a refund's call: that the charge, or the refund, is final.
    Result,
    /// A cancel's call: that nothing of the order is in progress.
    CancelResult,
    /// A watch: that nothing of the order is in progress.
    UntilAtRest,
    /// A watch: every change, also after that: refunds, cancels, contradictions.
    AllChanges,
}

impl SubscriptionKind {
    /// Whether it watches, rather than waits for an answer.
    pub(crate) fn is_watch(self) -> bool {
        match self {
            Self::Result | Self::CancelResult => false,
            Self::UntilAtRest | Self::AllChanges => true,
        }
    }
}

/// What the payment asked for, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the POS document's")]
pub struct Terms {
    pub store_id: StoreId,
    pub store_name: StoreName,
    pub gateway_trade_no: GatewayTradeNo,
    pub pos_id: PosId,
    pub pos_trade_time: PosTradeTime,
    pub trade_amount: Amount,
    /// 0 for other issuers, whatever was asked (integration note, UnRedeem).
    pub un_redeem: UnRedeem,
    /// As it was asked, so that an equal repeat is seen as equal.
    pub requested_un_redeem: UnRedeem,
    pub remark: Remark,
    pub extra1: Extra,
    pub extra2: Extra,
    pub card_token: CardTokenDigest,
}

/// How a payment was paid (POS document, PaymentType).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaymentType {
    /// 1, 儲值帳戶.
    StoredValue,
    /// 3, 銀行帳戶.
    BankAccount,
    /// 4, 信用卡.
    CreditCard,
    /// 8, 他行發卡.
    OtherIssuer,
}

/// What the issuer said when it charged. Amounts in whole TWD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// How it was paid.
    pub payment_type: PaymentType,
    /// What the customer paid, after redemption.
    pub debit_amount: i64,
    /// What was redeemed, for people.
    pub redeem_name: Box<str>,
    /// Zero or negative.
    pub redeem_amount: i64,
    /// Zero or negative.
    pub store_redeem_amount: i64,
    /// The customer's carrier (載具).
    pub invoice_vehicle: Box<str>,
    /// The customer's membership with the merchant.
    pub mer_mem_token: Box<str>,
    /// Credit cards: the card's name.
    pub card_name: Box<str>,
    /// Credit cards: the number, masked to its first six and last four digits.
    pub card_no_masked: Box<str>,
    /// The issuer's own number.
    pub issuer_trade_no: Box<str>,
}

impl Approval {
    /// TradeAmount + RedeemAmount + StoreRedeemAmount = DebitAmount, and neither redemption is
    /// positive (POS API, section 2).
    pub fn adds_up(&self, trade_amount: Amount) -> bool {
        let redeemed = self.redeem_amount.checked_add(self.store_redeem_amount);
        let debit = redeemed.and_then(|redeemed| redeemed.checked_add(trade_amount.twd()));
        self.redeem_amount <= 0 && self.store_redeem_amount <= 0 && debit == Some(self.debit_amount)
    }
}

/// How long what is kept of contradictions may be, in bytes.
const CONTRADICTION_LEN_MAX: usize = 1_000;

impl Payment {
    /// Keeps that an issuer contradicted it so. False: that is known, or there is no more room.
    pub(crate) fn note_contradiction(&mut self, text: &str) -> bool {
        let known = self.contradiction.as_deref().unwrap_or_default();
        let both = if known.is_empty() { text.to_owned() } else { format!("{known}; {text}") };
        let is_news = !known.contains(text) && (known.is_empty() || both.len() <= CONTRADICTION_LEN_MAX);
        if is_news {
            self.contradiction = Some(both.into());
        }
        is_news
    }

    /// What refunds have left of what the customer was charged, in whole TWD.
    pub(crate) fn left(&self) -> i64 {
        let is_charged = self.is_paid() || self.charge_took_effect_after_all;
        if is_charged { self.terms.trade_amount.twd() - self.refunded() } else { 0 }
    }

    /// What was given back by refunds that took effect, in whole TWD.
    pub fn refunded(&self) -> i64 {
        let done = |entry: &&RefundEntry| entry.refund.done().is_some() || entry.took_effect_after_all;
        self.refunds.iter().filter(done).map(|entry| entry.amount.twd()).sum()
    }

    /// What was given back or may be: refunds that took effect, and those in progress, in whole
    /// TWD.
    pub fn reserved(&self) -> i64 {
        let taken = |entry: &&RefundEntry| entry.refund.failure().is_none() || entry.took_effect_after_all;
        self.refunds.iter().filter(taken).map(|entry| entry.amount.twd()).sum()
    }

    /// Whether nothing of it is in progress.
    pub fn is_at_rest(&self) -> bool {
        self.charge.phase.is_final()
            && !self.refund_is_open()
            && self.cancel.as_ref().is_none_or(|cancel| !cancel.is_in_progress())
    }

    /// Whether a refund is in progress.
    pub(crate) fn refund_is_open(&self) -> bool {
        self.refunds.iter().any(|entry| !entry.refund.phase.is_final())
    }

    /// When something must be done about it next; none if it is at rest.
    pub fn due_at(&self) -> Option<UnixMs> {
        let refunds = self.refunds.iter().filter_map(|entry| entry.refund.due_at());
        let cancel = self.cancel.as_ref().and_then(Cancel::due_at);
        self.charge.due_at().into_iter().chain(refunds).chain(cancel).min()
    }

    /// When anything of it changed last.
    pub fn changed_at(&self) -> UnixMs {
        let refunds = self.refunds.iter().map(|entry| entry.refund.changed_at);
        let cancel = self.cancel.as_ref().map(|cancel| cancel.changed_at);
        refunds.chain(cancel).fold(self.charge.changed_at, UnixMs::max)
    }

    /// Whether the customer was charged.
    pub fn is_paid(&self) -> bool {
        matches!(self.charge.phase, Phase::Done(_))
    }
}
