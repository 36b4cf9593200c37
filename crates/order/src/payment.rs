//! The state of a payment order.

use twqr_types::{
    Amount, CardTokenDigest, Extra, GatewayTradeNo, Issuer, OrderKey, PosId, PosTradeTime, Remark, StoreId, StoreName,
    TradeNo, UnRedeem, UnixMs,
};

use crate::{EffectId, ReplyTo};

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
    /// After this nobody starts to send it.
    pub send_by: UnixMs,
    /// Asked after this, "not known" proves absence.
    pub absent_after: UnixMs,
    /// Where it stands.
    pub phase: Phase,
    /// Who hears of each change; at most [`SUBSCRIBERS_MAX`].
    pub subscribers: Vec<Subscriber>,
    /// How an issuer contradicted a final state, if one did.
    pub contradiction: Option<Box<str>>,
    /// How often the issuer has been asked.
    pub inquiries: u32,
    /// When the phase changed last.
    pub changed_at: UnixMs,
}

/// How many may wait for the changes of one order.
pub const SUBSCRIBERS_MAX: usize = 8;

/// How long an inquiry may be out until another one is sent, in ms. Longer than any call takes, and asking twice changes nothing.
pub const ASKING_MS_MAX: i64 = 120_000;

/// Who hears of each change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscriber {
    /// Where to, and until when.
    pub to: ReplyTo,
    /// Its own request was a repeat.
    pub repeat: bool,
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

/// Where a payment stands. In progress is everything but paid and failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The task to charge is out.
    Paying {
        /// The open task.
        task: EffectId,
    },
    /// Nobody knows what came of it.
    Unresolved {
        /// When to ask.
        next_check: UnixMs,
    },
    /// The task to inquire is out.
    Asking {
        /// The open task.
        task: EffectId,
    },
    /// The issuer charged the customer.
    Paid(Box<Approval>),
    /// It failed, with evidence.
    Failed(Failure),
}

impl Phase {
    /// Paid or failed: it stays so.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Paid(_) | Self::Failed(_) => true,
            Self::Paying { .. } | Self::Unresolved { .. } | Self::Asking { .. } => false,
        }
    }
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
    /// TradeAmount + RedeemAmount + StoreRedeemAmount = DebitAmount, and neither redemption is positive (POS API, section 2).
    pub fn adds_up(&self, trade_amount: Amount) -> bool {
        let redeemed = self.redeem_amount.checked_add(self.store_redeem_amount);
        let debit = redeemed.and_then(|redeemed| redeemed.checked_add(trade_amount.twd()));
        self.redeem_amount <= 0 && self.store_redeem_amount <= 0 && debit == Some(self.debit_amount)
    }
}

/// Why a payment failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How we know.
    pub evidence: Evidence,
    /// StatusCode.
    pub status_code: Box<str>,
    /// StatusDesc.
    pub status_desc: Box<str>,
}

/// How we know that a payment failed. There is no failure without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Evidence {
    /// The issuer, or FISC in its name, said so.
    Declined,
    /// The owner of the fresh task never sent it.
    NotSent,
    /// The issuer did not know it after the window.
    Absent,
    /// The policy refused it before any task.
    Refused,
}
